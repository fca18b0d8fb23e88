// Sends one drawing request and shows its steps in shots, as the service tells them.
import { stream } from './api.js';

/** Draws `request` into `shots` (in the order of their seeds). Resolves with the whole answer; `onbegin()`, `onstep(i, total, words)`. */
export async function draw(request, shots, signal, onbegin, onstep) {
  const { job, ...body } = request;
  let grid = null;
  // Enrichment has so many steps that the doubt in each would double a long wait.
  for await (const [event, data] of stream(`/v1/${job}`, { ...body, entropy: job !== 'enrich' }, signal)) {
    if (event === 'begin') {
      ({ grid } = data);
      onbegin();
    }
    if (event === 'step') {
      shots.forEach((one, i) => {
        if (!data.images?.[i]) return;
        one.step(grid, { image: data.images[i], known: data.known[i], entropy: data.entropy?.[i] ?? null, window: data.window });
      });
      const rounds = job === 'enrich' ? 4 * (request.repeats ?? 4) : null;
      if (rounds) onstep((data.window - 1) * data.total + data.index, rounds * data.total,
        `Round ${data.window} of ${rounds}, step ${data.index} of ${data.total}`);
      else onstep(data.index, data.total, data.window > 1 ? `Window ${data.window}, step ${data.index} of ${data.total}` : null);
    }
    if (event === 'result') {
      for (const answer of data.images) {
        const one = shots.find((other) => other.seed === answer.seed && !other.answer()) ?? shots.find((other) => !other.answer());
        one?.result(answer);
      }
      return data;
    }
  }
  return null;
}
