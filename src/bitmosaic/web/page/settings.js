// The sampler's settings as a form. What is left alone stays the pipeline's own, and what the form has no field for is kept.
import { button, field, h } from './dom.js';

const MASKED = ['steps', 'evaluations', 'guidance_scale', 'temperature'];
const FIELDS = { // which sampler has which settings
  'entropy-ordered': MASKED, fast: MASKED,
  'marginals-first': [...MASKED, 'shortlist'], looks: [...MASKED, 'shortlist'],
  raster: ['evaluations', 'guidance_scale'],
  maskgit: ['steps', 'guidance_scale', 'temperature'],
  llamagen: ['guidance_scale', 'temperature', 'top_k', 'top_p'],
  ancestral: ['steps', 'guidance_scale', 'top_p'],
};
const SAMPLERS = [
  ['', 'the pipeline’s own'], ['fast', 'fast: few steps and evaluations'], ['looks', 'looks: surer, plainer'], ['entropy-ordered', 'entropy-ordered, as published'],
  ['marginals-first', 'marginals first'], ['raster', 'raster: row by row'],
  ['maskgit', 'MaskGIT: all at once, keep the surest'], ['llamagen', 'LlamaGen: the likeliest few'],
  ['ancestral', 'ancestral: noise becomes codes, step by step'],
];
const NUMBERS = { // label, least, most, step, hint
  guidance_scale: ['Guidance', 0, 6, 0.05, '1 draws the class as the model learned it, more follows it more strongly; 0 draws without it.'],
  steps: ['Steps', 1, 64, 1, 'Rounds in which places are revealed, or noise becomes codes.'],
  evaluations: ['Evaluations', 1, 256, 1, 'Of the head, for each place.'],
  temperature: ['Temperature', 0, 5, 0.01, 'How much chance there is: in the order of places, or in what is drawn.'],
  shortlist: ['Shortlist', 1, 50, 0.5, 'Times as many places draw as are revealed.'],
  truncation: ['Truncation', 0, 1, 0.01, 'Of the noise: 1 draws as in training, less is likelier and less varied.'],
  top_k: ['Top k', 0, 1000, 1, 'Only so many of the likeliest codewords; 0 is all.'],
  top_p: ['Top p', 0.01, 1, 0.01, 'Only the likeliest codewords that have this probability together; 1 is all.'],
};

export const KIND = { EntropyOrderedSpec: 'entropy-ordered', MarginalsFirstSpec: 'marginals-first',
  RasterSpec: 'raster', MaskGITSamplerSpec: 'maskgit', LlamaGenSamplerSpec: 'llamagen', AncestralSpec: 'ancestral' };

/** Whether a sampler asks the priors of a pipeline. */
const ASKS = { // families of priors; of indices alone, or of any codes
  raster: ['masked', 'causal'], maskgit: ['masked', 'indices'], llamagen: ['causal', 'indices'], ancestral: ['denoising'],
};
const asks = ({ family, binary }, name) => {
  const kinds = ASKS[name] ?? ['masked'];
  return !name || (kinds.includes(family) && !(binary && kinds.includes('indices')));
};

/** {main, more, value(), set(settings), fill(pipeline, limits)}: two parts of a form, and the settings that it says. */
export function settingsForm(pipeline, limits, onchange = () => {}) {
  let own = {};
  let extra = {};
  const sampler = select('Sampler', SAMPLERS);
  const numbers = Object.fromEntries(Object.entries(NUMBERS).map(([name, about]) => [name, slider(...about, onchange)]));
  const rows = Object.fromEntries(Object.entries(numbers).map(([name, { element }]) => [name, element]));
  sampler.input.addEventListener('change', () => { extra = {}; show(); onchange(); });
  const { guidance_scale, steps, ...others } = rows;
  const kept = h('p', { class: 'hint' });
  const main = [guidance_scale, steps, sampler.element];
  const more = h('details', { class: 'more' }, h('summary', {}, 'More settings'), h('div', {}, ...Object.values(others), kept,
    button('As the pipeline has them', 'reset', () => { api.set({}); onchange(); }, { class: 'quiet' })));

  const has = (name) => (FIELDS[sampler.input.value || KIND[own.type]] ?? Object.keys(own)).includes(name);

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
      sampler.input.value = FIELDS[name] ? name : '';
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
function slider(label, least, most, step, hint, onchange) {
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
