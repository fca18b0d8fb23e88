// Sends one drawing request and shows its steps in shots, as the service tells them.
import { stream } from './api.js';

/**
 * Draws `request` into `shots` (in the order of their seeds). Resolves with the whole answer; `onbegin()`, `onstep(i, total, words)`. What takes
 * longer than the service gives to one request is asked for again in halves, one after the other.
 */
export async function draw(request, shots, signal, onbegin, onstep) {
  try {
    return await once(request, shots, signal, onbegin, onstep);
  } catch (error) {
    const first = Math.ceil(shots.length / 2);
    if (error.status !== 408 || first === shots.length) throw error;
    const seed = request.seed ?? 0;
    const parts = [[seed, shots.slice(0, first)], [seed + first, shots.slice(first)]];
    const images = [];
    for (const [i, [from, few]] of parts.entries()) {
      few.forEach((one) => one.restart());
      const found = await draw({ ...request, seed: from, count: few.length }, few, signal, onbegin,
        (at, total, words) => onstep(i * total + at, 2 * total, words));
      images.push(...found.images);
    }
    return { images: images.sort((a, b) => (a.bits ?? 0) - (b.bits ?? 0)) };
  }
}

async function once(request, shots, signal, onbegin, onstep) {
  const { job, ...body } = request;
  let grid = null;
  // Enrichment has so many steps that an entropy map of each would double a long wait.
  for await (const [event, data] of stream(`/v1/${job}`, { ...body, entropy: job !== 'enrich' }, signal)) {
    if (event === 'begin') {
      ({ grid } = data);
      onbegin();
    }
    if (event === 'step') {
      shots.forEach((one, i) => {
        if (!data.images?.[i]) return;
        const { window, box } = data;
        one.step(grid, { image: data.images[i], known: data.known[i], changed: data.changed[i], entropy: data.entropy?.[i] ?? null, window, box });
      });
      const { index, total, window, windows } = data;
      onstep((window - 1) * total + index, windows * total,
        windows > 1 ? `${job === 'enrich' ? 'Round' : 'Window'} ${window} of ${windows}, step ${index} of ${total}` : null);
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
