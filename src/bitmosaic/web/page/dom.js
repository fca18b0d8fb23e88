// Makes and finds elements: the little that the page needs instead of a framework.
const SVG = 'http://www.w3.org/2000/svg';

/** An element. `props`: on* listeners, `class`, `data` (an object), attributes with a dash or of an element's own properties. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'class') element.className = value;
    else if (name === 'data') Object.assign(element.dataset, value);
    else if (name in element && !name.includes('-') && name !== 'list' && name !== 'role') element[name] = value;
    else if (value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A picture of icons.svg, hidden from screen readers. */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `/static/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

/** A button with an icon and words; with `bare` the words are for screen readers and the tooltip only. */
export function button(words, name, onclick, { bare = false, ...props } = {}) {
  const told = bare ? { 'aria-label': words, title: words } : {};
  return h('button', { type: 'button', onclick, ...told, ...props, class: `${bare ? 'bare ' : ''}${props.class ?? ''}` },
    name ? icon(name) : null, bare ? null : h('span', {}, words));
}

/** Gives back the addresses of the files that an element's own pictures show; call it before they are replaced. */
export function release(element) {
  const images = element.matches('img') ? [element] : [...element.querySelectorAll('img')];
  images.filter(({ src }) => src.startsWith('blob:')).forEach(({ src }) => URL.revokeObjectURL(src));
}

/** Shows a file in an <img>, instead of the one before. */
export function showFile(image, blob) {
  release(image);
  image.src = URL.createObjectURL(blob);
}

export const byId = (id) => document.getElementById(id);

let count = 0;
/** A name that no other element has. */
export const fresh = (stem) => `${stem}-${++count}`;

/** A labelled row of a form; `hint` stands under it. */
export function field(label, control, { hint, value } = {}) {
  const target = control.matches('input, select, textarea') ? control : control.querySelector('input, select, textarea');
  target.id ||= fresh('field');
  const note = hint ? h('p', { class: 'hint', id: fresh('hint') }, hint) : null;
  if (note) target.setAttribute('aria-describedby', note.id);
  return h('div', { class: 'field' }, h('div', { class: 'head' }, h('label', { htmlFor: target.id }, label), value ?? null), control, note);
}

/** Radio buttons that look like one bar; calls `onchange` with the chosen name. */
export function choice(label, options, chosen, onchange) {
  const name = fresh('choice');
  const inputs = options.map(([value]) => h('input', { type: 'radio', name, value, checked: value === chosen, onchange: () => onchange(value) }));
  const element = h('fieldset', { class: 'choice' }, h('legend', {}, label), h('div', { class: 'bar' },
    options.map(([, words, sign], i) => h('label', { title: words }, inputs[i], h('span', {}, sign ? icon(sign) : null, words)))));
  return { element, set: (value) => inputs.forEach((input) => { input.checked = input.value === value; }) };
}

/** Tells screen readers, without moving anything. */
export function say(words) {
  byId('said').textContent = words;
}

/** Calls `work` once things have been quiet for `wait` milliseconds. */
export function debounced(work, wait) {
  let timer = 0;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...args), wait);
  };
}

/** Scrolls to an element where little of it can be seen, as on a phone, where it stands below the form, or beside the end of a long form. */
export function reveal(element) {
  const { top, bottom, height } = element.getBoundingClientRect();
  const seen = Math.min(bottom, innerHeight * 0.88) - Math.max(top, 0); // what lies lower may be under the button
  if (seen < Math.min(height, innerHeight / 4)) element.scrollIntoView({ block: 'start', behavior: calm() ? 'auto' : 'smooth' });
}

export const calm = () => matchMedia('(prefers-reduced-motion: reduce)').matches;
