// The panel Enrich: fine detail drawn anew, before and after with a wipe.
import { answers } from './answers.js';
import { countField, seedField, whole } from './common.js';
import { conditionField } from './condition.js';
import { choice, field, fresh, h, reveal, say } from './dom.js';
import { fitted, imageText } from './fit.js';
import { remade } from './remade.js';
import { runner } from './runner.js';
import { settingsForm } from './settings.js';
import { remember } from './share.js';
import { fromRequest, opened, sourcePicker } from './source.js';
import { shrunk, wipe } from './wipe.js';

export function enrichPanel(world) {
  let picture = null;
  let before = 'shrunk';
  let chosen = null; // the answer shown
  let after = null; // {shot, url}: the file of that answer
  const source = sourcePicker(world, (one) => take(one));
  const shows = conditionField('As', { pipeline: world.pipeline(), most: 1, none: 'any', chosen: [null] }, 'Nothing: it draws what fits.');
  const seed = seedField();
  const count = countField('Answers', world.limits?.count, 3);
  const shrink = h('input', { type: 'number', min: 1, max: 28, step: 1, value: 2, oninput: () => show() });
  // Four, the default elsewhere, take a busy machine beyond the minute that the service gives to a request; here a person waits for three answers.
  const sooner = h('p', { class: 'hint', id: fresh('hint') }, 'The API, the command and Python repeat 4 times by default; 2 take half the time.');
  const repeats = h('input', { type: 'number', min: 1, max: 16, step: 1, value: 2, 'aria-describedby': sooner.id });
  const settings = settingsForm(world.pipeline(), world.limits);
  const job = runner('Enrich', () => start(), 'enrich');
  const view = wipe();
  const kind = choice('Before', [['shrunk', 'What it begins with'], ['own', 'The picture itself']], before, (value) => { before = value; show(); });
  kind.element.hidden = true;
  const found = answers({ words: 'Compare', hint: '', size: () => [picture?.width ?? 28, picture?.height ?? 28],
    use: (shot) => { chosen = shot; show(); view.element.scrollIntoView({ block: 'nearest' }); } });
  const empty = h('div', { class: 'empty' }, h('p', {}, 'Take a picture. It is made smaller, and the model draws its fine detail anew.'),
    h('p', { class: 'hint' }, 'Every place of the code is hidden once in four rounds, a quarter at a time.'));
  const form = h('form', { class: 'controls', noValidate: true, onsubmit: (event) => { event.preventDefault(); start(); } },
    source.element, shows.element, h('div', { class: 'pair' }, seed.element, count.element),
    h('div', { class: 'field' }, h('div', { class: 'pair' }, field('Smaller by', shrink), field('Repeats', repeats)), sooner),
    h('details', { class: 'more' }, h('summary', {}, 'Settings'), h('div', {}, ...settings.main, settings.more)),
    h('div', { class: 'dock' }, job.button));
  const stage = h('div', { class: 'stage' }, job.status, empty, h('div', { class: 'work' }, h('div', {}, kind.element, view.element), found.element));

  function show() {
    empty.hidden = Boolean(picture);
    view.element.hidden = kind.element.hidden = !picture;
    if (!picture) return;
    const by = Math.max(1, Math.min(shrink.valueAsNumber || 1, picture.height));
    const from = before === 'own' || by === 1 ? (picture.url ??= URL.createObjectURL(picture.blob)) : shrunk(picture.pixels, by);
    view.show(from, addressOf(chosen?.answer() ? chosen : null), picture.name);
  }

  function addressOf(shot) {
    if (after?.shot !== shot) {
      if (after) URL.revokeObjectURL(after.url);
      after = shot && { shot, url: URL.createObjectURL(shot.blob()) };
    }
    return after?.url ?? null;
  }

  function put(one) {
    if (picture?.url) URL.revokeObjectURL(picture.url);
    picture = one;
    chosen = null;
    show();
  }

  async function take(one) {
    job.clear();
    try {
      const fits = await fitted(one, world, world.pipeline());
      if (!fits) return;
      found.clear();
      put(fits);
      reveal(stage);
      say(`Picture taken: ${fits.name}`);
    } catch (error) {
      job.fail(error, () => take(one));
    }
  }

  async function start() {
    try {
      if (!picture) throw new Error('Take a picture first: a test image, a file, or one from the clipboard.');
      const side = Math.min(...world.pipeline().image_size);
      await run({
        job: 'enrich', pipeline: world.pipeline().name, image: await imageText(picture), ...shows.one(), seed: seed.get(),
        count: count.get(),
        shrink: whole(shrink, 'Smaller by', 1, side), repeats: whole(repeats, 'Repeats', 1, 16), settings: settings.value(),
      });
    } catch (error) {
      job.fail(error);
    }
  }

  function run(asked, expect = null) {
    return job.run(async (signal, step) => {
      remember('enrich', asked);
      await found.run(asked, signal, step);
      chosen = found.first();
      show();
      if (expect) await remade(job, expect, chosen?.blob());
    });
  }

  return {
    name: 'enrich', title: 'Enrich', element: h('div', { class: 'columns' }, form, stage), take,
    async open(asked, expect) {
      shows.set([asked]);
      seed.set(asked.seed);
      count.set(asked.count);
      shrink.value = asked.shrink ?? 2;
      repeats.value = asked.repeats ?? 4;
      settings.set(asked.settings);
      put(await opened(await fromRequest(asked.image), world, world.pipeline().channels === 1));
      return run(asked, expect);
    },
    refill() {
      job.stop();
      shows.fill(world.pipeline());
      settings.fill(world.pipeline(), world.limits);
      found.clear();
      put(null);
    },
  };
}
