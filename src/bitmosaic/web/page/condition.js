// What is told of a picture: a class where the pipeline knows classes, a prompt where it learned from captions.
import { classPicker } from './classes.js';
import { fresh, h } from './dom.js';

const LONGEST = 2000; // letters, as the service has it

/**
 * {element, each(), one(), set(requests), fill(pipeline)}. Of a request: {class} or {prompt}; `each` for every class that is chosen, `one` for the only
 * one. `options` as those of classPicker; `any`: what an empty prompt means.
 */
export function conditionField(label, options, any = 'Nothing: the pipeline draws what it likes.') {
  const classes = classPicker(label, options);
  const note = h('p', { class: 'hint', id: fresh('hint') }, any);
  const input = h('input', { type: 'text', id: fresh('field'), maxLength: LONGEST, placeholder: 'a red heart', autocomplete: 'off', enterKeyHint: 'go',
    'aria-describedby': note.id, oninput: tell });
  const prompt = h('div', { class: 'field' }, h('div', { class: 'head' }, h('label', { htmlFor: input.id }, 'Prompt')), input, note);
  const none = h('p', { class: 'hint' }, 'This pipeline was trained without classes or captions.');
  const element = h('div', { class: 'field' }, classes.element, prompt, none);
  let kind = 'class';

  function tell() {
    note.textContent = input.value.trim() ? 'In words like those of the captions that it learned from.' : any;
  }

  function show(pipeline) {
    kind = pipeline.condition;
    classes.element.hidden = kind !== 'class';
    prompt.hidden = kind !== 'text';
    none.hidden = kind !== 'none';
  }

  const text = () => (input.value.trim() ? { prompt: input.value.trim() } : { class: null });
  show(options.pipeline);
  return {
    element,
    each() {
      const chosen = classes.chosen();
      return kind !== 'class' ? [kind === 'text' ? text() : { class: null }] : (chosen.length ? chosen : [null]).map((one) => ({ class: one }));
    },
    one() {
      return this.each()[0];
    },
    /** As requests say it; what is a blend has no field here. */
    set(requests) {
      input.value = requests.find(({ prompt: words }) => words)?.prompt ?? '';
      tell();
      classes.set(requests.map((one) => one.class ?? null).filter((one) => typeof one !== 'object' || one === null));
    },
    fill(pipeline) {
      show(pipeline);
      classes.fill(pipeline);
    },
  };
}
