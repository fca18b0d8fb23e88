// Asks what to do with a picture of another size than the pipeline's, or in colour where that knows grey: crop it, or keep its size and paint
// window by window.
import { post } from './api.js';
import { blobBase64, toBlob } from './bytes.js';
import { button, h } from './dom.js';
import { opened } from './source.js';

const CANVAS = 64; // how many times as large as the pipeline's images a canvas may be, where the service does not say

/** The picture at a size that fits, with `fit` "exact" or "tile"; null if a person gave up. `tile`: whether windows are a way. */
export async function fitted(picture, world, pipeline, { tile = false } = {}) {
  const [height, width] = pipeline.image_size;
  const found = await opened(picture, world, pipeline.channels === 1);
  if (found.width === width && found.height === height && !found.pixels.coloured) return { ...found, fit: 'exact' };
  const most = Math.min((world.limits?.canvas ?? CANVAS) * width * height, world.limits?.pixels ?? Infinity);
  const tiled = tile ? windowsFor(found, [width, height], most) : null;
  const answer = await question(found, [width, height], tiled);
  if (answer === 'tile') {
    const same = tiled[0] === found.width && tiled[1] === found.height;
    return { ...(same ? found : await opened({ blob: await scaled(found, tiled, pipeline.background), name: found.name }, world, pipeline.channels === 1)), fit: 'tile' };
  }
  if (answer !== 'crop') return null;
  const cropped = await cut(found, pipeline);
  return { ...(await opened({ blob: cropped, name: found.name }, world, false)), fit: 'exact' };
}

/** The size at which a picture can be painted in windows: its own, or smaller where that is more than `most` pixels; null: at none. */
function windowsFor(picture, [width, height], most) {
  const by = Math.min(1, Math.sqrt(most / (picture.width * picture.height)));
  const size = [Math.floor(picture.width * by), Math.floor(picture.height * by)];
  return size[0] >= width && size[1] >= height ? size : null;
}

async function scaled(picture, [width, height], ground) {
  const bitmap = await createImageBitmap(picture.blob,
    { imageOrientation: 'from-image', resizeWidth: width, resizeHeight: height, resizeQuality: 'high' });
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d');
  context.fillStyle = ground;
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  return canvas.convertToBlob({ type: 'image/png' });
}

/** A picture as the pipeline reads it: its centre, scaled. */
export async function cut(picture, pipeline, signal) {
  const { image } = await post('/v1/encode', { pipeline: pipeline.name, image: await imageText(picture), fit: 'crop' }, signal);
  return toBlob(image);
}

/** What stands for a picture in a request. */
export const imageText = async (picture) => picture.ref ?? picture.text ?? blobBase64(picture.blob);

function question(picture, [width, height], tile) {
  const { coloured } = picture.pixels;
  const other = picture.width !== width || picture.height !== height;
  return new Promise((done) => {
    const end = (answer) => () => { done(answer); element.close(); };
    const preview = URL.createObjectURL(picture.blob);
    const element = h('dialog', { class: 'card', 'aria-label': 'Size of the picture',
      onclose: () => { done(null); URL.revokeObjectURL(preview); element.remove(); } },
      h('h2', {}, `This picture is ${picture.width} × ${picture.height}${coloured ? ', in colour' : ''}`),
      h('div', { class: 'two' }, h('img', { src: preview, alt: '', class: 'preview' }),
        h('p', {}, `The pipeline works on ${width} × ${height} pixels${coloured ? ', in grey' : ''}. `,
          tile && other ? 'How should it be used?' : `It can be ${other ? 'cropped to' : 'made'} that.`)),
      h('div', { class: 'stack' },
        button(other ? `Crop: its centre, scaled to ${width} × ${height}` : 'Use it in grey', null, end('crop'), { class: 'primary' }),
        tile && other ? button(tile[0] === picture.width && tile[1] === picture.height ? 'Tile: keep its size, paint in windows'
          : `Tile: scaled to ${tile.join(' × ')}, painted in windows`, null, end('tile')) : null,
        tile && other ? h('p', { class: 'hint' }, 'Windows are for a pipeline that was trained on parts of pictures. '
          + 'Others draw parts of unrelated objects in them.') : null,
        button('Take another picture', null, end(null), { class: 'quiet' })));
    document.body.append(element);
    element.showModal();
  });
}
