// One picture being drawn: its steps, a veil over places that are not known yet, the entropy map under it, and at last the picture.
import { fromBase64, toBlob } from './bytes.js';
import { className } from './common.js';
import { button, h, icon } from './dom.js';
import { view } from './viewer.js';

const source = (text) => (text.startsWith('data:') ? text : `data:image/png;base64,${text}`);
export const fileName = (answer) => `bitmosaic-${className(answer.class ?? null).replace(/[^a-z0-9]+/gi, '-')}-${answer.seed ?? 0}.png`;

/** {element, seed, step(grid, frame), result(answer), show(i), frames()}; `extra(shot)` makes further buttons once it is done. */
export function shot({ label, seed, size, map = true, extra = null }) {
  const frames = [];
  let answer = null;
  let blob = null;
  const image = h('img', { alt: `${label}, not drawn yet`, width: size?.[0] ?? 28, height: size?.[1] ?? 28, decoding: 'sync', draggable: true });
  const veil = h('canvas', { class: 'veil', 'aria-hidden': 'true', width: 1, height: 1 });
  const open = h('button', { type: 'button', class: 'view', 'aria-label': `Look at ${label}`, disabled: true, onclick: () => view(answer, blob) }, image, veil);
  const entropy = h('canvas', { class: 'entropy', role: 'img', 'aria-label': `Entropy map of ${label}`, width: 1, height: 1, hidden: !map });
  const save = h('a', { class: 'bare save', download: '', title: 'Save as PNG', 'aria-label': `Save ${label} as PNG`, hidden: true }, icon('save'));
  const caption = h('figcaption', {}, h('span', {}, label), h('span', { class: 'bits' }));
  const actions = h('div', { class: 'row tight' });
  const element = h('figure', { class: 'shot' }, h('div', { class: 'frame' }, open, save), entropy, caption, extra ? actions : null);

  function show(i) {
    const frame = frames[Math.min(i, frames.length - 1)];
    if (!frame) return;
    const final = answer && i >= frames.length - 1;
    image.src = final ? image.dataset.final : source(frame.image);
    hide(veil, frame);
    if (map) heat(entropy, frame, frames[Math.min(i, frames.length - 1) - 1]);
  }

  const api = {
    element, seed, frames: () => frames.length, show, label,
    answer: () => answer,
    blob: () => blob,
    step(grid, { image: picture, known, entropy: doubts }) {
      frames.push({ grid, image: picture, known, entropy: doubts });
      image.alt = `${label}, step ${frames.length}`;
    },
    result(found) {
      answer = found;
      blob = toBlob(found.image);
      image.dataset.final = URL.createObjectURL(blob);
      image.src = image.dataset.final;
      image.alt = label;
      veil.width = 1;
      element.classList.add('done');
      open.disabled = false;
      save.href = image.dataset.final;
      save.download = fileName(found);
      save.hidden = false;
      if (found.bits !== null && found.bits !== undefined) caption.lastChild.textContent = `${found.bits.toFixed(0)} bits`;
      if (extra) actions.replaceChildren(...extra(api));
    },
    note(words) { caption.lastChild.textContent = words; },
    drop() { if (image.dataset.final) URL.revokeObjectURL(image.dataset.final); },
  };
  return api;
}

/** Covers the places that are not known. */
function hide(canvas, { grid: [rows, columns], known }) {
  paint(canvas, rows, columns, (i) => (known[i] === '1' ? [0, 0, 0, 0] : [128, 140, 137, 235]));
}

/** Colours the doubt about hidden places: none dark, one bit a bit bright; those revealed last have a light dot's colour. */
function heat(canvas, { grid: [rows, columns], known, entropy }, before) {
  paint(canvas, rows, columns, (i) => {
    if (known[i] === '1') return before && before.known[i] === '0' ? [255, 255, 255, 255] : [94, 209, 189, 70];
    return ramp(entropy ? entropy[i] : 0.5);
  });
}

export function ramp(value) {
  const x = Math.min(1, Math.max(0, value));
  return [Math.round(16 + 239 * x ** 1.6), Math.round(48 + 150 * x), Math.round(58 + 60 * x - 40 * x * x), 255];
}

export function paint(canvas, rows, columns, colour) {
  canvas.width = columns;
  canvas.height = rows;
  const data = new ImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) data.data.set(colour(i), 4 * i);
  canvas.getContext('2d').putImageData(data, 0, 0);
}

/** A picture that is there already, with its way into the viewer. */
export function still(answer, label) {
  const blob = new Blob([fromBase64(answer.image)], { type: 'image/png' });
  const url = URL.createObjectURL(blob);
  return { blob, url, element: h('button', { type: 'button', class: 'view', 'aria-label': `Look at ${label}`, onclick: () => view(answer, blob) }, h('img', { src: url, alt: label })) };
}

export const useButton = (words, onclick) => button(words, 'check', onclick, { class: 'quiet' });
