// One running job of a panel: a button that draws and stops, progress, and what went wrong in plain words with a way on.
import { button, h, icon, reveal, say } from './dom.js';
import { whenBack } from './health.js';

/**
 * {button, status (progress and notice, which may also stand apart), run(work), stop()}. `work(signal, step)` is awaited;
 * `step(i, total, words)` moves the bar.
 */
export function runner(words, onclick, name = null) {
  let controller = null;
  const label = h('span', {}, words);
  const go = h('button', { type: 'submit', class: 'primary go', onclick: press }, name ? icon(name) : null, label);
  const bar = h('progress', { max: 1, value: 0, 'aria-label': 'Progress' });
  const told = h('p', { class: 'told' });
  const progress = h('div', { class: 'progress', hidden: true }, bar, told);
  const notice = notices();
  const status = h('div', { class: 'status' }, notice.element, progress);

  /** In a form the button submits it, as Enter does; while the job runs it stops it. */
  function press(event) {
    if (controller || !go.form) event.preventDefault();
    if (controller) stop();
    else if (!go.form) onclick();
  }

  function busy(on) {
    go.classList.toggle('stop', on);
    label.textContent = on ? 'Stop' : words;
    progress.hidden = !on;
    if (on) {
      bar.removeAttribute('value');
      told.textContent = 'Waiting for the service';
    }
  }

  function stop() {
    controller?.abort();
  }

  function step(i, total, text) {
    bar.max = total;
    bar.value = i;
    told.textContent = text ?? `Step ${i} of ${total}`;
  }

  async function run(work) {
    stop();
    const own = new AbortController();
    controller = own;
    notice.clear();
    busy(true);
    reveal(notice.element.closest('.stage'));
    try {
      await work(own.signal, step);
      if (controller === own) say('Done.');
    } catch (error) {
      if (own.signal.aborted) { if (controller === own) notice.tell('Stopped.'); } else notice.show(error, () => run(work));
    } finally {
      if (controller === own) {
        controller = null;
        busy(false);
      }
    }
  }
  return { button: go, progress, notice: notice.element, status, run, stop, tell: notice.tell, fail: notice.show, clear: notice.clear,
    busy: () => controller !== null };
}

/** A place for messages: tell(words), show(error, again), clear(). */
export function notices() {
  let timer = 0;
  const polite = h('div', { 'aria-live': 'polite' });
  const alarm = h('div', { role: 'alert' }); // beside the polite one, since an alert within it may be read twice
  const element = h('div', { class: 'notices' }, polite, alarm);
  const clear = () => { clearInterval(timer); polite.replaceChildren(); alarm.replaceChildren(); };
  const put = (kind, ...parts) => {
    clear();
    (kind === 'bad' ? alarm : polite).append(h('div', { class: `notice ${kind}` }, ...parts));
    if (kind === 'bad') element.scrollIntoView({ block: 'nearest' });
  };
  const tell = (...parts) => put('', ...parts);

  function show(error, again) {
    if (error.name === 'AbortError') return;
    const words = h('p', {}, sentence(error));
    const wait = error.wait ?? null; // an error of the page itself has none, and stays as it is however often it is tried
    if (!again || (wait === null && error.status !== 0 && error.status !== 408)) {
      put('bad', words);
      return;
    }
    const retry = () => { clear(); again(); };
    if (wait === null) {
      put('bad', words, h('div', { class: 'row' }, button('Try again', 'reset', retry)));
      if (error.status === 0) whenBack(() => { if (words.isConnected) words.textContent = 'The service answers again.'; });
      return;
    }
    countdown(wait, words, retry);
  }

  function countdown(wait, words, retry) {
    let left = Math.ceil(wait);
    const when = h('p', { class: 'hint', 'aria-live': 'off' });
    const tick = () => {
      when.textContent = `Tries again in ${left} ${left === 1 ? 'second' : 'seconds'}.`;
      if (left-- <= 0) retry();
    };
    put('bad', words, when, h('div', { class: 'row' }, button('Try now', 'reset', retry), button('Give up', 'clear', clear)));
    tick();
    timer = setInterval(tick, 1000);
  }
  return { element, tell, show, clear };
}

function sentence(error) {
  if (error.status === 429) return `The studio is busy with other people’s pictures. (${error.message})`;
  if (error.status === 408) return `That took longer than the service allows. ${error.message}`;
  return error.message ? error.message[0].toUpperCase() + error.message.slice(1) : 'Something went wrong.';
}
