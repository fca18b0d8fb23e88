// The panel Blend: pictures between two to four classes, all from one seed, drawn while the point is moved.
import { post } from './api.js';
import { blendPad } from './blendpad.js';
import { classPicker } from './classes.js';
import { className, seedField } from './common.js';
import { debounced, h, icon, release } from './dom.js';
import { picture } from './pictures.js';
import { remade } from './remade.js';
import { runner } from './runner.js';
import { settingsForm } from './settings.js';
import { remember } from './share.js';
import { fileName, still } from './shot.js';

const FRAMES = 9;

const rounded = (row) => {
  const own = row.map((one) => Math.round(one * 1e4) / 1e4);
  own[own.indexOf(Math.max(...own))] += 1 - own.reduce((a, b) => a + b, 0);
  return own;
};

export function blendPanel(world) {
  const first = () => world.pipeline().classes.map(String);
  const soon = debounced(() => start(), 180);
  const classes = classPicker('Classes, two to four', {
    pipeline: world.pipeline(), least: 2, most: 4, none: 'no class', rare: true, chosen: first().slice(0, 2), onchange: () => { arrange(); soon(); },
  });
  const seed = seedField(soon);
  const settings = settingsForm(world.pipeline(), world.limits, soon);
  const pad = blendPad(() => { told.textContent = pad.words(); soon(); });
  const job = runner('Draw', () => start(), 'play');
  const told = h('p', { class: 'lead', 'aria-live': 'off' });
  const big = h('div', { class: 'hero' });
  const strip = h('div', { class: 'strip', role: 'list', 'aria-label': 'On the way through this blend' });
  const way = h('p', { class: 'hint' });
  const form = h('form', { class: 'controls', noValidate: true, onsubmit: (event) => { event.preventDefault(); start(); } },
    classes.element, seed.element, h('details', { class: 'more' }, h('summary', {}, 'Settings'), h('div', {}, ...settings.main, settings.more)),
    h('div', { class: 'dock' }, job.button));
  const stage = h('div', { class: 'stage steady' }, job.notice,
    h('div', { class: 'blend' }, h('div', { class: 'where' }, pad.element, told), big), job.progress, way, strip);
  let drawn = false;

  function arrange() {
    const chosen = classes.chosen();
    const pictures = chosen.map((name) => {
      if (name === null) return h('span', { class: 'end' }, h('span', {}, className(name)));
      const image = h('img', { alt: '', width: 28, height: 28 });
      const number = typeof name === 'number' ? name : first().indexOf(name);
      picture(`/v1/classes/${encodeURIComponent(world.pipeline().name)}/${number}.png`).then(({ url }) => { image.src = url; }, () => {});
      return h('span', { class: 'end' }, image, h('span', {}, className(name)));
    });
    pad.of(chosen.map(className), pictures);
    told.textContent = chosen.length < 2 ? 'Choose two to four classes.' : pad.words();
  }

  /** The straight way from the strongest class through the point to the others; one of the frames is the point itself. */
  function frames(weights) {
    const top = weights.indexOf(Math.max(...weights));
    const rest = 1 - weights[top];
    const end = weights.map((one, i) => (i === top ? 0 : rest > 1e-6 ? one / rest : 1 / (weights.length - 1)));
    const at = Array.from({ length: FRAMES }, (_, i) => i / (FRAMES - 1));
    const here = at.reduce((best, one, i) => (Math.abs(one - rest) < Math.abs(at[best] - rest) ? i : best), 0);
    const rows = at.map((t) => rounded(end.map((one, i) => t * one + (i === top ? 1 - t : 0))));
    rows[here] = weights;
    const flip = weights.length === 2 && top === 1; // two classes stand left and right, whichever is stronger
    return flip ? { rows: rows.reverse(), here: FRAMES - 1 - here } : { rows, here };
  }

  function start() {
    const chosen = classes.chosen();
    if (chosen.length < 2) {
      job.stop();
      told.textContent = 'Choose two to four classes.';
      return;
    }
    try {
      const weights = pad.weights();
      run({ job: 'interpolate', pipeline: world.pipeline().name, classes: chosen, weights: [weights], seed: seed.get(),
        settings: settings.value() }, chosen, weights);
    } catch (error) {
      job.fail(error);
    }
  }

  /** Draws the point, then the strip through it, `weights` of the classes `names`; what is older than the last move is given up. */
  function run(asked, names, weights, expect = null) {
    drawn = true;
    return job.run(async (signal, step) => {
      const { job: path, ...body } = asked;
      step(0, 2, 'Drawing the point');
      const { images } = await post(`/v1/${path}`, body, signal);
      remember('blend', asked);
      const main = hero(images[Math.floor(images.length / 2)]);
      if (expect) await remade(job, expect, main.blob);
      step(1, 2, 'Drawing the strip');
      const { rows, here } = frames(weights);
      const strips = { pipeline: asked.pipeline, classes: names, weights: rows, seed: asked.seed, settings: asked.settings };
      if (images.length > 1) row(images, Math.floor(images.length / 2));
      else row(await along(strips, signal), here);
      way.textContent = onTheWay(names, weights);
    });
  }

  /** The pictures of a way, no more at once than the service draws for one request, and fewer where that took too long. */
  async function along({ weights, ...asked }, signal) {
    let most = Math.min(world.limits?.count ?? FRAMES, FRAMES);
    const images = [];
    while (images.length < weights.length) {
      const rows = weights.slice(images.length, images.length + most);
      try {
        images.push(...(await post('/v1/interpolate', { ...asked, weights: rows }, signal)).images);
      } catch (error) {
        if (error.status !== 408 || most === 1) throw error;
        most = Math.ceil(most / 2);
      }
    }
    return images;
  }

  function hero(answer) {
    const main = still(answer, className(answer.class));
    release(big);
    big.replaceChildren(main.element, h('a', { class: 'button', href: main.url, download: fileName(answer) }, icon('save'), 'Save as PNG'));
    return main;
  }

  function row(images, here) {
    release(strip);
    strip.replaceChildren(...images.map((one, i) => h('span', { role: 'listitem', class: i === here ? 'here' : '' },
      still(one, className(one.class)).element)));
  }

  function onTheWay(names, weights) {
    const told = names.map(className);
    return told.length === 2 ? `From ${told[0]} to ${told[1]}`
      : `From ${told[weights.indexOf(Math.max(...weights))]} through the point to the others`;
  }

  /** Classes and weights of a request, which may also be a blend of `generate`, whose keys are texts: numbers too, and "none" for no class. */
  function read(asked) {
    if (asked.job === 'generate') {
      const nameOf = (key) => (key === 'none' && !first().includes(key) ? null : classes.known(key));
      return { names: Object.keys(asked.class).map(nameOf), weights: Object.values(asked.class) };
    }
    const rows = asked.weights;
    const weights = rows?.[Math.floor(rows.length / 2)] ?? asked.classes.map(() => 1 / asked.classes.length);
    return { names: asked.classes.map(classes.known), weights };
  }

  arrange();
  return {
    name: 'blend', title: 'Blend', element: h('div', { class: 'columns' }, form, stage),
    shown() { if (!drawn) start(); },
    open(asked, expect) {
      const { names, weights } = read(asked);
      classes.set(names);
      arrange();
      const shares = classes.chosen().map((one) => weights.reduce((sum, weight, i) => sum + (names[i] === one ? weight : 0), 0));
      if (shares.length > 1) pad.set(shares);
      told.textContent = pad.words();
      seed.set(asked.seed);
      settings.set(asked.settings);
      // The service knows no key for the null class in a blend of generate; the same blend is one frame of a way.
      const nameless = asked.job === 'generate' && names.includes(null);
      const { class: _, count, ...rest } = asked;
      return run(nameless ? { ...rest, job: 'interpolate', classes: names, weights: [weights] } : asked, names, weights, expect);
    },
    refill() {
      classes.fill(world.pipeline());
      settings.fill(world.pipeline(), world.limits);
      arrange();
      drawn = false;
      if (stage.offsetParent) start(); // it is seen
      else job.stop();
    },
  };
}
