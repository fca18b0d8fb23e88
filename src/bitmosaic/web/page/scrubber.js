// Goes back and forth through the steps of all pictures on a stage.
import { button, calm, h, icon } from './dom.js';

/** {element, of(shots), moved()}: `moved` is called when a step came, and follows it unless a person looks back. */
export function scrubber() {
  let shots = [];
  let follow = true;
  let timer = 0;
  const range = h('input', { type: 'range', min: 1, max: 1, value: 1, step: 1, 'aria-label': 'Step',
    oninput: () => { pause(); follow = Number(range.value) === Number(range.max); show(); } });
  const told = h('output', { class: 'value' });
  const play = button('Play the steps', 'play', () => (timer ? pause() : start()), { bare: true });
  const element = h('div', { class: 'scrubber', hidden: true }, play, range, told);

  function show() {
    const at = Number(range.value) - 1;
    const last = Number(range.max) - 1;
    shots.forEach((one) => one.show(at === last ? Infinity : at));
    told.textContent = `${range.value} / ${range.max}`;
    range.setAttribute('aria-valuetext', `step ${range.value} of ${range.max}`);
  }

  function start() {
    if (Number(range.value) === Number(range.max)) range.value = 1;
    face('pause', 'Pause');
    timer = setInterval(() => {
      range.value = Number(range.value) + 1;
      follow = Number(range.value) === Number(range.max);
      show();
      if (follow) pause();
    }, calm() ? 700 : 260);
    show();
  }

  function pause() {
    clearInterval(timer);
    timer = 0;
    face('play', 'Play the steps');
  }

  function face(name, words) {
    play.replaceChildren(icon(name));
    play.setAttribute('aria-label', words);
    play.title = words;
  }

  return {
    element,
    of(all) {
      pause();
      shots = all;
      follow = true;
      range.max = range.value = 1;
      element.hidden = true;
    },
    moved() {
      const most = Math.max(...shots.map((one) => one.frames()), 0);
      if (!most) return;
      range.max = most;
      if (follow) range.value = most;
      element.hidden = most < 2;
      show();
    },
  };
}
