// Tells whether a picture that was made again is the one that was opened.
import { same } from './bytes.js';

/** Compares pixels and says it in the panel. */
export async function remade(job, expected, found) {
  if (!found) return;
  const equal = await same(expected, found);
  job.tell(equal ? 'Made again from its settings: the same picture, pixel for pixel.'
    : 'Made again from its settings, but not the same pixels: another version of the model or of its libraries made the first one.');
}
