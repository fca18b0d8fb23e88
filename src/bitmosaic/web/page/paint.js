// The panel Paint: hide a part of a picture and let the model fill it, change its class, or paint around it.
import { answers } from './answers.js';
import { board as makeBoard } from './board.js';
import { pixels, toBlob } from './bytes.js';
import { countField, seedField } from './common.js';
import { conditionField } from './condition.js';
import { choice, field, h, reveal, say } from './dom.js';
import { fitted, imageText } from './fit.js';
import { History } from './history.js';
import { Mask } from './mask.js';
import { remade } from './remade.js';
import { runner } from './runner.js';
import { settingsForm } from './settings.js';
import { remember } from './share.js';
import { sheet } from './sheet.js';
import { fromRequest, opened, sourcePicker } from './source.js';
import { sidesField, toolbar } from './tools.js';

const HINT = { inpaint: 'The model fills what is hidden, as it likes or as you say.',
  edit: 'What is hidden becomes another thing, drawn with a guidance of at least 5 unless you choose one, or a sampler.',
  outpaint: 'The model paints around the picture.' };

export function paintPanel(world) {
  let picture = null;
  let mask = null;
  let what = 'inpaint';
  const history = new History();
  const factor = () => Math.round(world.pipeline().image_size[0] / (world.pipeline().grid?.[0] ?? 1));
  const state = () => ({ picture, mask: mask.clone() });
  const board = makeBoard({ stroke: (before) => { history.keep({ picture, mask: before }); bar.can(history); } });
  const bar = toolbar({
    ontool: (tool) => { board.tool = tool; }, onsize: (size) => { board.size = size; }, undo: () => step('undo'), redo: () => step('redo'),
    clear: () => change(() => mask.data.fill(0)), swap: () => change(() => mask.invert()),
  });
  const source = sourcePicker(world, (one) => take(one));
  const sides = sidesField(() => redraw());
  const mode = choice('What to do', [['inpaint', 'Repaint'], ['edit', 'Change'], ['outpaint', 'Extend']], what, (value) => setMode(value));
  const told = h('p', { class: 'hint' }, HINT.inpaint);
  const shows = conditionField('As', { pipeline: world.pipeline(), most: 1, none: 'any', chosen: [null] }, 'Nothing: it paints what fits.');
  const seed = seedField();
  const count = countField('Answers', world.limits?.count, 4);
  const feather = h('input', { type: 'number', min: 0, max: 64, step: 1, value: 0 });
  const settings = settingsForm(world.pipeline(), world.limits);
  const job = runner('Paint', () => start(), 'brush');
  const found = answers({ words: 'Use this', hint: '', size: () => [picture?.width ?? 28, picture?.height ?? 28], use: (shot) => adopt(shot) });
  const empty = h('div', { class: 'empty' }, h('p', {}, 'Take a picture, and paint over what the model should draw anew.'),
    h('p', { class: 'hint' }, 'Everything else stays as it is, pixel for pixel.'));
  const form = h('form', { class: 'controls', noValidate: true, onsubmit: (event) => { event.preventDefault(); start(); } },
    source.element, mode.element, told, sides.element, shows.element, h('div', { class: 'pair' }, seed.element, count.element),
    h('details', { class: 'more' }, h('summary', {}, 'Settings'),
      h('div', {}, field('Feather', feather, { hint: 'Pixels inside the mask over which the seam is levelled.' }), ...settings.main, settings.more)),
    h('div', { class: 'dock' }, job.button));
  const stage = h('div', { class: 'stage' }, job.status, empty, h('div', { class: 'work' }, h('div', {}, bar.element, board.element), found.element));
  const element = h('div', { class: 'columns', onkeydown: shortcut }, form, stage);

  const padding = () => (what === 'outpaint' ? sides.get() : [0, 0, 0, 0]);

  function redraw() {
    board.show(picture, mask, factor(), padding());
    bar.element.hidden = !picture;
    bar.element.classList.toggle('outpaint', what === 'outpaint');
    empty.hidden = Boolean(picture);
    bar.can(history);
  }

  function setMode(value) {
    what = value;
    mode.set(value);
    told.textContent = HINT[value];
    sides.element.hidden = value !== 'outpaint';
    redraw();
  }

  function change(work) {
    if (!picture) return;
    history.keep(state());
    work();
    redraw();
  }

  function step(which) {
    const other = picture && history[which](state());
    if (!other) return;
    ({ picture, mask } = other);
    redraw();
    say(which === 'undo' ? 'Undone.' : 'Done again.');
  }

  function shortcut(event) {
    if (!(event.ctrlKey || event.metaKey) || event.target.matches('input[type=number], input[type=search], textarea')) return;
    const key = event.key.toLowerCase();
    if (key !== 'z' && key !== 'y') return;
    event.preventDefault();
    step(key === 'y' || event.shiftKey ? 'redo' : 'undo');
  }

  function put(one) {
    if (picture && mask) history.keep(state());
    picture = one;
    mask = new Mask(one.width, one.height);
    bar.scale(one);
    redraw();
  }

  /** Takes a new picture; asks where it has another size. */
  async function take(one) {
    job.clear();
    try {
      const fits = await fitted(one, world, world.pipeline(), { tile: world.pipeline().tile });
      if (!fits) return;
      put(fits);
      found.clear();
      reveal(stage);
      say(`Picture taken: ${fits.name}`);
    } catch (error) {
      job.fail(error, () => take(one));
    }
  }

  async function adopt(shot) {
    const blob = shot.blob();
    const data = await pixels(blob);
    const [height, width] = world.pipeline().image_size;
    put({ blob, name: shot.label, pixels: data, width: data.width, height: data.height,
      fit: data.width === width && data.height === height ? 'exact' : 'tile' });
    if (what === 'outpaint') setMode('inpaint');
    board.element.scrollIntoView({ block: 'nearest' });
    say('The answer is the picture now.');
  }

  async function request() {
    if (!picture) throw new Error('Take a picture first: a test image, a file, or one from the clipboard.');
    const body = {
      job: what, pipeline: world.pipeline().name, image: await imageText(picture), ...shows.one(), seed: seed.get(),
      count: count.get(),
      feather: Number(feather.value) || 0, settings: settings.value(),
    };
    if (what === 'outpaint') {
      if (!sides.get().some((side) => side > 0)) throw new Error('Give at least one side pixels to add.');
      return { ...body, padding: sides.get() };
    }
    if (!mask.count) throw new Error('Nothing is painted over yet: paint over what should be drawn anew.');
    if (what === 'edit' && body.class === null) {
      throw new Error(world.pipeline().condition === 'none' ? 'This pipeline was trained without classes or captions, so it cannot change one into another.'
        : 'Say what should be drawn there.');
    }
    return { ...body, mask: await mask.png(), fit: picture.fit };
  }

  async function start() {
    try {
      await run(await request());
    } catch (error) {
      job.fail(error);
    }
  }

  function run(asked, expect = null) {
    const [pad, own, hidden] = [padding(), picture, what === 'outpaint' ? null : mask.clone()]; // as they are now: a person may go on painting
    return job.run(async (signal, onstep) => {
      const fits = remember('paint', asked);
      await found.run(asked, signal, onstep, asked.fit === 'crop' ? undefined : () => sheet(own, hidden, pad));
      if (expect) await remade(job, expect, found.first()?.blob());
      else if (!fits) job.tell('This picture is too large for an address. Save an answer as PNG: it holds everything.');
    });
  }

  return {
    name: 'paint', title: 'Paint', element, take,
    async open(asked, expect) {
      setMode(asked.job);
      shows.set([asked]);
      seed.set(asked.seed);
      count.set(asked.count);
      feather.value = asked.feather ?? 0;
      settings.set(asked.settings);
      const one = await opened(await fromRequest(asked.image), world, world.pipeline().channels === 1);
      put({ ...one, fit: asked.fit ?? 'exact' });
      if (asked.padding !== undefined) sides.set(asked.padding);
      mask = await maskOf(asked.mask, one);
      redraw();
      return run(asked, expect);
    },
    refill() {
      job.stop();
      shows.fill(world.pipeline());
      settings.fill(world.pipeline(), world.limits);
      picture = mask = null;
      history.clear();
      found.clear();
      redraw();
    },
  };

  async function maskOf(given, one) {
    const made = new Mask(one.width, one.height);
    if (given?.box) made.box(...given.box);
    else if (given?.places) given.places.forEach(([row, column]) => made.togglePlace(row, column, factor()));
    else if (typeof given === 'string') return Mask.of(await pixels(toBlob(given)));
    return made;
  }
}
