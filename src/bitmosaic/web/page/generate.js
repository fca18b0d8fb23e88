// The panel Generate: classes, seed and settings in; pictures that appear place by place out.
import { countField, seedField, toldName } from './common.js';
import { conditionField } from './condition.js';
import { draw } from './drawing.js';
import { h } from './dom.js';
import { runner } from './runner.js';
import { scrubber } from './scrubber.js';
import { settingsForm } from './settings.js';
import { remember } from './share.js';
import { gallery, shot } from './shot.js';
import { remade } from './remade.js';

const AT_ONCE = 3; // streams; browsers open six connections to one address, and other panels want some

export function generatePanel(world) {
  const told = conditionField('Classes', { pipeline: world.pipeline(), empty: 'none: any class', chosen: world.pipeline().classes.slice(0, 1).map(String) });
  const seed = seedField();
  const count = countField('Pictures of each', world.limits?.count, 4);
  const settings = settingsForm(world.pipeline(), world.limits);
  const job = runner('Draw', () => start(), 'play');
  const scrub = scrubber();
  const sheet = h('div', { class: 'sheet' });
  const how = h('p', { class: 'hint' });
  const empty = h('div', { class: 'empty' }, h('p', {}, 'Say what to draw, and press Draw.'), how);
  const form = h('form', { class: 'controls', noValidate: true, onsubmit: (event) => { event.preventDefault(); start(); } },
    told.element, h('div', { class: 'pair' }, seed.element, count.element), ...settings.main, settings.more);
  const stage = h('div', { class: 'stage' }, job.status, scrub.element, empty, sheet);
  form.append(h('div', { class: 'dock' }, job.button));
  let all = [];

  function request() {
    const wanted = told.each();
    const body = { job: 'generate', pipeline: world.pipeline().name, seed: seed.get(), count: count.get(), settings: settings.value() };
    return wanted.length > 1 ? { ...body, classes: wanted.map((one) => one.class) } : { ...body, ...wanted[0] };
  }

  function start() {
    try {
      run(request());
    } catch (error) {
      job.fail(error);
    }
  }

  function run(asked, expect = null) {
    const { classes: many, ...rest } = asked;
    const wanted = many?.map((one) => ({ ...rest, class: one })) ?? [rest];
    return job.run(async (signal, step) => {
      const groups = wanted.map((one) => ({ one, shots: lay(one) }));
      let begun = false;
      await several(groups, signal, step, () => {
        if (!begun) show(groups); // until then the older pictures stay
        begun = true;
        remember('generate', asked);
      });
      if (expect) await remade(job, expect, all[0]?.blob());
    });
  }

  function show(groups) {
    all.forEach((old) => old.drop());
    all = groups.flatMap(({ shots }) => shots);
    empty.hidden = true;
    sheet.replaceChildren(...groups.map(({ one, shots }) => h('section', { class: 'group', 'aria-label': toldName(one) },
      groups.length > 1 ? h('h3', {}, toldName(one)) : null, gallery(shots))));
    scrub.of(all);
  }

  function lay({ seed: first = 0, count: pictures = 1, ...one }) {
    const { grid, image_size: [height, width] } = world.pipeline();
    return Array.from({ length: pictures },
      (_, i) => shot({ label: `${toldName(one)}, seed ${first + i}`, seed: first + i, size: [width, height], map: Boolean(grid) }));
  }

  /** Some streams at once, fewer where the service has no room for more beside them; if one fails the others are ended too. */
  async function several(groups, signal, step, onbegin) {
    const inner = new AbortController();
    const end = () => inner.abort();
    signal.addEventListener('abort', end);
    const at = groups.map(() => [0, 1]);
    const queue = groups.map((group, i) => [group, i]);
    const moved = (i) => (index, total) => {
      at[i] = [index, total];
      const [done, of] = [Math.round(100 * at.reduce((sum, [a, b]) => sum + a / b, 0)), 100 * groups.length];
      step(done, of, groups.length > 1 ? `${Math.round(100 * done / of)} %` : `Step ${index} of ${total}`);
      scrub.moved();
    };
    let workers = Math.min(AT_ONCE, groups.length);
    const worker = async () => {
      for (let next = queue.shift(); next; next = queue.shift()) {
        const [{ one, shots }, i] = next;
        try {
          await draw(one, shots, inner.signal, onbegin, moved(i));
        } catch (error) {
          if (error.status !== 429 || workers === 1) throw error;
          queue.unshift(next); // another worker, which still draws, goes on with it
          break;
        }
        at[i] = [1, 1];
        scrub.moved();
      }
      workers--;
    };
    try {
      await Promise.all(Array.from({ length: workers }, worker));
    } catch (error) {
      end();
      throw error;
    } finally {
      signal.removeEventListener('abort', end);
    }
  }

  return {
    name: 'generate', title: 'Generate', element: h('div', { class: 'columns' }, form, stage),
    open(asked, expect) {
      told.set(asked.classes?.map((one) => ({ class: one })) ?? [asked]);
      seed.set(asked.seed);
      count.set(asked.count);
      settings.set(asked.settings);
      return run(asked, expect);
    },
    refill() {
      job.stop();
      told.fill(world.pipeline());
      settings.fill(world.pipeline(), world.limits);
      how.textContent = world.pipeline().grid ? 'The pictures appear place by place, the surest places first.'
        : 'This pipeline has no codes: it draws each picture at once.';
    },
  };
}
