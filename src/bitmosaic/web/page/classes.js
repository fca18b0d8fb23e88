// Classes as thumbnails to toggle: several, or one, with or without "any".
import { fresh, h } from './dom.js';
import { picture } from './pictures.js';

const MANY = 24; // from so many on there is a field to search them

/**
 * {element, chosen(), set(names), known(name), fill(pipeline)}. `most` 1: one at a time; `none`: words for "no class", which stands first, with
 * `rare` only while it was `set`. Names; null is no class. Where classes that were chosen do not exist, it says so, and the first ones are
 * chosen up to `least`. `empty`: what is told where nothing is chosen.
 */
export function classPicker(label, { pipeline, least = 1, most = Infinity, none = null, rare = false, empty = '0 chosen', chosen = [],
  onchange = () => {} }) {
  const picked = new Set(chosen);
  const group = h('div', { class: 'classes', role: 'group', 'aria-label': label });
  const count = h('span', { class: 'hint count', 'aria-live': 'polite' });
  const lost = h('p', { class: 'notice lost', role: 'status', hidden: true });
  const search = h('input', { type: 'search', placeholder: 'Find a class', 'aria-label': 'Find a class', hidden: true, oninput: filter });
  let tiles = [];
  let of = pipeline;

  function toggle(value) {
    lost.hidden = true;
    if (most === 1) {
      picked.clear();
      picked.add(value);
    } else if (picked.has(value)) picked.delete(value);
    else if (picked.size < most) picked.add(value);
    else {
      count.textContent = `At most ${most} at once`;
      return;
    }
    show();
    onchange(api.chosen());
  }

  function show() {
    tiles.forEach(({ value, element }) => element.setAttribute('aria-pressed', String(picked.has(value))));
    count.textContent = most === 1 ? '' : picked.size ? `${picked.size} chosen` : empty;
  }

  /** Lets go of classes that do not exist, and says so. */
  function settle() {
    const gone = [...picked].filter((value) => !tiles.some((tile) => tile.value === value));
    lost.hidden = !gone.length;
    if (!gone.length) return;
    gone.forEach((value) => picked.delete(value));
    for (const { value } of tiles) if (picked.size < least) picked.add(value);
    const named = (values) => values.map((value) => `“${value ?? none}”`).join(', ');
    lost.textContent = `The pipeline ${of.name} has no class ${named(gone)}. Chosen now: ${named(api.chosen())}.`;
  }

  function filter() {
    const words = search.value.trim().toLowerCase();
    tiles.forEach(({ element, name }) => { element.hidden = !name.toLowerCase().includes(words); });
  }

  function fill(from) {
    of = from;
    const seen = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach(({ target }) => {
      seen.unobserve(target);
      const path = `/v1/classes/${encodeURIComponent(from.name)}/${target.dataset.number}.png`;
      picture(path).then(({ url }) => { target.querySelector('img').src = url; }, () => {});
    }));
    const names = of.classes.map(String);
    const all = names.map((name, number) => ({ value: names.indexOf(name) === number ? name : number, name, number }));
    if (none && (!rare || picked.has(null))) all.unshift({ value: null, name: none, number: null });
    tiles = all.map(({ value, name, number }) => {
      const image = number === null ? h('span', { class: 'any', 'aria-hidden': 'true' })
        : h('img', { alt: '', width: 28, height: 28, decoding: 'async' });
      const element = h('button', { type: 'button', class: 'class', data: { number: number ?? '' }, onclick: () => toggle(value) }, image,
        h('span', {}, name));
      if (number !== null) seen.observe(element);
      return { value, name, element };
    });
    group.replaceChildren(...tiles.map(({ element }) => element));
    search.hidden = names.length < MANY;
    settle();
    show();
  }

  /** A class as its tile has it: numbers become names, also those that came as keys of JSON, unless a class is called so. */
  function known(value) {
    const number = typeof value === 'number' || (/^\d+$/.test(value) && !of.classes.map(String).includes(value));
    return number ? tiles.find(({ element }) => element.dataset.number === String(Number(value)))?.value ?? value : value;
  }

  const api = {
    element: h('div', { class: 'field', id: fresh('classes') },
      h('div', { class: 'head' }, h('span', { class: 'label' }, label), count), lost, search, group),
    chosen: () => tiles.map(({ value }) => value).filter((value) => picked.has(value)),
    set(values) {
      picked.clear();
      values.forEach((value) => picked.add(known(value)));
      if (rare) fill(of);
      else settle();
      show();
    },
    known,
    fill,
  };
  fill(pipeline);
  return api;
}
