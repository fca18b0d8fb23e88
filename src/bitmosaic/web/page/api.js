// Talks with the service: JSON, pictures and streams of steps; what goes wrong becomes a ServiceError in plain words.
import { askToken, token } from './token.js';

/** What the service refused, or that it did not answer (status 0). `wait`: seconds until it may be asked again. */
export class ServiceError extends Error {
  constructor(message, status, wait = null) {
    super(message);
    Object.assign(this, { status, wait });
  }
}

export const lost = () => new ServiceError('The studio’s service does not answer. It may have been stopped, or the connection is lost.', 0);

/** A response that is fine. Asks for the token where the service wants one. `low`: the browser may send other requests first. */
export async function ask(path, { body, accept = 'application/json', signal, low = false } = {}) {
  for (;;) {
    const headers = { Accept: accept };
    const known = token();
    if (known) headers.Authorization = `Bearer ${known}`;
    if (body) headers['Content-Type'] = 'application/json';
    let response;
    try {
      response = await fetch(path, { method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify(body), signal,
        priority: low ? 'low' : 'auto' });
    } catch (error) {
      throw error.name === 'AbortError' ? error : lost();
    }
    if (response.ok) return response;
    if (response.status !== 401) throw await problem(response);
    await askToken(known, signal);
  }
}

async function problem(response) {
  let words = '';
  try {
    words = (await response.json()).error;
  } catch {
    words = `The service answered with status ${response.status}.`;
  }
  const wait = Number(response.headers.get('Retry-After')) || null;
  return new ServiceError(words, response.status, response.status === 429 || response.status === 503 ? wait ?? 3 : null);
}

async function whole(work) {
  try {
    return await work;
  } catch (error) {
    throw error.name === 'AbortError' ? error : lost();
  }
}

let asked = 0;
const watching = [];
/** Whether a person waits for an answer; `onAsked(work)` calls `work` when that begins or ends. */
export const busy = () => asked > 0;
export const onAsked = (work) => watching.push(work);
const count = (change) => { asked += change; watching.forEach((work) => work()); };

export async function post(path, body, signal) {
  count(1);
  try {
    return await whole((await ask(path, { body, signal })).json());
  } finally {
    count(-1);
  }
}
export const get = async (path, signal) => whole((await ask(path, { signal })).json());

/** Server-sent events of a drawing request as [event, data], up to the result. */
export async function* stream(path, body, signal) {
  count(1);
  try {
    yield* told(path, body, signal);
  } finally {
    count(-1);
  }
}

async function* told(path, body, signal) {
  const response = await ask(path, { body, accept: 'text/event-stream', signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { done, value } = await whole(reader.read());
    if (done) throw new ServiceError('The connection was lost before the picture was done.', 0);
    text += value;
    const events = text.split(/\r?\n\r?\n/);
    text = events.pop();
    for (const event of events) {
      const [name, data] = parsed(event);
      if (name === 'error') throw new ServiceError(data.error, data.status, data.status === 429 ? data.retry_after ?? 3 : null);
      if (data !== null) yield [name, data];
      if (name === 'result') return;
    }
  }
}

function parsed(event) {
  let name = 'message';
  const data = [];
  for (const line of event.split(/\r?\n/)) {
    if (line.startsWith('event:')) name = line.slice(6).trim();
    if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
  }
  return [name, data.length ? JSON.parse(data.join('\n')) : null];
}
