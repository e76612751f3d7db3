// @stomp/stompjs clients that lose their server and get what they missed, by headers alone.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Client } from '@stomp/stompjs';
import { WebSocket } from 'ws';

import { Queue, inTime, startServer } from './server.mjs';
import { connect } from './stompjs-client.mjs';
import { startMariaDb, startSqlite } from './stores.mjs';

const place = ({ epoch, seq }) => `${epoch}:${seq}`;
const isBehind = (a, b) =>
  Number(b.epoch) < Number(a.epoch) || (a.epoch === b.epoch && Number(b.seq) < Number(a.seq));

/** Comes back by itself, and asks for what came behind the last message that it has. */
class Reader {
  heard = [];
  subscribed = new Queue();
  #arrived = new Queue();

  constructor(url) {
    this.url = url;
    this.client = new Client({
      webSocketFactory: () => new WebSocket(this.url, ['v12.stomp']),
      connectHeaders: { login: 'reader' },
      reconnectDelay: 20,
      heartbeatIncoming: 0,
      heartbeatOutgoing: 0,
      onConnect: () => this.#subscribe(),
    });
    this.client.activate();
  }

  #subscribe() {
    const last = this.heard.at(-1);
    const wish = last ? { since: place(last) } : { history: '10' };
    const receipt = `from-${last ? place(last) : 'the-start'}`;
    this.client.watchForReceipt(receipt, ({ headers }) =>
      this.subscribed.push({ last, recovered: headers.recovered }));
    const take = ({ headers: { epoch, seq }, body }) => {
      this.heard.push({ epoch, seq, body });
      this.#arrived.push(body);
    };
    this.client.subscribe('/topic/room.1', take, { ...wish, id: 's', receipt });
  }

  /** Waits for a message with this body. */
  async hears(body) {
    while ((await this.#arrived.next(body)) !== body);
  }
}

/** Says each of `bodies` until it is stored, and notes in `stored` where; a repeat is known. */
async function store(session, bodies, stored) {
  for (const body of bodies) {
    for (;;) {
      const headers = { 'idempotency-key': body, receipt: `${body}-${Math.random()}` };
      const answered = new Promise((resolve) => {
        session.client.watchForReceipt(headers.receipt, resolve);
        session.client.onStompError = resolve;
      });
      session.client.publish({ destination: '/app/room.1', body, headers });
      const answer = await inTime(answered, `an answer for ${body}`);
      if (answer.command === 'RECEIPT') {
        stored.set(place(answer.headers), body);
        break;
      }
      // The store of a server that has just started is not there at once.
      assert.equal(answer.headers.message, 'store-unavailable');
    }
  }
}

/** Says all of `bodies` without waiting, and has the server killed behind the answer `at`. */
async function storeUntilKilled(server, session, bodies, at, stored) {
  const left = new Set(bodies);
  let killed = false;
  for (const body of bodies) {
    session.client.watchForReceipt(body, ({ headers }) => {
      stored.set(place(headers), body);
      left.delete(body);
      if (!killed && bodies.length - left.size === at) {
        killed = server.child.kill('SIGKILL');
      }
    });
    const headers = { 'idempotency-key': body, receipt: body };
    session.client.publish({ destination: '/app/room.1', body, headers });
  }
  await session.closes.next('the loss of the connection');
  await inTime(server.exited, 'the end of the server');
  return [...left];
}

const numbered = (name, count) => Array.from({ length: count }, (_, at) => `${name}-${at}`);

for (const start of [startSqlite, startMariaDb]) {
  test(`${start.name.slice(5)}: a client whose server is killed gets what it missed, in order`,
    async () => {
      const database = await start();
      let server = await startServer(database.setting);
      let writer = await connect(server, 'writer');
      const reader = new Reader(server.url);
      await reader.subscribed.next('the first subscription');
      const stored = new Map();
      await store(writer, numbered('first', 5), stored);
      await reader.hears('first-4');

      for (const [round, at] of [['mid-stream', 20], ['at-rest', 40]]) {
        const sent = numbered(round, 40);
        const unknown = await storeUntilKilled(server, writer, sent, at, stored);
        // What nobody has answered is said again, and more; the reader is still away.
        server = await startServer(database.setting);
        writer = await connect(server, 'writer');
        const missed = numbered(`${round}-missed`, 30);
        await store(writer, [...unknown, ...missed], stored);
        reader.url = server.url;
        const { last, recovered } = await reader.subscribed.next('the return');
        if (at === sent.length || stored.has(place(last))) {
          assert.equal(recovered, 'true');
        }
        await store(writer, [`${round}-live`], stored);
        await reader.hears(`${round}-live`);
      }

      const { heard } = reader;
      heard.slice(1).forEach((it, at) => assert.ok(isBehind(it, heard[at]), place(it)));
      // A message that was seen and not stored has no place there, and was said again.
      const kept = heard.filter((it) => stored.has(place(it)));
      const all = [...stored].sort(([a], [b]) => {
        const [x, y] = [a, b].map((it) => it.split(':').map(Number));
        return x[0] - y[0] || x[1] - y[1];
      });
      assert.deepEqual(kept.map((it) => [place(it), it.body]), all);
      assert.equal(new Set(all.map(([, body]) => body)).size, 5 + 2 * (40 + 30 + 1));
      await reader.client.deactivate();
      await writer.end();
      await server.stop();
      await database.stop();
    });
}
