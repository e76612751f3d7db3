// Clients on two servers that share a Redis, and a back end beside them.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { startRedis } from './redis.mjs';
import { inTime, startServer } from './server.mjs';
import { connect } from './stompjs-client.mjs';

let redis;
let servers;
let alice;
let bob;
before(async () => {
  redis = await startRedis();
  servers = await Promise.all([startServer(redis.setting), startServer(redis.setting)]);
  alice = await connect(servers[0], 'alice');
  bob = await connect(servers[1], 'bob');
});
after(async () => {
  await Promise.all([alice.end(), bob.end()]);
  await Promise.all(servers.map((server) => server.stop()));
  await redis.stop();
});

test('a room spans two servers, with the headers of who speaks', async () => {
  const queues = await Promise.all([alice, bob].map((it) => it.subscribe('/topic/room.1')));
  const headers = { 'x-kind': 'greeting', 'x-odd': 'a:b\\x\nd' };
  await alice.publish('/app/room.1', 'grüß dich', { headers });
  await bob.publish('/app/room.1', 'und dich');
  const ids = [];
  for (const queue of queues) {
    const message = await queue.next('a message from the first server');
    assert.equal(message.body, 'grüß dich');
    assert.equal(message.headers.destination, '/topic/room.1');
    assert.equal(message.headers['user-id'], 'alice');
    assert.equal(message.headers['x-kind'], 'greeting');
    assert.equal(message.headers['x-odd'], 'a:b\\x\nd');
    ids.push(message.headers['message-id']);
    assert.equal((await queue.next('a message from the second server')).body, 'und dich');
    assert.deepEqual(queue.rest, []);
    await queue.unsubscribe();
  }
  assert.equal(ids[0], ids[1]);
});

test('a private message finds its user on the other server', async () => {
  const [mine, own] = await Promise.all(
    [bob, alice].map((it) => it.subscribe('/user/queue/private')),
  );
  await alice.publish('/app/private.bob', 'for bob only', { headers: { 'x-n': '1' } });
  await bob.publish('/app/private.alice', 'for alice only');
  const message = await mine.next('the private message');
  assert.equal(message.body, 'for bob only');
  assert.equal(message.headers.destination, '/user/queue/private');
  assert.equal(message.headers['x-n'], '1');
  assert.equal((await own.next('the other private message')).body, 'for alice only');
  assert.deepEqual([mine.rest, own.rest], [[], []]);
  await Promise.all([mine.unsubscribe(), own.unsubscribe()]);
});

test('a binary body crosses byte for byte', async () => {
  const queue = await bob.subscribe('/topic/binary');
  const binaryBody = Uint8Array.from({ length: 1_024 }, (_, index) => index % 256);
  const headers = { 'content-type': 'application/octet-stream' };
  await alice.receipted((receipt) => {
    const all = { ...headers, ...receipt };
    alice.client.publish({ destination: '/topic/binary', binaryBody, headers: all });
  });
  const message = await queue.next('the binary message');
  assert.deepEqual(message.binaryBody, binaryBody);
  assert.equal(message.headers['content-type'], 'application/octet-stream');
  await queue.unsubscribe();
});

test('a pattern and an exact subscription get a message once each', async () => {
  const exact = await bob.subscribe('/topic/hall.1');
  const pattern = await bob.subscribe('/topic/hall.*');
  await alice.publish('/topic/hall.1', 'first');
  await alice.publish('/topic/hall.1', 'second');
  for (const queue of [exact, pattern]) {
    assert.equal((await queue.next('a message')).body, 'first');
    assert.equal((await queue.next('a message')).body, 'second');
    assert.deepEqual(queue.rest, []);
    await queue.unsubscribe();
  }
});

test('a back end that publishes to Redis reaches everybody', async () => {
  const queues = await Promise.all([alice, bob].map((it) => it.subscribe('/topic/room.123')));
  const payload = JSON.stringify({ id: 77, content: 'Grüße, "Bob"' });
  const envelope = {
    destination: '/topic/room.123',
    userId: null,
    payload,
    payloadType: 'com.example.ws.dto.ChatMessageResponse',
    timestamp: 1762161330123,
    originServerId: null,
  };
  await redis.cli('PUBLISH', 'ws:/topic/room.123', JSON.stringify(envelope));
  for (const queue of queues) {
    assert.equal((await queue.next('what the back end said')).body, payload);
    await queue.unsubscribe();
  }
});

test('1,000 messages of two servers come in one order', async () => {
  const queues = await Promise.all([alice, bob].map((it) => it.subscribe('/topic/order')));
  for (let index = 0; index < 500; index++) {
    for (const [from, session] of [alice, bob].entries()) {
      session.client.publish({ destination: '/topic/order', body: `${from} ${index}` });
    }
  }
  const orders = [];
  for (const queue of queues) {
    const order = [];
    while (order.length < 1_000) {
      order.push((await queue.next('a message')).body);
    }
    orders.push(order);
    await queue.unsubscribe();
  }
  assert.deepEqual(orders[1], orders[0]);
  const own = orders[0].filter((body) => body.startsWith('0 '));
  assert.deepEqual(own, Array.from({ length: 500 }, (_, index) => `0 ${index}`));
});

test('a client that comes back finds its room again', async () => {
  const carol = await connect(servers[1], 'carol');
  await (await carol.subscribe('/topic/again')).unsubscribe();
  await carol.end();
  const back = await connect(servers[0], 'carol');
  const queue = await back.subscribe('/topic/again');
  await bob.publish('/topic/again', 'welcome back');
  assert.equal((await queue.next('the welcome')).body, 'welcome back');
  await inTime(back.end(), 'the end');
});
