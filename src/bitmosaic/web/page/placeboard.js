// A picture with its code grid over it: a place is chosen and flipped by a click, or by arrows and Space.
import { h, say } from './dom.js';

/** {element, image, show(codes, place)}; calls `choose(place)` and `flip(place)`. */
export function placeBoard(label, { choose, flip }) {
  const image = h('img', { alt: '', class: 'layer', draggable: false });
  const grid = h('div', { class: 'layer grid', 'aria-hidden': 'true' });
  const marks = h('div', { class: 'layer marks', 'aria-hidden': 'true' });
  const cursor = h('div', { class: 'place', 'aria-hidden': 'true' });
  const element = h('div', { class: 'surface small pick', tabIndex: 0, role: 'application', 'aria-roledescription': 'code grid',
    'aria-label': label, onclick: click, onkeydown: key }, image, grid, marks, cursor);
  let [rows, columns, at] = [1, 1, 0];

  function lay(one, place) {
    Object.assign(one.style, { left: `${100 * (place % columns) / columns}%`, top: `${100 * Math.floor(place / columns) / rows}%`,
      width: `${100 / columns}%`, height: `${100 / rows}%` });
    return one;
  }

  function click(event) {
    const box = element.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / box.width * columns);
    const row = Math.floor((event.clientY - box.top) / box.height * rows);
    at = Math.max(0, Math.min(rows - 1, row)) * columns + Math.max(0, Math.min(columns - 1, column));
    flip(at);
  }

  function key(event) {
    const step = { ArrowUp: -columns, ArrowDown: columns, ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step && event.key !== ' ') return;
    event.preventDefault();
    if (step) {
      const [row, column] = [Math.floor(at / columns), at % columns];
      const next = { ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1],
        ArrowRight: [row, column + 1] }[event.key];
      at = Math.max(0, Math.min(rows - 1, next[0])) * columns + Math.max(0, Math.min(columns - 1, next[1]));
      choose(at);
    } else flip(at);
    say(`Row ${Math.floor(at / columns) + 1}, column ${(at % columns) + 1}`);
  }

  return {
    element, image,
    show(codes, place) {
      ({ rows, columns } = codes);
      at = place;
      grid.style.backgroundSize = `${100 / columns}% ${100 / rows}%`;
      element.style.aspectRatio = `${columns} / ${rows}`;
      const differs = (i) => codes.bits.subarray(i * codes.k, (i + 1) * codes.k).some((bit, j) => bit !== codes.own[i * codes.k + j]);
      const changed = Array.from({ length: rows * columns }, (_, i) => i).filter(differs);
      marks.replaceChildren(...changed.map((i) => lay(h('div', { class: 'mark' }), i)));
      lay(cursor, place);
    },
  };
}
