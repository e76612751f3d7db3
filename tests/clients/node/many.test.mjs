// Many sessions at once, on every core: order, completeness, and who is not concerned.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { startServer } from './server.mjs';
import { connect } from './stompjs-client.mjs';

const SESSIONS_COUNT = 24;

let server;
let sessions;
before(async () => {
  server = await startServer();
  const logins = Array.from({ length: SESSIONS_COUNT }, (_, index) => `user-${index}`);
  sessions = await Promise.all(logins.map((login) => connect(server, login)));
});
after(async () => {
  await Promise.all(sessions.map((session) => session.end()));
  await server.stop();
});

test('the sessions are spread over all cores', async () => {
  const active = await server.samples('websocket_connections_active');
  const cores = Number(process.env.EDGE_CORES);
  assert.equal(active.length, cores, 'one sample per core');
  assert.equal(active.reduce((sum, count) => sum + count, 0), SESSIONS_COUNT);
  assert.ok(active.every((count) => 0 < count), `${active} sessions per core`);
});

test('what one says in a room, all hear once', async () => {
  const queues = await Promise.all(sessions.map((session) => session.subscribe('/topic/room.all')));
  for (const [index, session] of sessions.entries()) {
    await session.publish('/app/room.all', `from ${index}`);
  }
  const expected = sessions.map((_, index) => `from ${index}`);
  for (const queue of queues) {
    const heard = [];
    while (heard.length < SESSIONS_COUNT) {
      heard.push((await queue.next('a message')).body);
    }
    assert.deepEqual(heard, expected);
    assert.deepEqual(queue.rest, []);
  }
  await Promise.all(queues.map((queue) => queue.unsubscribe()));
});

test('1,000 messages of two senders keep their order, the same for all', async () => {
  const subscribed = sessions.map((session) => session.subscribe('/topic/room.order'));
  const queues = await Promise.all(subscribed);
  for (let index = 0; index < 500; index++) {
    for (const sender of [0, 1]) {
      const body = `${sender} ${index}`;
      sessions[sender].client.publish({ destination: '/app/room.order', body });
    }
  }
  const orders = [];
  for (const queue of queues) {
    const order = [];
    while (order.length < 1_000) {
      order.push((await queue.next('a message')).body);
    }
    orders.push(order);
  }
  for (const sender of [0, 1]) {
    const own = orders[0].filter((body) => body.startsWith(`${sender} `));
    assert.deepEqual(own, Array.from({ length: 500 }, (_, index) => `${sender} ${index}`));
  }
  for (const order of orders) {
    assert.deepEqual(order, orders[0]);
  }
  await Promise.all(queues.map((queue) => queue.unsubscribe()));
});

test('each of many users gets the own private messages only', async () => {
  const queues = await Promise.all(
    sessions.map((session) => session.subscribe('/user/queue/private')),
  );
  for (let round = 0; round < 5; round++) {
    const sent = sessions.map((session, index) => {
      const to = (index + round + 1) % SESSIONS_COUNT;
      return session.publish(`/app/private.user-${to}`, `to ${to} in ${round}`);
    });
    await Promise.all(sent);
  }
  for (const [index, queue] of queues.entries()) {
    const heard = [];
    while (heard.length < 5) {
      heard.push((await queue.next('a private message')).body);
    }
    const expected = Array.from({ length: 5 }, (_, round) => `to ${index} in ${round}`);
    assert.deepEqual(heard, expected);
    assert.deepEqual(queue.rest, []);
  }
});
