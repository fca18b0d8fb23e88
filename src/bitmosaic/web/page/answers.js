// Several answers to one request, side by side, the likeliest first.
import { toldName } from './common.js';
import { draw } from './drawing.js';
import { h, reveal } from './dom.js';
import { scrubber } from './scrubber.js';
import { shot, useButton } from './shot.js';

/**
 * {element, run(request, signal, step, canvas), clear(), first()}. `use(shot)` takes an answer on; `words` names that button; `canvas()` makes
 * the sheet of one answer, where the steps show windows of it.
 */
export function answers({ use, words, hint, size }) {
  const sheet = h('div', { class: 'shots' });
  const scrub = scrubber();
  const empty = h('p', { class: 'hint' }, hint);
  const notes = h('p', { class: 'hint', hidden: true }); // what the service did that was not asked for in so many words
  const title = h('h3', { hidden: true }, 'Answers, the likeliest first');
  let all = [];
  return {
    element: h('div', { class: 'answers' }, title, scrub.element, empty, sheet, notes),
    first: () => all[0],
    clear() {
      all.forEach((old) => old.drop());
      all = [];
      scrub.of([]);
      sheet.replaceChildren();
      empty.hidden = false;
      title.hidden = notes.hidden = true;
    },
    async run(request, signal, step, canvas = () => null) {
      const seed = request.seed ?? 0;
      const next = Array.from({ length: request.count ?? 1 }, (_, i) => {
        const sheet = canvas();
        return shot({
          label: `${toldName(request)}, seed ${seed + i}`, seed: seed + i, size: sheet ? [sheet.width, sheet.height] : size(),
          extra: use ? (one) => [useButton(words, () => use(one))] : null, sheet,
        });
      });
      const begin = () => { // until then the older answers stay
        if (all === next) return; // it begins a second time where it had to be halved
        all.forEach((old) => old.drop());
        all = next;
        empty.hidden = notes.hidden = true;
        title.hidden = all.length < 2;
        sheet.style.setProperty('--n', all.length);
        sheet.replaceChildren(...all.map(({ element }) => element));
        scrub.of(all);
        if (!document.querySelector('.surface:active')) reveal(sheet); // unless somebody is painting just now
      };
      const found = await draw(request, next, signal, begin, (i, total, told) => { step(i, total, told); scrub.moved(); });
      scrub.moved();
      const place = new Map(found.images.map((image, i) => [image.seed, i]));
      all.sort((a, b) => place.get(a.seed) - place.get(b.seed));
      sheet.replaceChildren(...all.map(({ element }) => element));
      notes.textContent = (found.notes ?? []).map((text) => `${text[0].toUpperCase()}${text.slice(1)}.`).join(' ');
      notes.hidden = !notes.textContent;
      return found;
    },
  };
}
