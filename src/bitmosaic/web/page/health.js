// Tells when the connection to the service is lost, and when it is back.
import { byId } from './dom.js';

let waiting = [];
let timer = 0;

/** Calls `work` once the service answers again; a banner says meanwhile that it does not. */
export function whenBack(work) {
  waiting.push(work);
  const banner = byId('banner');
  banner.textContent = 'No connection to the studio’s service. Trying to reach it …';
  banner.hidden = false;
  timer ||= setInterval(look, 2000);
}

async function look() {
  try {
    if (!(await fetch('/health', { cache: 'no-store' })).ok) return;
  } catch {
    return;
  }
  clearInterval(timer);
  timer = 0;
  const banner = byId('banner');
  banner.textContent = 'The service answers again.';
  setTimeout(() => { banner.hidden = timer === 0; }, 4000);
  const all = waiting;
  waiting = [];
  all.forEach((work) => work());
}
