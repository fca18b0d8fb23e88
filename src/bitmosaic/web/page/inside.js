// The panel Look inside: a picture's codes, what they are turned back into, what a flipped bit changes, and the nearest test images.
import { post } from './api.js';
import { fromBase64, pack, toBase64, toBlob, unpack } from './bytes.js';
import { button, debounced, h, say, showFile } from './dom.js';
import { fitted, imageText } from './fit.js';
import { neighbours } from './neighbours.js';
import { placeBoard } from './placeboard.js';
import { bitSwitches, planes } from './planes.js';
import { remade } from './remade.js';
import { notices, runner } from './runner.js';
import { remember } from './share.js';
import { bundled, fromRequest, sourcePicker } from './source.js';
import { view } from './viewer.js';

export function insidePanel(world) {
  let codes = null; // {bits, own, rows, columns, k}
  let place = 0;
  let decoded = null; // the answer for the codes as they are now
  const source = sourcePicker(world, (one) => take(one));
  const job = runner('Look again', () => again(), 'inside');
  const trouble = notices();
  const own = h('img', { alt: '', class: 'crisp' });
  const ownCaption = h('figcaption', {}, 'As read');
  const board = placeBoard('Picture of the codes; Space flips a place',
    { choose: (at) => { place = at; draw(); }, flip: (at) => { place = at; flipPlace(at); } });
  const told = h('span', {});
  const look = button('Look at it, save it', 'save', () => show(), { class: 'quiet' });
  const reset = button('Back to its own codes', 'reset', () => { codes.bits.set(codes.own); changed(); }, { class: 'quiet' });
  const tiny = planes((at, bit) => { place = at; flip(at, bit); });
  const switches = bitSwitches((at, bit) => flip(at, bit));
  const which = h('h3', {});
  const whole = button('Flip the whole place', 'swap', () => flipPlace(place), { class: 'quiet' });
  const near = neighbours(world, (number, set) => bundled(set, number).then(take, (error) => job.fail(error)));
  const empty = h('div', { class: 'empty' }, h('p', {}, 'Take a picture to see the bits that it is made of.'),
    h('p', { class: 'hint' }, 'Then flip some of them and see what changes.'));
  const body = h('div', { class: 'insides', hidden: true }, h('div', {},
    h('div', { class: 'pairview' }, h('figure', {}, own, ownCaption),
      h('figure', {}, board.element, h('figcaption', {}, told, h('span', { class: 'row tight' }, reset, look)))),
    h('section', { class: 'bitsview' }, which, h('div', { class: 'row' }, switches.element, whole)),
    h('section', {}, h('h3', {}, 'Bit planes'),
      h('p', { class: 'hint' }, 'Each shows one bit at every place. Click on a place of a plane to flip it there.'), tiny.element)),
    near.element);
  const form = h('div', { class: 'controls' }, source.element,
    h('p', { class: 'hint' }, 'A click on the right picture flips all bits of a place; a second click brings them back. Keys: arrows choose a place, Space flips it.'), h('div', { class: 'dock' }, job.button));
  const stage = h('div', { class: 'stage' }, job.status, trouble.element, empty, body);
  let last = null;
  let pending = null;
  job.button.hidden = true;

  const again = () => last && take(last);
  const soon = debounced(() => decode(), 60);

  /** Looks into a picture; asks where it has another size. */
  async function take(one) {
    job.clear();
    let fits = null;
    try {
      fits = await fitted(one, world, world.pipeline());
    } catch (error) {
      job.fail(error, () => take(one));
    }
    if (!fits) return;
    await job.run(async (signal) => {
      const asked = { job: 'encode', pipeline: world.pipeline().name, image: await imageText(fits) };
      const found = await post('/v1/encode', { pipeline: asked.pipeline, image: asked.image }, signal);
      remember('inside', asked);
      last = fits;
      pending?.abort();
      start(found, fits.name);
      job.button.hidden = false;
      await near.find(found.image, signal);
    });
  }

  function start({ grid: [rows, columns], radix, codes: packed, image, reconstruction }, name) {
    const binary = radix.every((one) => one === 2);
    empty.hidden = true;
    body.hidden = false;
    showFile(own, toBlob(image));
    own.alt = name;
    ownCaption.textContent = name;
    showFile(board.image, toBlob(reconstruction));
    const k = radix.length;
    const bits = binary ? unpack(fromBase64(packed), rows * columns * k) : new Uint8Array(rows * columns * k);
    codes = { bits, own: bits.slice(), rows, columns, k, binary };
    decoded = null;
    for (const part of [whole, switches.element, tiny.element]) part.hidden = !binary;
    place = Math.floor(rows / 2) * columns + Math.floor(columns / 2);
    draw();
  }

  function draw() {
    board.show(codes, place);
    if (codes.binary) {
      tiny.show(codes);
      switches.show(codes, place);
    }
    which.textContent = codes.binary ? `Place in row ${Math.floor(place / codes.columns) + 1}, column ${(place % codes.columns) + 1}`
      : 'The codes of this pipeline are not binary, so there is nothing to flip.';
    const flipped = codes.bits.reduce((sum, bit, i) => sum + (bit !== codes.own[i] ? 1 : 0), 0);
    told.textContent = flipped ? `${flipped} of ${codes.bits.length} bits flipped` : `Decoded from its ${codes.bits.length} bits`;
    reset.hidden = !flipped;
  }

  function flip(at, bit) {
    if (!codes.binary) return;
    codes.bits[at * codes.k + bit] ^= 1;
    changed();
  }

  function flipPlace(at) {
    if (!codes.binary) return;
    for (let bit = 0; bit < codes.k; bit++) codes.bits[at * codes.k + bit] ^= 1;
    changed();
  }

  /** Shows the picture of the codes; the service's own answer holds the codes in its text. */
  async function show() {
    if (!decoded) await decode(false);
    if (decoded) view({ ...decoded, title: 'Decoded from its codes' }, toBlob(decoded.image));
  }

  function changed() {
    draw();
    soon();
  }

  async function decode(flipped = true) {
    pending?.abort();
    pending = new AbortController();
    const asked = { job: 'decode', pipeline: world.pipeline().name, codes: toBase64(pack(codes.bits)) };
    try {
      const { images: [found] } = await post('/v1/decode', { pipeline: asked.pipeline, codes: asked.codes }, pending.signal);
      decoded = found;
      trouble.clear();
      showFile(board.image, toBlob(found.image));
      if (flipped) remember('inside', asked);
      say(told.textContent);
    } catch (error) {
      trouble.show(error, () => decode());
    }
  }

  return {
    name: 'inside', title: 'Look inside', element: h('div', { class: 'columns' }, form, stage), take,
    async open(asked, expect) {
      if (asked.job !== 'decode') return take(await fromRequest(asked.image, asked.name));
      return job.run(async (signal) => {
        const { images: [found] } = await post('/v1/decode', { pipeline: asked.pipeline, codes: asked.codes }, signal);
        remember('inside', asked);
        const { grid, radix_length: k } = world.pipeline();
        start({ grid, radix: Array(k).fill(2), codes: asked.codes, image: found.image, reconstruction: found.image }, 'Decoded from its codes');
        decoded = found;
        if (expect) await remade(job, expect, toBlob(found.image));
        await near.find(found.image, signal);
      });
    },
    refill() {
      job.stop();
      pending?.abort();
      near.leave();
      body.hidden = true;
      empty.hidden = false;
      job.button.hidden = true;
    },
  };
}
