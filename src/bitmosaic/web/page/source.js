// Where a picture comes from: a file, the clipboard, a drop, or the bundled test images.
import { kindOf, pixels, sizeOf, toBlob } from './bytes.js';
import { button, h } from './dom.js';
import { picture as fetched } from './pictures.js';

const KINDS = 'image/png,image/jpeg,image/webp,image/gif,image/bmp';
const REST = 1024; // bytes of a request beside its picture

/** {element, show(picture)}: buttons to choose a picture. `take(picture)` gets {blob, name, ref?}. */
export function sourcePicker(world, take) {
  const file = h('input', { type: 'file', accept: KINDS, class: 'unseen', tabIndex: -1, 'aria-hidden': 'true', onchange: () => {
    if (file.files[0]) take({ blob: file.files[0], name: file.files[0].name });
    file.value = '';
  } });
  const bundle = button('Test images', 'pictures', () => pickBundled(world, take), { hidden: !testImages(world).total });
  const element = h('div', { class: 'field source' }, h('span', { class: 'label' }, 'Picture'),
    h('div', { class: 'row' }, bundle, button('Upload', 'upload', () => file.click()), button('Paste', 'paste', () => paste(take))), file,
    h('p', { class: 'hint' }, 'Or drop one anywhere on the page, or press Ctrl\u00a0V.'));
  return { element };
}

async function paste(take) {
  try {
    for (const item of await navigator.clipboard.read()) {
      const kind = item.types.find((type) => type.startsWith('image/'));
      if (kind) return take({ blob: await item.getType(kind), name: 'pasted picture' });
    }
    return take({ problem: 'There is no picture on the clipboard.' });
  } catch {
    return take({ problem: 'The browser does not let the page read the clipboard here. Press Ctrl V (⌘ V) instead.' });
  }
}

/** The bundled test images that suit the pipeline: the name of their set, and how many there are. */
export function testImages(world) {
  const set = world.pipeline().bundled;
  return { set, total: world.bundled[set] ?? 0 };
}

/** A bundled image by set and number, as a picture. */
export async function bundled(set, number) {
  const { blob, name } = await fetched(`/v1/bundled/${set}/${number}`);
  return { blob, name: `${name ?? 'test image'} (test image ${number})`, ref: `${set}:${number}` };
}

function pickBundled(world, take) {
  const page = 24;
  const { set, total } = testImages(world);
  const side = world.pipeline().image_size[1] > 32 ? 64 : 28;
  let first = 0;
  const grid = h('div', { class: 'bundle' });
  const number = h('input', { type: 'number', class: 'small', min: 0, max: total - 1, value: 0, 'aria-label': 'First number',
    onchange: () => show(number.valueAsNumber) });
  const close = () => element.close();
  const element = h('dialog', { class: 'card wide', 'aria-label': 'Test images', onclose: () => element.remove(),
    onclick: (event) => { if (event.target === element) close(); } },
    h('h2', {}, 'Test images'), h('p', { class: 'hint' }, 'Real photographs that the model has never been trained on.'), grid,
    h('div', { class: 'row between' },
      h('div', { class: 'row' }, button('Earlier', null, () => show(first - page)), number, button('Later', null, () => show(first + page)),
        button('Anywhere', 'dice', () => show(Math.floor(Math.random() * total)))),
      button('Close', 'clear', close, { class: 'quiet' })));

  function show(at) {
    first = Math.max(0, Math.min(total - page, Math.floor(at) || 0));
    number.value = first;
    grid.replaceChildren(...Array.from({ length: Math.min(page, total) }, (_, i) => tile(first + i)));
  }

  function tile(at) {
    const image = h('img', { alt: '', width: side, height: side });
    const name = h('span', {}, String(at));
    const one = h('button', { type: 'button', class: 'class', 'aria-label': `Test image ${at}`, onclick: async () => {
      try {
        take(await bundled(set, at));
        close();
      } catch (error) {
        name.textContent = error.message;
      }
    } }, image, name);
    fetched(`/v1/bundled/${set}/${at}`).then((found) => {
      image.src = found.url;
      if (found.name) {
        name.textContent = found.name;
        one.setAttribute('aria-label', `Test image ${at}: ${found.name}`);
      }
    }, () => { name.textContent = 'not there'; });
    return one;
  }

  document.body.append(element);
  show(0);
  element.showModal();
  grid.firstElementChild?.focus(); // a browser may rather choose the part that scrolls, or what stands below
}

/** The picture with its pixels read, {…picture, pixels, width, height}; an Error that a person understands for what is none. */
export async function opened(picture, world, grey) {
  if (picture.problem) throw new Error(picture.problem);
  const { blob, name } = picture;
  const { most, pixels: area, words } = readable(world);
  const refuse = (what) => { throw new Error(`“${name}” ${what}. ${words}`); };
  const begin = await blob.slice(0, 16).arrayBuffer().catch(() => refuse('cannot be read; is it a folder'));
  if (!blob.size) refuse('is empty');
  if (blob.size > most) refuse(`has ${size(blob.size, Math.ceil)}`);
  if (!kindOf(new Uint8Array(begin))) refuse('is no picture of a kind that can be read here');
  const damaged = () => refuse('cannot be shown by the browser; it may be damaged');
  const [width, height] = await sizeOf(blob).catch(damaged);
  if (width * height > area) refuse(`has ${width} × ${height} pixels, ${count(width * height, Math.ceil)}`);
  const found = await pixels(blob, grey, world.pipeline().background).catch(damaged); // as the service reads it
  return { ...picture, pixels: found, width: found.width, height: found.height };
}

/** What the service takes: bytes of a file, pixels of a picture, and that in words. */
function readable({ limits }) {
  const most = ((limits?.bytes ?? Infinity) - REST) * 3 / 4; // base64 makes four letters of three bytes
  const area = limits?.pixels ?? Infinity;
  const bounds = [[most, size(most, Math.floor)], [area, `${count(area, Math.floor)} pixels`]];
  const told = bounds.filter(([bound]) => bound < Infinity).map(([, bound]) => bound).join(' and ');
  return { most, pixels: area, words: `The studio reads PNG, JPEG, WebP, GIF and BMP${told && ` of at most ${told}`}.` };
}

const size = (bytes, round) => (bytes < 1e6 ? `${round(bytes / 1e3)} kB` : `${round(bytes / 1e5) / 10} MB`);
const count = (pixels, round) => (pixels < 1e6 ? String(pixels) : `${round(pixels / 1e4) / 100} million`);

/** A picture out of a request: base64, or the name of a bundled one. */
export async function fromRequest(image, name = 'The picture') {
  const named = /^(fashion|landscapes):(\d+)$/.exec(image);
  if (named) return bundled(named[1], named[2]);
  try {
    return { blob: toBlob(image), name, text: image };
  } catch {
    throw new Error(`${name} is cut off or broken, so nothing could be read out of it.`);
  }
}
