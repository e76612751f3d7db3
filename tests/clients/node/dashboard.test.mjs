// The dashboard in a real browser: what it shows is what the server counts, and goes on changing.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { openPage } from './browser.mjs';
import { startServer } from './server.mjs';
import { connect } from './stompjs-client.mjs';

let server;
before(async () => {
  server = await startServer();
});
after(() => server?.stop());

/** What a tile shows, as an expression in the page. */
const tile = (name) =>
  `[...document.querySelectorAll('#tiles div')]
    .find((it) => it.querySelector('dt').textContent === '${name}')
    ?.querySelector('dd').textContent`;
const chart = (name) => `document.querySelector('#chart-${name} path')?.getAttribute('d')`;

test('it shows what there is, and what changes while it is open', async (t) => {
  const sessions = await Promise.all(['a', 'b', 'c'].map((login) => connect(server, login)));
  await sessions[0].subscribe('/topic/room.dashboard');
  const page = await openPage(server.admin);
  t.after(() => page.close());
  await page.until(`${tile('connections')} === '3'`);
  await page.until(`${tile('subscriptions')} === '1'`);
  assert.equal(await page.value("document.getElementById('status').textContent"), 'UP');
  const said = await page.value("document.getElementById('process').textContent");
  assert.ok(said.includes(`· ${process.env.EDGE_DRIVER} ·`), said);
  const cores = await page.value("document.querySelectorAll('#cores tr').length");
  assert.equal(cores, Number(process.env.EDGE_CORES));
  const destinations = "document.getElementById('destinations').textContent";
  await page.until(`${destinations}.includes('/topic/room.dashboard')`);
  await page.until(`${tile('messages out /s')} === '0'`);
  const rates = await page.value(chart('rates'));
  const connections = await page.value(chart('connections'));

  // Two more come, and one says something ten times a second.
  sessions.push(...(await Promise.all(['d', 'e'].map((login) => connect(server, login)))));
  const saying = setInterval(() => {
    sessions[1].client.publish({ destination: '/topic/room.dashboard', body: 'x' });
  }, 100);
  t.after(() => clearInterval(saying));
  await page.until(`${tile('connections')} === '5'`);
  await page.until(`5 < Number(${tile('messages in /s')})`);
  await page.until(`5 < Number(${tile('messages out /s')})`);
  await page.until(`/^≤ /.test(${tile('processing p99')})`);
  assert.notEqual(await page.value(chart('rates')), rates);
  assert.notEqual(await page.value(chart('connections')), connections);
  clearInterval(saying);
  await page.until(`${tile('messages in /s')} === '0'`);

  // They go, and with a frame that is refused there is a trouble to be told.
  await Promise.all(sessions.splice(1).map((it) => it.end()));
  await page.until(`${tile('connections')} === '1'`);
  sessions[0].client.publish({ destination: '/nowhere', body: 'x' });
  await page.until("document.getElementById('troubles').textContent.includes('frame refused')");
  assert.deepEqual(page.faults, []);
  await Promise.all(sessions.map((it) => it.end()));
});

test('it is read in light and dark, and on a phone without scrolling sideways', async (t) => {
  const page = await openPage(server.admin);
  t.after(() => page.close());
  await page.until(tile('connections'));
  const grounds = new Set();
  for (const scheme of ['light', 'dark']) {
    for (const [width, height] of [[1280, 900], [768, 1024], [360, 740]]) {
      await page.look(width, height, scheme);
      await page.until(`innerWidth === ${width}`);
      const wide = await page.value('document.documentElement.scrollWidth');
      assert.ok(wide <= width, `${wide} wide on a screen of ${width}`);
      grounds.add(await page.value('getComputedStyle(document.body).backgroundColor'));
      const least = await page.value(`(${leastContrast})()`);
      assert.ok(4.5 <= least.contrast, `${scheme}, ${width}: ${JSON.stringify(least)}`);
    }
  }
  assert.equal(grounds.size, 2, 'light and dark are two grounds');
});

/** The least contrast of a text that is shown with what is behind it (WCAG 2.1): for the page. */
function leastContrast() {
  const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = channels(colour)
      .slice(0, 3)
      .map((it) => it / 255)
      .map((it) => (it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let it = element; it; it = it.parentElement) {
      const colour = getComputedStyle(it).backgroundColor;
      if (channels(colour)[3] !== 0) {
        return colour;
      }
    }
    return 'rgb(255, 255, 255)';
  };
  let least = { contrast: 21 };
  for (const element of document.querySelectorAll('body *')) {
    const text = [...element.childNodes].find((it) => it.nodeType === 3 && it.textContent.trim());
    if (!text || element.getClientRects().length === 0) {
      continue;
    }
    const style = getComputedStyle(element);
    const ink = element instanceof SVGElement ? style.fill : style.color;
    const [one, two] = [light(ink), light(behind(element))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (two + 0.05);
    if (contrast < least.contrast) {
      least = { contrast, text: text.textContent.trim() };
    }
  }
  return least;
}

test('nobody else may frame it, or be asked for parts of it', async () => {
  const answer = await fetch(server.admin);
  const policy = answer.headers.get('content-security-policy');
  assert.match(policy, /default-src 'none'/);
  assert.match(policy, /frame-ancestors 'none'/);
  assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
});
