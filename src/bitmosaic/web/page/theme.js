// Light, dark, or as the system has it.
import { button, icon, say } from './dom.js';

const KEY = 'bitmosaic-theme';
const NEXT = { auto: 'light', light: 'dark', dark: 'auto' };
const SIGN = { auto: 'auto', light: 'sun', dark: 'moon' };
const WORDS = { auto: 'as the system', light: 'light', dark: 'dark' };

function current() {
  const kept = localStorage.getItem(KEY);
  return kept in NEXT ? kept : 'auto';
}

export function themeSwitch() {
  const element = button('Colours', 'auto', () => {
    localStorage.setItem(KEY, NEXT[current()]);
    show();
    say(`Colours: ${WORDS[current()]}`);
  }, { bare: true });
  function show() {
    document.documentElement.dataset.theme = current();
    const words = `Colours: ${WORDS[current()]}. Change`;
    element.title = words;
    element.setAttribute('aria-label', words);
    element.replaceChildren(icon(SIGN[current()]));
  }
  show();
  return element;
}
