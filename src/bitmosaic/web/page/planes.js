// The bits of a picture: every bit's plane as a tiny image, and the bits of one place as switches.
import { h } from './dom.js';
import { paint } from './shot.js';

/** {element, show(codes)}: `codes` {bits, rows, columns, k, own}; calls `flip(place, bit)` for a click on a plane. */
export function planes(flip) {
  const element = h('div', { class: 'planes' });
  return {
    element,
    show({ bits, rows, columns, k, own }) {
      if (element.children.length !== k) element.replaceChildren(...Array.from({ length: k }, (_, bit) => plane(bit)));
      [...element.children].forEach((figure, bit) => {
        const canvas = figure.firstChild;
        let ones = 0;
        paint(canvas, rows, columns, (place) => {
          const value = bits[place * k + bit];
          ones += value;
          const changed = value !== own[place * k + bit];
          if (changed) return value ? [255, 140, 66, 255] : [150, 70, 20, 255];
          return value ? [232, 240, 238, 255] : [38, 52, 49, 255];
        });
        canvas.setAttribute('aria-label', `Bit ${bit + 1}: one at ${ones} of ${rows * columns} places`);
        canvas.onclick = (event) => {
          const box = canvas.getBoundingClientRect();
          const [x, y] = [Math.floor((event.clientX - box.left) / box.width * columns), Math.floor((event.clientY - box.top) / box.height * rows)];
          flip(Math.min(rows - 1, Math.max(0, y)) * columns + Math.min(columns - 1, Math.max(0, x)), bit);
        };
      });
    },
  };
}

const plane = (bit) => h('figure', {}, h('canvas', { role: 'img' }), h('figcaption', { 'aria-hidden': 'true' }, String(bit + 1)));

/** {element, show(codes, place)}: the bits of one place; calls `flip(place, bit)`. */
export function bitSwitches(flip) {
  const row = h('div', { class: 'bits', role: 'group' });
  return {
    element: row,
    show({ bits, k, own, columns }, place) {
      row.setAttribute('aria-label', `Bits of row ${Math.floor(place / columns) + 1}, column ${(place % columns) + 1}`);
      if (row.children.length !== k) row.replaceChildren(...Array.from({ length: k }, () => h('button', { type: 'button' })));
      [...row.children].forEach((one, bit) => {
        const value = bits[place * k + bit];
        one.textContent = String(value);
        one.setAttribute('aria-label', `Bit ${bit + 1}: ${value}`);
        one.setAttribute('aria-pressed', String(value === 1));
        one.classList.toggle('changed', value !== own[place * k + bit]);
        one.onclick = () => flip(place, bit);
      });
    },
  };
}
