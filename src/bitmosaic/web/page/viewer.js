// Shows one picture big, with the settings that made it, and what can be done with it.
import { blobBase64 } from './bytes.js';
import { className } from './common.js';
import { button, h } from './dom.js';
import { requestOf } from './png.js';
import { addressOf } from './share.js';
import { fileName } from './shot.js';

let go = () => {};
/** `send(panel, picture)` takes a picture to a panel. */
export const setSender = (send) => { go = send; };

export async function view(answer, blob) {
  const request = await requestOf(blob);
  const url = URL.createObjectURL(blob);
  const name = fileName(answer);
  const close = () => element.close();
  const to = (panel) => () => { close(); go(panel, { blob, name: `${className(answer.class ?? null)}, seed ${answer.seed}` }); };
  const copied = h('p', { class: 'hint', role: 'status' });
  const copy = button('Copy address', 'link', async () => { copied.textContent = await copyText(addressOf(request)); }, { disabled: !request });
  const element = h('dialog', { class: 'card viewer', 'aria-label': 'Picture', onclose: () => { URL.revokeObjectURL(url); element.remove(); }, onclick: (event) => { if (event.target === element) close(); } },
    h('div', { class: 'two' },
      h('img', { src: url, alt: className(answer.class ?? null), class: 'big' }),
      h('div', { class: 'about' },
        h('h2', {}, className(answer.class ?? null)),
        list(answer, request),
        h('div', { class: 'stack' },
          h('a', { class: 'button primary', href: url, download: name }, 'Save as PNG'), copy, copied,
          button('Paint on it', 'brush', to('paint')), button('Enrich it', 'enrich', to('enrich')), button('Look inside', 'inside', to('inside')),
          button('Close', 'clear', close, { class: 'quiet' })))));
  document.body.append(element);
  element.showModal();
}

function list(answer, request) {
  const settings = { ...(request?.settings ?? {}) };
  const rows = [['job', request?.job], ['seed', answer.seed], ['bits', answer.bits?.toFixed(1)], ['pipeline', request?.pipeline],
    ...Object.entries(settings)].filter(([, value]) => value !== undefined && value !== null);
  return h('dl', {}, rows.map(([name, value]) => [h('dt', {}, name.replace(/_/g, ' ')), h('dd', {}, String(value))]).flat());
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

export const asSource = async (blob) => `data:image/png;base64,${await blobBase64(blob)}`;
