// The sampler's settings as a form. What is left alone stays the pipeline's own, and what the form has no field for is kept.
import { button, field, h } from './dom.js';

const known = { settings: {}, samplers: [] };

/** Takes from what the service says of itself which samplers there are, and which settings. */
export const learn = ({ settings, samplers }) => Object.assign(known, { settings, samplers });

/** Names of the settings that pictures tell of. */
export const settingNames = () => ['sampler', ...Object.keys(known.settings)];

/** A sampler's name by that of its spec. */
export const samplerOf = (type) => known.samplers.find((one) => one.type === type && !one.preset)?.name;

const found = (name) => known.samplers.find((one) => one.name === name);

/** Whether a sampler asks the prior of a pipeline. */
function asks({ family, binary }, name) {
  if (!name) return true;
  const { families, of_indices: indices } = found(name);
  return families.includes(family) && !(binary && indices);
}

/** {main, more, value(), set(settings), fill(pipeline, limits)}: two parts of a form, and the settings that it says. */
export function settingsForm(pipeline, limits, onchange = () => {}) {
  let own = {};
  let extra = {};
  const sampler = select('Sampler', [['', 'the pipeline’s own'], ...known.samplers.map(({ name, words }) => [name, `${name}: ${words}`])]);
  const numbers = Object.fromEntries(Object.entries(known.settings).map(([name, about]) => [name, slider(about, onchange)]));
  const rows = Object.fromEntries(Object.entries(numbers).map(([name, { element }]) => [name, element]));
  sampler.input.addEventListener('change', () => { extra = {}; show(); onchange(); });
  const { guidance_scale, steps, ...others } = rows;
  const kept = h('p', { class: 'hint' });
  const main = [guidance_scale, steps, sampler.element];
  const more = h('details', { class: 'more' }, h('summary', {}, 'More settings'), h('div', {}, ...Object.values(others), kept,
    button('As the pipeline has them', 'reset', () => { api.set({}); onchange(); }, { class: 'quiet' })));

  const has = (name) => (found(sampler.input.value || samplerOf(own.type))?.settings ?? Object.keys(own)).includes(name);

  function show() {
    for (const [name, row] of Object.entries(rows)) row.hidden = !has(name);
    for (const [name, { own: tell }] of Object.entries(numbers)) tell(sampler.input.value ? null : own[name]);
    kept.textContent = Object.keys(extra).length ? `Also: ${Object.entries(extra).map(([key, value]) => `${key} ${value}`).join(', ')}` : '';
  }

  const api = {
    main, more,
    value() {
      const told = Object.entries(numbers).filter(([name, { get }]) => has(name) && get() !== null);
      const given = Object.fromEntries(told.map(([name, { get }]) => [name, get()]));
      if (sampler.input.value) given.sampler = sampler.input.value;
      return { ...extra, ...given };
    },
    set(settings = {}) {
      const { sampler: name, ...rest } = settings ?? {};
      sampler.input.value = found(name) ? name : '';
      for (const [key, { set }] of Object.entries(numbers)) set(rest[key] ?? null);
      extra = Object.fromEntries(Object.entries(rest).filter(([key, value]) => !(key in numbers) && value !== null));
      show();
    },
    fill(of, bounds) {
      own = of.sampler ?? {};
      sampler.element.hidden = !of.family; // a generator asks no sampler
      if (!of.family) sampler.input.value = '';
      numbers.steps.most(bounds?.steps);
      numbers.evaluations.most(bounds?.evaluations);
      sampler.input.querySelectorAll('option').forEach((option) => { option.hidden = !asks(of, option.value); });
      show();
    },
  };
  api.fill(pipeline, limits);
  return api;
}

function select(label, options) {
  const input = h('select', {}, options.map(([value, words]) => h('option', { value }, words)));
  return { input, element: field(label, input) };
}

/** A range and a number field that say the same; empty is the pipeline's own value. */
function slider({ label, text, slider: [least, most, step] }, onchange) {
  const hint = `${text[0].toUpperCase()}${text.slice(1)}.`;
  const number = h('input', { type: 'number', class: 'small', min: least, step: 'any', 'aria-label': `${label}, number`,
    oninput: () => { if (number.value !== '') range.value = number.value; changed(); } });
  const range = h('input', { type: 'range', min: least, max: most, step, oninput: () => { number.value = range.value; changed(); } });
  const clear = button(`${label}: as the pipeline has it`, 'reset', () => { number.value = ''; tell(shown); onchange(); },
    { bare: true, class: 'tiny' });
  let shown = null;
  function tell(value) {
    shown = value ?? null;
    number.placeholder = shown ?? 'own';
    if (number.value === '' && shown !== null) range.value = shown;
    element.classList.toggle('own', number.value === '');
    clear.hidden = number.value === '';
  }
  function changed() {
    tell(shown);
    onchange();
  }
  const element = field(label, range, { hint, value: h('span', { class: 'value' }, clear, number) });
  return {
    element, own: tell,
    get: () => (number.value === '' || !Number.isFinite(number.valueAsNumber) ? null : number.valueAsNumber),
    set(value) { number.value = value ?? ''; if (value !== null) range.value = value; tell(shown); },
    most(value) { if (value) { range.max = Math.min(most, value); number.max = value; } },
  };
}
