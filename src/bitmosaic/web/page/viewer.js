// Shows one picture big, with the settings that made it, and what can be done with it.
import { toldName } from './common.js';
import { button, h } from './dom.js';
import { requestOf, texts } from './png.js';
import { samplerOf, settingNames } from './settings.js';
import { addressOf } from './share.js';
import { fileName } from './shot.js';

let go = () => {};
/** `send(panel, picture)` takes a picture to a panel. */
export const setSender = (send) => { go = send; };

export async function view(answer, blob) {
  const request = await requestOf(blob);
  const title = answer.title ?? toldName(answer);
  const used = await settingsOf(blob);
  const url = URL.createObjectURL(blob);
  const name = fileName(answer);
  const close = () => element.close();
  const to = (panel) => () => { close(); go(panel, { blob, name: answer.seed === null ? title : `${title}, seed ${answer.seed}` }); };
  const copied = h('p', { class: 'hint', role: 'status' });
  const copy = button('Copy address', 'link', async () => { copied.textContent = await copyText(addressOf(request)); }, { disabled: !request });
  const element = h('dialog', { class: 'card viewer', 'aria-label': 'Picture', onclose: () => { URL.revokeObjectURL(url); element.remove(); },
    onclick: (event) => { if (event.target === element) close(); } },
    h('div', { class: 'two' },
      h('img', { src: url, alt: title, class: 'big' }),
      h('div', { class: 'about' },
        h('h2', {}, title),
        list(answer, request, used),
        h('div', { class: 'stack' },
          h('a', { class: 'button primary', href: url, download: name }, 'Save as PNG'), copy, copied,
          button('Paint on it', 'brush', to('paint')), button('Enrich it', 'enrich', to('enrich')), button('Look inside', 'inside', to('inside')),
          button('Close', 'clear', close, { class: 'quiet' })))));
  document.body.append(element);
  element.showModal();
}

/** All settings of the sampler that made a picture, as its text tells them. */
async function settingsOf(blob) {
  try {
    const { type, ...settings } = JSON.parse((await texts(new Uint8Array(await blob.arrayBuffer()))).Settings ?? '{}');
    return { ...settings, sampler: samplerOf(type) };
  } catch {
    return {};
  }
}

function list(answer, request, used) {
  const rows = [['job', request?.job], ['seed', answer.seed], ['bits', answer.bits?.toFixed(1)], ['pipeline', request?.pipeline],
    ...settingNames().map((name) => [name, used[name]])];
  const told = rows.filter(([, value]) => value !== undefined && value !== null);
  return h('dl', {}, told.flatMap(([name, value]) => [h('dt', {}, name.replace(/_/g, ' ')), h('dd', {}, String(value))]));
}

/** Puts text on the clipboard, also where the page is not in a secure context; says what happened. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return 'Copied. The address makes this picture again.';
  } catch {
    const area = h('textarea', { value: text, class: 'unseen' });
    (document.querySelector('dialog[open]') ?? document.body).append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done ? 'Copied. The address makes this picture again.' : 'The browser did not let the page copy.';
  }
}
