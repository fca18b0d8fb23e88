// Small pictures that nobody waits for: few at a time, and those that the model must draw only while no person waits for it.
import { ask, busy, lost, onAsked, ServiceError } from './api.js';

const AT_ONCE = 2; // of each kind: browsers open six connections to one address, and Draw has up to three streams
const CALM = 300; // milliseconds after an answer, since a person's next request often follows
const LONGEST = 30; // seconds between two tries

const drawn = lane({ yields: true, later: [0, 408, 425, 429, 500, 502, 503, 504], most: 40 });
const read = lane({ yields: false, later: [429, 503], most: 5 });
const kept = new Map();

/** {url, blob, name} of a picture at a GET address, which comes once; an <img> could not send the token. */
export function picture(path) {
  if (!kept.has(path)) {
    const put = path.startsWith('/v1/classes/') ? drawn : read;
    const made = new Promise((done, failed) => put({ path, done, failed, tries: 0 }));
    made.catch(() => kept.delete(path));
    kept.set(path, made);
  }
  return kept.get(path);
}

/**
 * A queue of pictures, what was asked for last first, since that is what a person sees. `yields`: it is given up while a person waits for
 * an answer; `later`: statuses after which a picture is tried again, `most` times; 202 says that it is being drawn.
 */
function lane({ yields, later, most }) {
  const waiting = [];
  const running = new Map();
  let timer = 0;

  function next() {
    if (yields && (busy() || timer)) return;
    while (waiting.length && running.size < AT_ONCE) start(waiting.pop());
  }

  async function start(one) {
    const control = new AbortController();
    running.set(one, control);
    try {
      one.done(await fetched(one.path, control.signal));
    } catch (error) {
      if (error.name === 'AbortError') waiting.push(one);
      else if (error.status !== 202 && (!later.includes(error.status) || ++one.tries >= most)) one.failed(error);
      else setTimeout(() => { waiting.push(one); next(); }, 1000 * (error.wait ?? Math.min(LONGEST, 2 ** one.tries)));
    }
    running.delete(one);
    next();
  }

  onAsked(() => {
    if (busy() && yields) running.forEach((control) => control.abort());
    clearTimeout(timer);
    timer = setTimeout(() => { timer = 0; next(); }, CALM);
  });
  return (one) => { waiting.push(one); next(); };
}

async function fetched(path, signal) {
  const response = await ask(path, { accept: 'image/png', signal, low: true });
  if (response.status !== 200) throw new ServiceError('This picture is not there yet.', response.status, Number(response.headers.get('Retry-After')) || null);
  try {
    const blob = await response.blob();
    return { blob, url: URL.createObjectURL(blob), name: response.headers.get('X-Class') };
  } catch (error) {
    throw error.name === 'AbortError' ? error : lost();
  }
}
