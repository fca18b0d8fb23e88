// Sends one drawing request and shows its steps in shots, as the service tells them.
import { stream } from './api.js';

/** Draws `request` into `shots` (in the order of their seeds). Resolves with the whole answer; `onstep(i, total, words)`. */
export async function draw(request, shots, signal, onstep) {
  const { job, ...body } = request;
  let grid = null;
  let windows = 1;
  for await (const [event, data] of stream(`/v1/${job}`, { ...body, entropy: true }, signal)) {
    if (event === 'begin') ({ grid, windows = 1 } = data);
    if (event === 'step') {
      shots.forEach((one, i) => {
        if (data.images?.[i]) one.step(grid, { image: data.images[i], known: data.known[i], entropy: data.entropy?.[i] ?? null });
      });
      const part = windows > 1 ? `Part ${Number(data.window ?? 0) + 1} of ${windows}, step ${data.index} of ${data.total}` : null;
      onstep(data.index, data.total, part);
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
