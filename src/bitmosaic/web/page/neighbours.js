// The bundled images nearest to a picture, by the prior's features and by differing bits, side by side.
import { post } from './api.js';
import { toBlob } from './bytes.js';
import { h, release } from './dom.js';
import { testImages } from './source.js';

const COUNT = 8;

/** {element, find(image, signal), leave()}; calls `open(number, set)` for a neighbour that is clicked on. The picture itself is not among them. */
export function neighbours(world, open) {
  const kinds = [['features', 'By features', 'distance between the prior’s features'],
    ['codes', 'By bits', 'differing bits of their codes (Hamming distance)']];
  const rows = kinds.map(([, title, hint]) => ({ list: h('div', { class: 'near' }), note: h('p', { class: 'hint' }, hint), title }));
  const about = h('p', { class: 'hint' });
  const element = h('section', { hidden: true }, h('h3', {}, 'Nearest test images'), about,
    h('div', { class: 'sides2' }, rows.map(({ list, note, title }) => h('div', {}, h('h4', {}, title), note, list))));

  function tile({ name, class: kind, distance, image }, by) {
    const number = numberOf(name);
    const told = by === 'codes' ? `${distance.toFixed(0)} bits` : distance.toPrecision(3);
    return h('button', { type: 'button', class: 'class', title: 'Look inside', onclick: () => open(number, name.split(':')[0]) },
      h('img', { src: URL.createObjectURL(toBlob(image)), alt: '', width: 28, height: 28 }), h('span', {}, kind ?? name),
        h('span', { class: 'bits' }, told));
  }

  let following = new AbortController();

  async function ask(by, i, image, signal) {
    const found = await post('/v1/neighbours', { pipeline: world.pipeline().name, image, count: COUNT, by }, signal);
    element.hidden = false;
    release(rows[i].list);
    rows[i].list.replaceChildren(...found.neighbours.map((one) => tile(one, by)));
    const of = found.of ?? testImages(world).total;
    const among = found.total < of ? `Among the first ${number(found.total)} of ${number(of)}; the others are being read.`
      : `Among ${number(found.total)} that the model has never seen.`;
    about.textContent = found.itself ? `${among} This picture is one of them, test image ${numberOf(found.itself)}, and left out.` : among;
    return found.total >= of;
  }

  const number = (value) => value.toLocaleString('en');
  const numberOf = (name) => Number(/\d+$/.exec(name)?.[0]);

  /** Asks again while the service is still reading test images; what goes wrong then leaves what is there. */
  async function follow(image, { signal }) {
    for (let all = false; !all && !signal.aborted;) {
      await new Promise((done) => setTimeout(done, 4000));
      try {
        all = (await Promise.all(kinds.map(([by], i) => ask(by, i, image, signal)))).every(Boolean);
      } catch {
        return;
      }
    }
  }

  return {
    element,
    leave: () => following.abort(),
    async find(image, signal) {
      following.abort();
      if (!testImages(world).total) return;
      const all = await Promise.all(kinds.map(([by], i) => ask(by, i, image, signal)));
      following = new AbortController();
      if (!all.every(Boolean)) follow(image, following);
    },
  };
}
