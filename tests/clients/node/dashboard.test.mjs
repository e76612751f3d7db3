// The dashboard in a real browser: what it shows is what the server counts.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

import { startServer } from './server.mjs';
import { connect } from './stompjs-client.mjs';

let server;
before(async () => {
  server = await startServer();
});
after(() => server?.stop());

/** The document of a page once its script has run for some seconds of its own time. */
async function open(url) {
  const profile = await mkdtemp(path.join(tmpdir(), 'dashboard-'));
  const flags = ['--headless', '--no-sandbox', '--disable-gpu', `--user-data-dir=${profile}`];
  try {
    const { stdout } = await promisify(execFile)(
      'chromium',
      [...flags, '--virtual-time-budget=9000', '--dump-dom', url],
      { timeout: 60_000, maxBuffer: 16e6 },
    );
    return stdout;
  } finally {
    await rm(profile, { recursive: true, force: true });
  }
}

test('it shows the connections, the cores and the driver that there are', async () => {
  const sessions = await Promise.all(['a', 'b', 'c'].map((login) => connect(server, login)));
  await sessions[0].subscribe('/topic/room.dashboard');
  const page = await open(server.admin);
  const tile = (name) => new RegExp(`<dt>${name}</dt><dd>([^<]*)</dd>`).exec(page)?.[1];
  assert.equal(tile('connections'), '3', page);
  assert.equal(tile('subscriptions'), '1');
  assert.match(page, /<span id="status" class="status UP"[^>]*>UP</);
  assert.ok(page.includes(`· ${process.env.EDGE_DRIVER} ·`), 'the driver is not named');
  const cores = /<tbody id="cores">(.*?)<\/tbody>/s.exec(page)[1];
  assert.equal(cores.match(/<tr>/g).length, Number(process.env.EDGE_CORES));
  await Promise.all(sessions.map((it) => it.end()));
});

test('nobody else may frame it, or be asked for parts of it', async () => {
  const answer = await fetch(server.admin);
  const policy = answer.headers.get('content-security-policy');
  assert.match(policy, /default-src 'none'/);
  assert.match(policy, /frame-ancestors 'none'/);
  assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
});
