// Fields that all drawing panels share: seed with dice, and count.
import { button, field, h } from './dom.js';

export const MOST_SEED = 2 ** 53 - 1;

export function seedField(onchange = () => {}) {
  const input = h('input', { type: 'number', min: 0, max: MOST_SEED, step: 1, value: '0', inputMode: 'numeric', onchange });
  const dice = button('Another seed', 'dice', () => { input.value = String(Math.floor(Math.random() * 1e6)); onchange(); }, { bare: true });
  return {
    element: field('Seed', h('div', { class: 'row tight' }, input, dice)),
    get: () => whole(input, 'Seed', 0, MOST_SEED),
    set: (value) => { input.value = String(value ?? 0); },
  };
}

export function countField(label, most, value = 1, onchange = () => {}) {
  const input = h('input', { type: 'number', min: 1, max: most ?? 64, step: 1, value: String(Math.min(value, most ?? value)), inputMode: 'numeric', onchange });
  return {
    element: field(label, input),
    get: () => whole(input, label, 1, Number(input.max)),
    set: (to) => { input.value = String(to ?? 1); },
    most: (to) => { if (to) input.max = to; },
  };
}

/** The whole number in a field; an Error that a person understands for what is none. */
export function whole(input, label, least, most) {
  const value = input.valueAsNumber;
  const fine = Number.isSafeInteger(value) && value >= least && value <= most;
  input.setAttribute('aria-invalid', String(!fine));
  if (fine) return value;
  throw new Error(`${label}: give a whole number from ${least} to ${most}.`);
}

/** What a picture shows, as people read it: a prompt in quotes, or a class. */
export const toldName = ({ class: kind, prompt }) => (prompt ? `“${prompt}”` : className(kind ?? null));

/** A class as people read it: a name, "any class", or a blend. */
export function className(value) {
  if (value === null || value === undefined) return 'any class';
  if (typeof value !== 'object') return String(value);
  return Object.entries(value).map(([name, weight]) => `${Math.round(weight * 100)} % ${name}`).join(' + ');
}
