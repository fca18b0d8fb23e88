// Before and after of one picture, with a handle that wipes between them.
import { h } from './dom.js';

/** {element, show(before, after, label)}: canvases or addresses of pictures. */
export function wipe() {
  const before = h('img', { alt: '', class: 'layer before', draggable: false });
  const after = h('img', { alt: '', class: 'layer after', draggable: false });
  const line = h('div', { class: 'line', 'aria-hidden': 'true' });
  const range = h('input', { type: 'range', min: 0, max: 100, value: 50, step: 1, class: 'over', 'aria-label': 'Wipe between before and after',
    oninput: move });
  const element = h('div', { class: 'wipe', hidden: true }, before, after, line,
    h('span', { class: 'tag left', 'aria-hidden': 'true' }, 'before'), h('span', { class: 'tag right', 'aria-hidden': 'true' }, 'after'), range);

  function move() {
    after.style.clipPath = `inset(0 0 0 ${range.value}%)`;
    line.style.left = `${range.value}%`;
    range.setAttribute('aria-valuetext', `${range.value} % before, ${100 - range.value} % after`);
  }
  move();
  return {
    element,
    show(from, to, label) {
      before.src = from;
      after.src = to ?? from;
      before.alt = `${label}, before`;
      after.alt = to ? `${label}, after` : '';
      element.hidden = false;
      element.classList.toggle('single', !to);
    },
  };
}

/** The address of a picture made `shrink` times smaller (means of pixels) and smoothly enlarged back. */
export function shrunk({ width, height, data }, shrink) {
  const [columns, rows] = [Math.ceil(width / shrink), Math.ceil(height / shrink)];
  const small = new ImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) {
    const [r, c] = [Math.floor(i / columns), i % columns];
    small.data.set(mean(data, width, span(c, columns, width), span(r, rows, height)), 4 * i);
  }
  const one = h('canvas', { width: columns, height: rows });
  one.getContext('2d').putImageData(small, 0, 0);
  const large = h('canvas', { width, height });
  const context = large.getContext('2d');
  Object.assign(context, { imageSmoothingEnabled: true, imageSmoothingQuality: 'high' });
  context.drawImage(one, 0, 0, width, height);
  return large.toDataURL('image/png');
}

const span = (i, parts, size) => [Math.floor(i * size / parts), Math.ceil((i + 1) * size / parts)];

function mean(data, width, [left, right], [top, bottom]) {
  const sum = [0, 0, 0, 0];
  for (let y = top; y < bottom; y++) for (let x = left; x < right; x++) for (let k = 0; k < 4; k++) sum[k] += data[4 * (y * width + x) + k];
  return sum.map((one) => one / (right - left) / (bottom - top));
}
