// A canvas that is painted window by window: how all of it stands at any step.
import { toBlob } from './bytes.js';
import { h } from './dom.js';

/**
 * {width, height, show(canvas, frames, i, colour)}: paints into `canvas` what was there at step `i`, the places that are not known yet in `colour`.
 * `picture`: {pixels, width, height}; `mask`: what of it is repainted; `pad`: pixels to add left, above, right, below, then there is no mask.
 */
export function sheet(picture, mask, pad = [0, 0, 0, 0]) {
  const [width, height] = [picture.width + pad[0] + pad[2], picture.height + pad[1] + pad[3]];
  const blank = (size = { width, height }) => h('canvas', size).getContext('2d');
  let at = null; // before a window: {window, image, hole}; the hole is opaque where something is still to be painted
  let wanted = 0;
  let work = Promise.resolve();

  function start() {
    const [image, hole] = [blank(), blank()];
    image.putImageData(picture.pixels, pad[0], pad[1]);
    hole.fillRect(0, 0, width, height);
    const kept = new ImageData(width, height);
    for (let i = 0; i < picture.width * picture.height; i++) {
      const [x, y] = [i % picture.width, Math.floor(i / picture.width)];
      kept.data[4 * ((y + pad[1]) * width + x + pad[0]) + 3] = mask?.data[i] ? 0 : 255;
    }
    const over = blank();
    over.putImageData(kept, 0, 0);
    hole.globalCompositeOperation = 'destination-out';
    hole.drawImage(over.canvas, 0, 0);
    return { window: 1, image, hole };
  }

  /** Paints a window's step over `target`, where the hole is. */
  async function paint(target, { image, box: [left, top, right, bottom], grid: [rows, columns], known }, colour) {
    const bitmap = await createImageBitmap(toBlob(image));
    const part = blank({ width: right - left, height: bottom - top });
    part.drawImage(bitmap, 0, 0);
    part.fillStyle = colour;
    const [w, tall] = [(right - left) / columns, (bottom - top) / rows];
    for (let i = 0; i < rows * columns; i++) if (known[i] === '0') part.fillRect(w * (i % columns), tall * Math.floor(i / columns), w, tall);
    part.globalCompositeOperation = 'destination-in';
    part.drawImage(at.hole.canvas, -left, -top);
    target.drawImage(part.canvas, left, top);
  }

  async function render(frames, i, colour) {
    const frame = frames[i];
    if (!at || at.window > frame.window) at = start();
    for (; at.window < frame.window; at.window++) {
      const last = frames.findLast(({ window }) => window === at.window);
      if (!last) continue;
      const [left, top, right, bottom] = last.box;
      await paint(at.image, last, colour);
      at.hole.clearRect(left, top, right - left, bottom - top);
    }
    const shown = blank();
    shown.fillStyle = colour;
    shown.fillRect(0, 0, width, height);
    shown.globalCompositeOperation = 'destination-in';
    shown.drawImage(at.hole.canvas, 0, 0); // what no window has come to yet
    shown.globalCompositeOperation = 'destination-over';
    shown.drawImage(at.image.canvas, 0, 0);
    shown.globalCompositeOperation = 'source-over';
    await paint(shown, frame, colour);
    return shown.canvas;
  }

  return {
    width, height,
    show(canvas, frames, i, colour) {
      const own = ++wanted;
      work = work.then(async () => {
        const found = own === wanted ? await render(frames, i, colour) : null;
        if (!found || own !== wanted) return;
        Object.assign(canvas, { width, height });
        canvas.getContext('2d').drawImage(found, 0, 0);
      }).catch(() => {});
    },
    /** Nothing that is under way is shown any more. */
    leave() { wanted++; },
  };
}
