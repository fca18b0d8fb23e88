// The page's address: #do= holds the request that the panel shows, so that the address makes the same pictures again. Each panel that a person
// goes to is a state of the browser's history, {panel}, so that Back and Forward go through the panels.
import { fromBase64, toBase64 } from './bytes.js';

const LONGEST = 1_500_000; // letters; browsers take two million
const last = new Map(); // panel -> its fragment
let shown = null;

/** Says which panel is the one that a person sees. */
export const nowShown = (panel) => { shown = panel; };

export const fragment = (request) => {
  const text = toBase64(new TextEncoder().encode(JSON.stringify(request)));
  return `#do=${text.replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '')}`;
};

export const addressOf = (request) => location.origin + location.pathname + fragment(request);

/** Keeps a panel's request, and puts it into the address while the panel is shown. False where it is too long for one. */
export function remember(panel, request) {
  const text = fragment(request);
  const fits = text.length <= LONGEST;
  last.set(panel, fits ? text : `#panel=${panel}`);
  if (panel === shown) showPanel(panel);
  return fits;
}

/** Puts a panel into the address: as a state of its own, `push`, or in place of the one there. */
export function showPanel(panel, push = false) {
  history[push ? 'pushState' : 'replaceState']({ panel }, '', last.get(panel) ?? `#panel=${panel}`);
}

/** Whether a panel has made something, which its address tells. */
export const made = (panel) => last.has(panel);

/** Says which panel the present state is of; the address stays. */
export function mark(panel) {
  history.replaceState({ panel }, '');
}

/** The address without its token, so that no one reads it there. */
export function hideToken() {
  const parts = new URLSearchParams(location.hash.slice(1));
  parts.delete('token');
  const rest = parts.toString();
  history.replaceState(history.state, '', location.pathname + (rest ? `#${rest}` : ''));
}

/** {token, request, panel, broken} of the address. */
export function readAddress() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const found = { token: parts.get('token'), panel: parts.get('panel'), request: null, broken: false };
  if (parts.has('do')) {
    try {
      found.request = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(fromBase64(parts.get('do'))));
      if (typeof found.request?.job !== 'string') throw new Error('no job');
    } catch {
      Object.assign(found, { request: null, broken: true });
    }
  }
  return found;
}
