// Where between the classes a blend stands: a slider for two, a triangle for three, sliders for four.
import { field, h, say } from './dom.js';

const CORNERS = [[50, 6], [4, 88], [96, 88]]; // of the triangle, in percent
const HEIGHT = 82;

/** {element, weights(), set(weights), of(names, pictures)}; calls `onchange` while it is moved. */
export function blendPad(onchange) {
  const element = h('div', { class: 'pad' });
  let weights = [0.5, 0.5];
  let names = [];
  let show = () => {};

  function put(next) {
    const sum = next.reduce((a, b) => a + b, 0);
    const own = sum > 0 ? next.map((one) => one / sum) : next.map(() => 1 / next.length);
    weights = own.map((one) => Math.round(one * 1e4) / 1e4);
    const top = weights.indexOf(Math.max(...weights));
    weights[top] = Math.round((1 - weights.reduce((a, b, i) => (i === top ? a : a + b), 0)) * 1e4) / 1e4;
    show();
    return weights;
  }

  const moved = (next) => { put(next); onchange(weights); };
  const words = () => names.map((name, i) => `${Math.round(100 * weights[i])} % ${name}`).join(', ');

  function slider(pictures) {
    const input = h('input', { type: 'range', min: 0, max: 100, step: 1, 'aria-label': `From ${names[0]} to ${names[1]}`,
      oninput: () => moved([100 - input.valueAsNumber, input.valueAsNumber]) });
    show = () => { input.value = 100 * weights[1]; input.setAttribute('aria-valuetext', words()); };
    element.replaceChildren(h('div', { class: 'ends' }, pictures[0], input, pictures[1]));
  }

  function triangle(pictures) {
    const handle = h('button', { type: 'button', class: 'handle', 'aria-label': 'Point of the blend',
      'aria-roledescription': 'point in a triangle; arrow keys move it', onkeydown: key });
    const area = h('div', { class: 'triangle', onpointerdown: down,
      onpointermove: (event) => { if (area.hasPointerCapture(event.pointerId)) point(event); } },
      h('div', { class: 'plane' }), pictures.map((one, i) => h('div', { class: `corner at${i}` }, one)), handle);
    const at = () => [0, 1].map((axis) => CORNERS.reduce((sum, corner, i) => sum + weights[i] * corner[axis], 0));
    show = () => {
      const [x, y] = at();
      Object.assign(handle.style, { left: `${x}%`, top: `${y}%` });
      handle.setAttribute('aria-label', `Point of the blend: ${words()}`);
    };
    function down(event) {
      area.setPointerCapture(event.pointerId);
      handle.focus({ preventScroll: true });
      point(event);
      event.preventDefault();
    }
    function point(event) {
      const box = area.getBoundingClientRect();
      moved(barycentric(100 * (event.clientX - box.left) / box.width, 100 * (event.clientY - box.top) / box.height));
    }
    function key(event) {
      const step = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
      if (!step) return;
      event.preventDefault();
      const [x, y] = at();
      const by = event.shiftKey ? 10 : 4;
      moved(barycentric(x + by * step[0], y + by * step[1]));
      say(words());
    }
    element.replaceChildren(area);
  }

  function sliders() {
    const inputs = names.map((name) => h('input',
      { type: 'range', min: 0, max: 100, step: 1, oninput: () => moved(inputs.map((one) => one.valueAsNumber)) }));
    const values = names.map(() => h('output', { class: 'value' }));
    show = () => weights.forEach((weight, i) => {
      values[i].textContent = `${Math.round(100 * weight)} %`;
      if (document.activeElement !== inputs[i] && !inputs.some((one) => one === document.activeElement)) inputs[i].value = 100 * weight;
    });
    element.replaceChildren(...names.map((name, i) => field(name, inputs[i], { value: values[i] })));
  }

  return {
    element, words, weights: () => weights,
    set: (next) => put(next),
    of(newNames, pictures) {
      names = newNames;
      if (names.length === 2) slider(pictures);
      else if (names.length === 3) triangle(pictures);
      else if (names.length === 4) sliders();
      else {
        element.replaceChildren();
        show = () => {};
      }
      if (names.length > 1) put(weights.length === names.length ? weights : names.map(() => 1));
    },
  };
}

/** Weights of the corners at a point in percent; points outside go to the nearest edge. */
function barycentric(x, y) {
  const c = (y - CORNERS[0][1]) / HEIGHT;
  const top = 1 - c;
  const right = (x - CORNERS[1][0] - top * (CORNERS[0][0] - CORNERS[1][0])) / (CORNERS[2][0] - CORNERS[1][0]);
  return [top, c - right, right].map((one) => Math.max(0, one));
}
