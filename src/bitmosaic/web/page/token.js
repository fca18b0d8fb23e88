// The service's token: taken out of the address into this tab's own storage, or asked for.
import { button, field, h } from './dom.js';

const KEY = 'bitmosaic-token';

export const token = () => sessionStorage.getItem(KEY);
export const keep = (value) => sessionStorage.setItem(KEY, value);

let asking = null;
/** Resolves when a person has given a token other than `refused`; all who wait share one dialog. */
export function askToken(refused, signal) {
  if (token() !== refused) return Promise.resolve();
  asking ??= dialog(Boolean(refused)).finally(() => { asking = null; });
  return Promise.race([asking, new Promise((_, no) => signal?.addEventListener('abort', () => no(new DOMException('stopped', 'AbortError'))))]);
}

function dialog(wrong) {
  return new Promise((done) => {
    const input = h('input', { type: 'password', autocomplete: 'off', required: true, spellcheck: false });
    const form = h('form', { onsubmit: (event) => {
      event.preventDefault();
      keep(input.value.trim());
      element.close();
      element.remove();
      done();
    } },
      h('h2', {}, 'This studio asks for a token'),
      h('p', {}, wrong ? 'The token that this page had was refused. ' : '', 'Whoever started it has it (--token or BITMOSAIC_TOKEN).'),
      field('Token', input), h('div', { class: 'row end' }, button('Open the studio', null, null, { type: 'submit', class: 'primary' })));
    const element = h('dialog', { class: 'card asks', oncancel: (event) => event.preventDefault() }, form);
    document.body.append(element);
    element.showModal();
  });
}
