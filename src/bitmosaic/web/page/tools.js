// The tools beside the painting board: brush, eraser, box, size, undo, redo, and the sides that are painted around a picture.
import { button, choice, field, h } from './dom.js';

export function toolbar({ ontool, onsize, undo, redo, clear, swap }) {
  const size = h('input', { type: 'range', min: 1, max: 16, step: 1, value: 6,
    oninput: () => { told.textContent = `${size.value} px`; onsize(size.valueAsNumber); } });
  const told = h('output', { class: 'value' }, '6 px');
  const tool = choice('Tool', [['brush', 'Brush', 'brush'], ['eraser', 'Eraser', 'eraser'], ['box', 'Box', 'box']], 'brush', ontool);
  const back = button('Undo', 'undo', undo, { bare: true, 'aria-keyshortcuts': 'Control+Z' });
  const forth = button('Redo', 'redo', redo, { bare: true, 'aria-keyshortcuts': 'Control+Shift+Z' });
  const element = h('div', { class: 'toolbar', hidden: true }, tool.element, h('div', { class: 'sized' }, field('Size', size, { value: told })),
    h('div', { class: 'row tight' }, back, forth, button('Keep everything', 'clear', clear, { bare: true }),
      button('Swap kept and repainted', 'swap', swap, { bare: true })));
  return {
    element,
    can(history) {
      back.disabled = !history.past.length;
      forth.disabled = !history.future.length;
    },
    scale(picture) {
      size.max = Math.max(8, Math.ceil(Math.max(picture.width, picture.height) / 2));
      size.value = Math.max(2, Math.round(Math.max(picture.width, picture.height) / 5));
      told.textContent = `${size.value} px`;
      onsize(size.valueAsNumber);
    },
  };
}

/** Pixels to add on each side: {element, get(), set(padding)}. */
export function sidesField(onchange) {
  const names = ['Left', 'Top', 'Right', 'Bottom'];
  const inputs = names.map((name) => h('input',
    { type: 'number', min: 0, max: 4096, step: 1, value: 8, 'aria-label': `${name}, pixels`, placeholder: name, oninput: onchange }));
  const all = h('input', { type: 'range', min: 0, max: 28, step: 1, value: 8, 'aria-label': 'All sides',
    oninput: () => { inputs.forEach((input) => { input.value = all.value; }); onchange(); } });
  const cross = h('div', { class: 'cross' }, inputs.map((input, i) => h('span', { class: names[i].toLowerCase() }, input)),
    h('span', { class: 'middle', 'aria-hidden': 'true' }));
  return {
    element: h('fieldset', { class: 'field sides', hidden: true }, h('legend', {}, 'Pixels to add'), all, cross),
    get: () => inputs.map((input) => (Number.isInteger(input.valueAsNumber) ? Math.max(0, input.valueAsNumber) : 0)),
    set(padding) {
      const sides = typeof padding === 'number' ? [padding, padding, padding, padding] : padding;
      inputs.forEach((input, i) => { input.value = sides[i]; });
      all.value = Math.max(...sides);
    },
    most(value) { all.max = value; },
  };
}
