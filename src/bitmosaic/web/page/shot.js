// One picture being drawn: its steps, a veil over places that are not known yet, the entropy map under it, and at last the picture.
import { toBlob } from './bytes.js';
import { toldName } from './common.js';
import { button, h, icon } from './dom.js';
import { view } from './viewer.js';

const source = (text) => (text.startsWith('data:') ? text : `data:image/png;base64,${text}`);
export const fileName = (answer) => `bitmosaic-${toldName(answer).replace(/[^a-z0-9]+/gi, '-')}-${answer.seed ?? 0}.png`;

/**
 * {element, seed, step(grid, frame), result(answer), show(i), frames()}; `extra(shot)` makes further buttons once it is done. `sheet`: the canvas
 * that is painted on, if it is one of which the steps show windows.
 */
export function shot({ label, seed, size, map = true, extra = null, sheet = null }) {
  const frames = [];
  let answer = null;
  let blob = null;
  const image = h('img', { alt: `${label}, not drawn yet`, width: size?.[0] ?? 28, height: size?.[1] ?? 28, decoding: 'sync', draggable: true });
  const veil = h('canvas', { class: sheet ? 'veil whole' : 'veil', 'aria-hidden': 'true', width: 1, height: 1 });
  const open = h('button', { type: 'button', class: 'view', 'aria-label': `Look at ${label}`, disabled: true,
    onclick: () => view(answer, blob) }, image, veil);
  const entropy = h('canvas', { class: 'entropy', role: 'img',
    'aria-label': `Entropy of the hidden places of ${label}, bright where the model is unsure; at the end the order in which it decided them`,
    title: 'Entropy per bit, bright where the model is unsure; at the end the order in which it decided', width: 1, height: 1, hidden: !map });
  const save = h('a', { class: 'bare save', download: '', title: 'Save as PNG', 'aria-label': `Save ${label} as PNG`, hidden: true }, icon('save'));
  const bits = h('span', { class: 'bits' });
  const state = h('span', { class: 'state' }, '');
  const caption = h('figcaption', {}, h('span', {}, label), bits, state);
  const actions = h('div', { class: 'row tight' });
  const element = h('figure', { class: 'shot' }, h('div', { class: 'frame' }, open, save), h('div', { class: 'under' }, entropy, caption),
    extra ? actions : null);

  function show(i) {
    const frame = frames[Math.min(i, frames.length - 1)];
    if (!frame) return;
    const final = answer && i >= frames.length - 1;
    if (final || !sheet) image.src = final ? image.dataset.final : source(frame.image);
    if (final || !sheet) hide(veil, frame);
    else sheet.show(veil, frames, frames.indexOf(frame), getComputedStyle(veil).color);
    if (final) sheet?.leave();
    if (map) state.textContent = final ? order(entropy, frames) : heat(entropy, frame);
  }

  const api = {
    element, seed, frames: () => frames.length, show, label,
    answer: () => answer,
    blob: () => blob,
    step(grid, frame) {
      frames.push({ grid, ...frame });
      image.alt = `${label}, step ${frames.length}`;
    },
    restart() { frames.length = 0; },
    result(found) {
      answer = found;
      blob = toBlob(found.image);
      image.dataset.final = URL.createObjectURL(blob);
      image.src = image.dataset.final;
      image.alt = label;
      element.classList.add('done');
      open.disabled = false;
      save.href = image.dataset.final;
      save.download = fileName(found);
      save.hidden = false;
      if (found.bits !== null && found.bits !== undefined) bits.textContent = `${found.bits.toFixed(0)} bits`;
      if (extra) actions.replaceChildren(...extra(api));
    },
    drop() { if (image.dataset.final) URL.revokeObjectURL(image.dataset.final); },
  };
  return api;
}

/** Covers the places that are not known. */
function hide(canvas, { grid: [rows, columns], known }) {
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext('2d');
  context.fillStyle = getComputedStyle(canvas).color;
  for (let i = 0; i < rows * columns; i++) if (known[i] === '0') context.fillRect(i % columns, Math.floor(i / columns), 1, 1);
}

/** Colours the entropy of places that are not settled, from 0 (dark) to one bit per bit (bright), and says what it shows. */
function heat(canvas, { grid: [rows, columns], known, entropy }) {
  const open = (i) => known[i] === '0' || entropy?.[i] > 0; // a place that holds a code by now may still change
  paint(canvas, rows, columns, (i) => (open(i) ? ramp(entropy ? entropy[i] : 0.5) : [0, 0, 0, 0]));
  const hidden = [...known].filter((one) => one === '0').length;
  const count = [...known].filter((_, i) => open(i)).length;
  const mean = entropy && count ? `, entropy ${(entropy.reduce((a, b) => a + b, 0) / count).toFixed(2)}` : '';
  return `${count > hidden ? `${count} of ${known.length} unsettled` : `${hidden} of ${known.length} hidden`}${mean}`;
}

/** Colours the places of the last window by when they took their last code, the first ones dark. */
function order(canvas, all) {
  const { grid: [rows, columns], known, window: last } = all.at(-1);
  const frames = all.filter((frame) => frame.window === last);
  const when = [...known].map((_, place) => Math.max(0, frames.findLastIndex((frame) => frame.changed[place] === '1')));
  paint(canvas, rows, columns, (place) => ramp(when[place] / Math.max(1, frames.length - 1)));
  return 'order: dark first';
}

/** A dark to bright colour for a number from 0 to 1. */
export function ramp(value) {
  const x = Math.min(1, Math.max(0, value));
  return [Math.round(10 + 210 * x * x), Math.round(46 + 206 * x), Math.round(44 + 186 * x), 255];
}

export function paint(canvas, rows, columns, colour) {
  canvas.width = columns;
  canvas.height = rows;
  const data = new ImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) data.data.set(colour(i), 4 * i);
  canvas.getContext('2d').putImageData(data, 0, 0);
}

/** Shots side by side; their number decides how large they may get. */
export function gallery(shots) {
  const element = h('div', { class: 'shots' }, shots.map((one) => one.element));
  element.style.setProperty('--n', shots.length);
  return element;
}

/** A picture that is there already, with its way into the viewer. */
export function still(answer, label) {
  const blob = toBlob(answer.image);
  const url = URL.createObjectURL(blob);
  const image = h('img', { src: url, alt: label });
  const element = h('button', { type: 'button', class: 'view', 'aria-label': `Look at ${label}`, onclick: () => view(answer, blob) }, image);
  return { blob, url, element };
}

export const useButton = (words, onclick) => button(words, 'check', onclick, { class: 'quiet' });
