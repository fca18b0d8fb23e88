// The board that one paints on: a picture, the mask over it, the code grid faintly, and a cursor for the keyboard.
import { fresh, h, say } from './dom.js';

const TINT = [64, 224, 196];

/** {element, show(picture, mask, factor, padding), tool, size}; calls `stroke(before)` with the mask before a stroke that changed it. */
export function board({ stroke }) {
  let picture = null;
  let mask = null;
  let factor = 1;
  let pad = [0, 0, 0, 0];
  let pointer = null; // the one that paints; a second finger does not
  let before = null; // the mask when it began
  let from = null; // where the pointer was, in pixels of the picture
  let start = null; // where a box began
  let cursor = [0, 0];
  const image = h('canvas', { class: 'layer', 'aria-hidden': 'true' });
  const tint = h('canvas', { class: 'layer', 'aria-hidden': 'true' });
  const grid = h('div', { class: 'layer grid', 'aria-hidden': 'true' });
  const ring = h('div', { class: 'ring', hidden: true });
  const frame = h('div', { class: 'boxed', hidden: true });
  const place = h('div', { class: 'place', hidden: true });
  const help = h('p', { class: 'hint', id: fresh('help') },
    'Paint with the mouse, a finger or a pen. Keys: arrows move over the code grid, Space hides or shows a place.');
  const surface = h('div', {
    class: 'surface', tabIndex: 0, role: 'application', 'aria-roledescription': 'painting board', 'aria-label': 'Picture to paint on',
    'aria-describedby': help.id,
    onpointerdown: down, onpointermove: move, onpointerup: up, onpointercancel: up, onpointerleave: () => { ring.hidden = true; },
    onkeydown: key, onfocus: () => showPlace(surface.matches(':focus-visible')), onblur: () => { place.hidden = true; },
  }, image, tint, grid, ring, frame, place);
  const api = { element: h('div', { class: 'board', hidden: true }, surface, help), tool: 'brush', size: 6, show, refresh };

  const total = () => [picture.width + pad[0] + pad[2], picture.height + pad[1] + pad[3]];
  const outpaints = () => pad.some((side) => side > 0);

  function show(newPicture, newMask, newFactor, padding = [0, 0, 0, 0]) {
    if (newMask !== mask) end(); // of a stroke over what is gone
    [picture, mask, factor, pad] = [newPicture, newMask, newFactor, padding];
    api.element.hidden = !picture;
    if (!picture) return;
    const [width, height] = total();
    for (const canvas of [image, tint]) Object.assign(canvas, { width, height });
    image.getContext('2d').putImageData(picture.pixels, pad[0], pad[1]);
    surface.style.aspectRatio = `${width} / ${height}`;
    surface.style.setProperty('--shape', width / height);
    surface.classList.toggle('small', Math.max(width, height) <= 256);
    surface.classList.toggle('still', outpaints());
    help.hidden = outpaints();
    refresh();
  }

  function refresh() {
    if (!picture) return;
    const [width, height] = total();
    const data = new ImageData(width, height);
    if (outpaints()) hatch(data);
    else cover(data);
    tint.getContext('2d').putImageData(data, 0, 0);
    const scale = surface.clientWidth / width;
    grid.hidden = factor * scale < 7 || outpaints();
    grid.style.backgroundSize = `${100 * factor / width}% ${100 * factor / height}%`;
  }

  function cover(data) {
    const columns = Math.ceil(mask.width / factor);
    const hidden = Array.from({ length: columns * Math.ceil(mask.height / factor) },
      (_, i) => mask.hides(Math.floor(i / columns), i % columns, factor));
    for (let y = 0; y < mask.height; y++) {
      for (let x = 0; x < mask.width; x++) {
        const i = y * mask.width + x;
        const alpha = mask.data[i] ? 178 : hidden[Math.floor(y / factor) * columns + Math.floor(x / factor)] ? 46 : 0;
        data.data.set([...TINT, alpha], 4 * i);
      }
    }
  }

  function hatch(data) {
    const [width, height] = total();
    for (let i = 0; i < width * height; i++) {
      const [x, y] = [i % width, Math.floor(i / width)];
      const inside = x >= pad[0] && y >= pad[1] && x < width - pad[2] && y < height - pad[3];
      data.data.set([...TINT, inside ? 0 : (x + y) % 2 ? 150 : 110], 4 * i);
    }
  }

  function at(event) {
    const box = surface.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width * picture.width, (event.clientY - box.top) / box.height * picture.height];
  }

  function down(event) {
    if (!picture || outpaints() || event.button > 0 || pointer !== null) return;
    surface.setPointerCapture(event.pointerId);
    [pointer, before] = [event.pointerId, mask.clone()];
    [from, start] = [at(event), at(event)];
    place.hidden = true;
    if (api.tool !== 'box') draw(from);
  }

  function move(event) {
    if (!picture || outpaints() || (pointer !== null && event.pointerId !== pointer)) return;
    const all = event.getCoalescedEvents?.() ?? [];
    for (const one of all.length ? all : [event]) if (from && api.tool !== 'box') draw(at(one));
    const [x, y] = at(event);
    if (api.tool === 'box') drag(x, y);
    else {
      ring.hidden = event.pointerType === 'touch';
      lay(ring, x - api.size / 2, y - api.size / 2, api.size, api.size);
    }
  }

  function draw(to) {
    mask.line(...from, ...to, api.size, api.tool === 'eraser' ? 0 : 1);
    from = to;
    refresh();
  }

  const boxOf = (x, y) => [Math.floor(Math.min(start[0], x)), Math.floor(Math.min(start[1], y)), Math.ceil(Math.max(start[0], x)),
    Math.ceil(Math.max(start[1], y))];

  function drag(x, y) {
    ring.hidden = true;
    frame.hidden = !start;
    if (!start) return;
    const [left, top, right, bottom] = boxOf(x, y);
    lay(frame, left, top, right - left, bottom - top);
  }

  function up(event) {
    if (event.pointerId !== pointer) return;
    if (api.tool === 'box' && event.type === 'pointerup') mask.box(...boxOf(...at(event)));
    const old = before;
    end();
    refresh();
    if (!mask.equals(old)) stroke(old);
  }

  function end() {
    frame.hidden = true;
    pointer = before = from = start = null;
  }

  function lay(element, x, y, width, height) {
    Object.assign(element.style, {
      left: `${100 * x / picture.width}%`, top: `${100 * y / picture.height}%`, width: `${100 * width / picture.width}%`,
      height: `${100 * height / picture.height}%`,
    });
  }

  function showPlace(on) {
    place.hidden = !on || !picture || outpaints();
    if (!place.hidden) lay(place, cursor[1] * factor, cursor[0] * factor, factor, factor);
  }

  function key(event) {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!picture || outpaints() || event.ctrlKey || event.metaKey || !(step || event.key === ' ')) return;
    event.preventDefault();
    const last = [Math.ceil(picture.height / factor) - 1, Math.ceil(picture.width / factor) - 1];
    if (step) cursor = cursor.map((value, i) => Math.max(0, Math.min(last[i], value + step[i])));
    else {
      const old = mask.clone();
      mask.togglePlace(...cursor, factor);
      refresh();
      stroke(old);
    }
    showPlace(true);
    say(`Row ${cursor[0] + 1}, column ${cursor[1] + 1}: ${mask.hides(...cursor, factor) ? 'repainted' : 'kept'}`);
  }

  new ResizeObserver(refresh).observe(surface);
  return api;
}
