// A full server drains: 5,000 stompjs clients of two processes, which go on sending, are let go
// evenly and come to a second server; what had its RECEIPT has reached a witness there.

import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { startRedis } from '../redis.mjs';
import { inTime, startServer } from '../server.mjs';
import { connect } from '../stompjs-client.mjs';

const CLIENTS_COUNT = 5_000;
const PROCESSES_COUNT = 2;
const ROOMS_COUNT = 20;
const WINDOW_S = 12;
/** Each client sends once in this time. */
const PAUSE_MS = 5_000;
/** Closes are counted by this width, and each bin may differ by so much. */
const BIN_MS = 1_000;
const TOLERANCE = 0.2;

/** Waits until `isSo`, for at most so long. */
async function until(what, seconds, isSo) {
  for (const deadline = Date.now() + seconds * 1_000; !(await isSo()); await delay(50)) {
    assert.ok(Date.now() < deadline, `waited in vain for ${what}`);
  }
}

/** A process of clients: says a word to it and gives its answer. */
function startSwarm(...settings) {
  const script = fileURLToPath(new URL('swarm.mjs', import.meta.url));
  const child = fork(script, [JSON.stringify(settings)]);
  const ask = async (word) => {
    const answered = once(child, 'message');
    child.send(word);
    return (await answered)[0];
  };
  return { ask, say: (word) => child.send(word), stop: () => child.kill('SIGKILL') };
}

test('5,000 clients are let go evenly, and nothing that had its receipt is lost', async (t) => {
  const redis = await startRedis();
  t.after(() => redis.stop());
  const full = [`limits.connections=${CLIENTS_COUNT}`, `drain.window=${WINDOW_S}s`];
  const from = await startServer(redis.setting, ...full);
  t.after(() => from.child.kill('SIGKILL'));
  const to = await startServer(redis.setting);
  t.after(() => to.child.kill('SIGKILL'));
  const witness = await connect(to, 'witness');
  const heard = new Map();
  const note = ({ body }) => heard.set(body, (heard.get(body) ?? 0) + 1);
  await witness.receipted((receipt) => {
    witness.client.subscribe('/topic/room.*', note, receipt);
  });

  const count = CLIENTS_COUNT / PROCESSES_COUNT;
  const swarms = Array.from({ length: PROCESSES_COUNT }, (_, index) =>
    startSwarm([from.url, to.url], index * count, count, ROOMS_COUNT, PAUSE_MS),
  );
  t.after(() => swarms.forEach((swarm) => swarm.stop()));
  const asked = (word) => Promise.all(swarms.map((swarm) => swarm.ask(word)));
  const opened = Date.now();
  await asked('open');
  t.diagnostic(`${CLIENTS_COUNT} clients connected in ${Date.now() - opened} ms`);
  swarms.forEach((swarm) => swarm.say('send'));
  await until('the first messages', 20, () => CLIENTS_COUNT / 4 < heard.size);

  const ended = from.exited.then(() => Date.now());
  const began = Date.now();
  from.child.kill('SIGTERM');
  let moved;
  await until('all clients on the second server', WINDOW_S + 20, async () => {
    const counts = await asked('count');
    moved = counts.reduce((sum, it) => sum + it.moved, 0);
    return moved === CLIENTS_COUNT;
  });
  const [code, signal] = await inTime(from.exited, 'the end of the first server');
  const reports = await asked('end');
  const closes = reports.flatMap((it) => it.closes).sort((one, two) => one.at - two.at);

  // It ends with 0, as soon as the last one is gone, and its log says so.
  assert.equal(code, 0, `exit ${code ?? signal}`);
  assert.deepEqual(reports.flatMap((it) => it.faults), []);
  assert.equal(closes.length, CLIENTS_COUNT);
  const after = (await ended) - closes.at(-1).at;
  t.diagnostic(`ended ${after} ms after the last close`);
  assert.ok(after < 2_000, `ended ${after} ms after the last close`);
  const summary = from.said.findLast((line) => line.includes('ended'));
  t.diagnostic(summary);
  for (const name of ['told', 'closed', 'flushed']) {
    assert.match(summary, new RegExp(`\\b${name}=${CLIENTS_COUNT}\\b`));
  }
  assert.match(summary, /\bcut=0\b/);

  // Each is told when to come again, and each something else.
  const delays = closes.map((it) => it.reconnectMs);
  assert.ok(closes.every((it) => it.code === 1012));
  assert.ok(delays.every((it) => 250 <= it && it <= 5_000));
  assert.ok(CLIENTS_COUNT / 3 < new Set(delays).size);
  assert.equal(reports.reduce((sum, it) => sum + it.noticesCount, 0), CLIENTS_COUNT);

  // Flat over the window: counted from the first close, as the clients saw them.
  const bins = Array.from({ length: WINDOW_S }, () => 0);
  for (const { at } of closes) {
    const bin = Math.floor((at - closes[0].at) / BIN_MS);
    bins[Math.min(bin, WINDOW_S - 1)]++;
  }
  t.diagnostic(`closes per second: ${bins.join(' ')}`);
  const mean = (CLIENTS_COUNT / WINDOW_S) * (BIN_MS / 1_000);
  for (const bin of bins) {
    assert.ok(Math.abs(bin - mean) <= TOLERANCE * mean, `${bin} closes in a second of ${bins}`);
  }
  assert.ok(closes.at(-1).at - began < (WINDOW_S + 3) * 1_000);

  // What had its RECEIPT, before the drain, in it or after, was heard on the second server.
  const receipted = reports.flatMap((it) => it.receipted);
  assert.ok(CLIENTS_COUNT < receipted.length, `only ${receipted.length} receipts`);
  await until('all that had its receipt', 20, () => receipted.every((body) => heard.has(body)));
  assert.deepEqual([...heard].filter(([, times]) => times !== 1), [], 'something came twice');
  t.diagnostic(`${receipted.length} receipts, ${heard.size} heard`);
  await witness.end();
});
