// The page: tabs, pipelines, pictures that are dropped or pasted, and the address.
import { get } from './api.js';
import { blendPanel } from './blend.js';
import { button, byId, h, say } from './dom.js';
import { enrichPanel } from './enrich.js';
import { generatePanel } from './generate.js';
import { insidePanel } from './inside.js';
import { paintPanel } from './paint.js';
import { requestOf } from './png.js';
import { notices } from './runner.js';
import { learn } from './settings.js';
import { hideToken, made, mark, nowShown, readAddress, showPanel } from './share.js';
import { themeSwitch } from './theme.js';
import { keep } from './token.js';
import { setSender } from './viewer.js';

const PANEL_OF = { generate: 'generate', inpaint: 'paint', edit: 'paint', outpaint: 'paint', interpolate: 'blend', enrich: 'enrich',
  encode: 'inside', decode: 'inside' };

const NEEDS = { generate: 'generate', paint: 'inpaint', blend: 'interpolate', enrich: 'enrich', inside: 'encode' }; // of a pipeline's jobs

const world = { pipelines: [], limits: {}, bundled: {}, at: 0, pipeline: () => world.pipelines[world.at] };
const panels = new Map();
const messages = notices();
let current = null;

function select(name, focus = false) {
  const before = current;
  current = panels.has(name) ? name : 'generate';
  nowShown(current);
  for (const [key, { tab, sheet }] of panels) {
    const on = key === current;
    tab.setAttribute('aria-selected', String(on));
    tab.tabIndex = on ? 0 : -1;
    sheet.hidden = !on;
  }
  if (focus) panels.get(current).tab.focus();
  if (before !== current) panels.get(current).panel.shown?.();
}

/** Goes to a panel, as a person does: Back comes back from it. */
function go(name, focus = false) {
  const other = name !== current;
  select(name, focus);
  if (other) showPanel(name, true);
}

/** Back or Forward: to a panel as it was left or, after the page was loaded anew, as its address has it. */
function back({ state }) {
  if (!state?.panel || !panels.size) return; // an address that somebody typed or followed: `changed` has it
  document.querySelectorAll('dialog[open]:not(.asks)').forEach((one) => one.close());
  messages.clear(); // they are of where we were
  const focus = [byId('main'), byId('tabs')].some((part) => part.contains(document.activeElement));
  const { request } = readAddress();
  if (request && (!made(state.panel) || pipelineOf(request) !== world.at)) open(request);
  else {
    select(state.panel);
    if (made(current)) showPanel(current);
  }
  if (focus) panels.get(current).tab.focus({ preventScroll: true });
}

/** What a panel needs and the pipeline has not, in a line; empty where it has. */
function lacks(name) {
  const { name: pipeline, jobs } = world.pipeline();
  if (jobs.includes(NEEDS[name])) return '';
  return `The pipeline “${pipeline}” only draws pictures; this panel needs one that ${name === 'blend' ? 'has classes' : 'has codes'}.`;
}

/** Shows the panels that the pipeline is of use to, and in the others why it is not. */
function refill() {
  panels.forEach(({ panel, lack }, name) => {
    lack.textContent = lacks(name);
    lack.hidden = !lack.textContent;
    panel.element.hidden = !lack.hidden;
    if (lack.hidden) panel.refill();
  });
}

function tabs(list) {
  for (const panel of list) {
    const tab = h('button', { type: 'button', role: 'tab', id: `tab-${panel.name}`, 'aria-controls': `panel-${panel.name}`,
      onclick: () => go(panel.name) }, panel.title);
    const lack = h('p', { class: 'empty', hidden: true });
    const sheet = h('section', { role: 'tabpanel', id: `panel-${panel.name}`, 'aria-labelledby': tab.id, hidden: true },
      h('h2', { class: 'unseen' }, panel.title), lack, panel.element);
    panels.set(panel.name, { panel, tab, sheet, lack });
    byId('tabs').append(tab);
    byId('main').append(sheet);
  }
  byId('tabs').addEventListener('keydown', (event) => {
    const names = [...panels.keys()];
    const at = names.indexOf(current);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    go(names[(next + names.length) % names.length], true);
  });
}

/** The number of the pipeline that a request is for; -1 for one that is not here. */
const pipelineOf = (request) => world.pipelines.findIndex((one) => one.name === (request.pipeline ?? world.pipelines[0].name));

/** Shows the panel of a request and makes its pictures again; `expect` is the picture that must come out, of a file. */
async function open(request, expect = null) {
  messages.clear();
  const blends = request.job === 'generate' && request.class && typeof request.class === 'object';
  const few = blends && Object.keys(request.class).length > 1 && Object.keys(request.class).length < 5;
  const own = Object.hasOwn(PANEL_OF, request.job) ? PANEL_OF[request.job] : null; // `constructor` is a property too
  const name = few ? 'blend' : own;
  const at = pipelineOf(request);
  if (!name || at < 0) {
    messages.show(new Error(name ? `That picture was made by the pipeline “${request.pipeline}”, which this studio does not have.`
      : `“${request.job}” is no job of the studio.`));
    return;
  }
  if (at !== world.at) choosePipeline(at);
  if (lacks(name)) {
    select(name);
    return;
  }
  const { panel } = panels.get(name);
  const other = name !== current;
  current = name; // so that the panel does not draw by itself
  select(name);
  if (expect && other) showPanel(name, true); // an address is a state already
  try {
    await panel.open(request, expect);
  } catch (error) {
    messages.show(error);
  }
}

/** A file that came from anywhere: a picture of the studio is made again, another one goes to a panel that works on pictures. */
async function receive(blob, name) {
  const request = blob.size <= world.limits.bytes ? await requestOf(blob) : null;
  if (!request) {
    send(panels.get(current).panel.take ? current : 'paint', { blob, name });
    return;
  }
  say('This picture holds its settings. It is made again.');
  await open(request, blob);
  messages.tell(h('p', {}, `${name} holds its settings; they are in the form.`),
    h('div', { class: 'row' }, button('Use it as a picture in Paint instead', 'brush',
      () => { messages.clear(); send('paint', { blob, name }); }), button('Fine', 'check', () => messages.clear(), { class: 'quiet' })));
}

function send(name, picture) {
  messages.clear();
  go(name);
  if (!lacks(name)) panels.get(name).panel.take(picture);
}

function drops() {
  const veil = h('div', { class: 'dropveil', hidden: true, 'aria-hidden': 'true' }, h('p', {}, 'Drop the picture'));
  document.body.append(veil);
  const files = (event) => [...(event.dataTransfer?.types ?? [])].includes('Files');
  let depth = 0;
  const at = (change) => { depth = Math.max(0, depth + change); veil.hidden = depth === 0; };
  addEventListener('dragenter', (event) => { if (files(event)) at(1); });
  addEventListener('dragleave', (event) => { if (files(event)) at(-1); });
  addEventListener('dragover', (event) => { if (files(event)) event.preventDefault(); });
  addEventListener('drop', (event) => {
    depth = 0;
    at(0);
    const file = event.dataTransfer?.files[0];
    if (!file) return;
    event.preventDefault();
    receive(file, file.name);
  });
  addEventListener('paste', (event) => {
    const file = event.clipboardData?.files[0];
    if (!file) return;
    event.preventDefault();
    receive(file, file.name);
  });
}

function choosePipeline(at) {
  world.at = at;
  const chooser = byId('pipeline');
  if (chooser) Object.assign(chooser, { value: at, title: world.pipeline().name });
  refill();
  foot();
}

function foot() {
  const { name, parameters, grid, radix_length: k, binary, image_size: [height, width] } = world.pipeline();
  const codes = grid ? `as ${grid.join(' × ')} places of ${k} ${binary ? 'bits' : 'digits'}` : 'drawn at once';
  byId('foot').replaceChildren(h('p', {},
    `Pipeline ${name}: ${(parameters / 1e6).toFixed(1)} million parameters, ${width} × ${height} pixels ${codes}.`),
    h('p', {}, `bitmosaic ${world.version ?? ''} · `, h('a', { href: '/openapi.json' }, 'the service as an API')));
}

function header() {
  const file = h('input', { type: 'file', accept: 'image/png', class: 'unseen', tabIndex: -1, 'aria-hidden': 'true', id: 'open-file',
    onchange: () => { if (file.files[0]) receive(file.files[0], file.files[0].name); file.value = ''; } });
  const chooser = world.pipelines.length > 1
    ? h('select', { id: 'pipeline', 'aria-label': 'Pipeline', onchange: () => choosePipeline(Number(chooser.value)) },
      world.pipelines.map(({ name }, i) => h('option', { value: i }, name))) : null;
  byId('tools').append(...[chooser, button('Open a saved picture', 'open', () => file.click(), { bare: true }), file].filter(Boolean));
}

async function start() {
  addEventListener('hashchange', changed); // first of all, since a token may be pasted while the page still asks for one
  addEventListener('popstate', back);
  tokenOf(readAddress());
  document.querySelector('.skip').addEventListener('click', (event) => { // the address has no room for it
    event.preventDefault();
    byId('main').focus();
  });
  byId('tools').append(themeSwitch());
  byId('main').prepend(messages.element);
  try {
    Object.assign(world, await get('/v1/pipelines'));
    learn(world);
  } catch (error) {
    messages.show(error, () => location.reload());
    return;
  }
  header();
  tabs([generatePanel(world), paintPanel(world), blendPanel(world), enrichPanel(world), insidePanel(world)]);
  refill();
  foot();
  drops();
  setSender(send);
  follow(readAddress());
  mark(current);
}

/** Keeps a token of the address for this tab, where nobody sees it. False where there is none. */
function tokenOf({ token }) {
  if (!token) return false;
  keep(token);
  hideToken();
  return true;
}

function changed() {
  const address = readAddress();
  if (tokenOf(address)) location.reload();
  else if (panels.size && !history.state) { // a state of our own is Back or Forward
    follow(address);
    mark(current);
  }
}

function follow({ request, panel, broken }) {
  messages.clear(); // of the address before
  if (broken) messages.show(new Error('The address is cut off or broken, so nothing could be read out of it.'));
  if (request) open(request);
  if (!request || !current) select(panel ?? current ?? 'generate'); // a request that is none shows no panel
}

start();
