// @stomp/stompjs as a front end uses it.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Versions } from '@stomp/stompjs';

import { Queue, inTime, startServer } from './server.mjs';
import { connect } from './stompjs-client.mjs';

let server;
before(async () => {
  server = await startServer();
});
after(() => server?.stop());

/** Runs `body` with one connected session per login, and disconnects them all. */
async function withSessions(logins, body, options = {}) {
  const sessions = await Promise.all(logins.map((login) => connect(server, login, options)));
  await body(...sessions);
  await Promise.all(sessions.map((session) => session.end()));
}

test('two clients chat through a room', () =>
  withSessions(['alice', 'bob'], async (alice, bob) => {
    assert.equal(alice.client.connectedVersion, '1.2');
    assert.equal(alice.connected.headers['user-name'], 'alice');
    const [aliceHears, bobHears] = await Promise.all(
      [alice, bob].map((session) => session.subscribe('/topic/room.1')),
    );
    alice.client.publish({ destination: '/app/room.1', body: 'hello bob' });
    for (const queue of [aliceHears, bobHears]) {
      const message = await queue.next('the greeting');
      assert.equal(message.body, 'hello bob');
      assert.equal(message.headers.destination, '/topic/room.1');
      assert.equal(message.headers.subscription, queue.id);
      assert.ok(message.headers['message-id']);
    }
    bob.client.publish({ destination: '/app/room.1', body: 'hello alice' });
    assert.equal((await aliceHears.next('the answer')).body, 'hello alice');
    assert.equal((await bobHears.next('the answer')).body, 'hello alice');
  }));

test('a private message reaches both sessions of its user and nobody else', () =>
  withSessions(['alice', 'bob', 'bob'], async (alice, bob, bobAgain) => {
    const [aliceHears, bobHears, bobAgainHears] = await Promise.all(
      [alice, bob, bobAgain].map((session) => session.subscribe('/user/queue/private')),
    );
    await alice.publish('/app/private.bob', 'for bob');
    for (const queue of [bobHears, bobAgainHears]) {
      const message = await queue.next('the private message');
      assert.equal(message.body, 'for bob');
      assert.equal(message.headers.destination, '/user/queue/private');
      assert.equal(message.headers.subscription, queue.id);
    }
    // Had alice been given it, it would come before what was sent to her later.
    await bob.publish('/app/private.alice', 'for alice');
    assert.equal((await aliceHears.next('the answer')).body, 'for alice');
    assert.deepEqual([bobHears.rest, bobAgainHears.rest], [[], []]);
  }));

test('SUBSCRIBE, SEND, UNSUBSCRIBE and DISCONNECT are receipted', async () => {
  const session = await connect(server, 'careful');
  const queue = await session.subscribe('/topic/receipts');
  await session.publish('/topic/receipts', 'one');
  assert.equal((await queue.next('the message')).body, 'one');
  await queue.unsubscribe();
  await session.publish('/topic/receipts', 'two');
  const receipts = new Queue();
  session.client.disconnectHeaders = { receipt: 'bye' };
  session.client.onDisconnect = (frame) => receipts.push(frame);
  await session.end();
  assert.equal((await receipts.next('the last receipt')).headers['receipt-id'], 'bye');
  assert.deepEqual(queue.rest, []);
});

test('bytes that are not UTF-8 arrive as they were sent', () =>
  withSessions(['alice', 'bob'], async (alice, bob) => {
    const queue = await bob.subscribe('/topic/binary');
    const every = Uint8Array.from({ length: 1024 }, (_, index) => index % 256);
    const headers = { 'content-type': 'application/octet-stream' };
    await alice.publish('/topic/binary', undefined, { binaryBody: every, headers });
    const message = await queue.next('the bytes');
    assert.deepEqual(Uint8Array.from(message.binaryBody), every);
    assert.equal(message.headers['content-type'], 'application/octet-stream');

    const none = Uint8Array.of(0xc3, 0x28, 0x00, 0xff);
    await alice.publish('/topic/binary', undefined, { binaryBody: none });
    assert.deepEqual(Uint8Array.from((await queue.next('the bytes')).binaryBody), none);
  }));

test('custom headers arrive with what had to be escaped', () =>
  withSessions(['alice', 'bob'], async (alice, bob) => {
    const queue = await bob.subscribe('/topic/headers');
    const headers = {
      'x-colon': 'a:b:c',
      'x-lines': 'one\ntwo\r\nthree',
      // Not before r, n or c: this library undoes escapes one kind after the other.
      'x-backslash': 'C:\\data\\x',
      'x-unicode': 'Grüße👋',
    };
    // Some clients cannot read a frame with a blank in a header, so such a header is left out.
    await alice.publish('/topic/headers', 'body', { headers: { ...headers, 'x-blank': 'a b' } });
    const message = await queue.next('the message');
    for (const [name, value] of Object.entries(headers)) {
      assert.equal(message.headers[name], value, name);
    }
    assert.equal(message.headers.receipt, undefined);
    assert.equal(message.headers['x-blank'], undefined);
  }));

test('text of every kind arrives as it was sent', () =>
  withSessions(['alice'], async (alice) => {
    const queue = await alice.subscribe('/topic/text');
    const long = 'x'.repeat(60_000);
    for (const body of ['', 'a\0b', '\n\nlines\r\n', 'Grüße 👋', '{"a":[1,2]}', long]) {
      await alice.publish('/topic/text', body);
      assert.equal((await queue.next('the text')).body, body);
    }
    await alice.publish('/topic/text', 'no length', { skipContentLengthHeader: true });
    assert.equal((await queue.next('the text')).body, 'no length');
  }));

test('large frames may come in pieces', () =>
  withSessions(
    ['alice'],
    async (alice) => {
      const queue = await alice.subscribe('/topic/pieces');
      const body = Array.from({ length: 12_000 }, (_, index) => index % 10).join('-');
      await alice.publish('/topic/pieces', body);
      assert.equal((await queue.next('the large message')).body, body);
    },
    { splitLargeFrames: true, maxWebSocketChunkSize: 1_000 },
  ));

test('frames may come in binary messages only', () =>
  withSessions(
    ['alice'],
    async (alice) => {
      const queue = await alice.subscribe('/topic/mobile');
      await alice.publish('/topic/mobile', 'Grüße');
      assert.equal((await queue.next('the message')).body, 'Grüße');
    },
    { forceBinaryWSFrames: true, appendMissingNULLonIncoming: true },
  ));

test('heart-beats keep a session over several intervals', async () => {
  const beats = new Queue();
  const session = await connect(server, 'beating', {
    heartbeatIncoming: 1_000,
    heartbeatOutgoing: 1_000,
    debug: (line) => /^<<< PONG|^did not receive|^Connection closed/.test(line) && beats.push(line),
  });
  assert.equal(session.connected.headers['heart-beat'], '1000,1000');
  for (let count = 0; count < 4; count++) {
    assert.equal(await beats.next('a heart-beat'), '<<< PONG');
  }
  assert.ok(session.client.connected);
  const queue = await session.subscribe('/topic/beat');
  await session.publish('/topic/beat', 'alive');
  assert.equal((await queue.next('the message')).body, 'alive');
  await session.end();
});

test('a transaction is sent at commit, in order, or not at all', () =>
  withSessions(['alice'], async (alice) => {
    const queue = await alice.subscribe('/topic/transactions');
    const destination = '/topic/transactions';
    const kept = alice.client.begin();
    const dropped = alice.client.begin();
    for (const body of ['1', '2']) {
      alice.client.publish({ destination, body, headers: { transaction: kept.id } });
      alice.client.publish({ destination, body: 'no', headers: { transaction: dropped.id } });
    }
    await alice.publish(destination, 'outside');
    kept.commit();
    dropped.abort();
    await alice.publish(destination, 'after');
    for (const body of ['outside', '1', '2', 'after']) {
      assert.equal((await queue.next(body)).body, body);
    }
    assert.deepEqual(queue.rest, []);
  }));

test('a pattern and an exact subscription each get one', () =>
  withSessions(['alice'], async (alice) => {
    const pattern = await alice.subscribe('/topic/pattern.test/**');
    const exact = await alice.subscribe('/topic/pattern.test/a');
    await alice.publish('/topic/pattern.test/a', 'both');
    await alice.publish('/topic/pattern.test/b/c', 'pattern');
    for (const queue of [pattern, exact]) {
      const message = await queue.next('the message for both');
      assert.equal(message.body, 'both');
      assert.equal(message.headers.destination, '/topic/pattern.test/a');
    }
    assert.equal((await pattern.next('the other one')).body, 'pattern');
    assert.deepEqual([pattern.rest, exact.rest], [[], []]);
  }));

test('a refused SEND is reported and the connection goes on', () =>
  withSessions(['alice'], async (alice) => {
    const notices = await alice.subscribe('/user/queue/errors');
    for (const destination of ['/nowhere', '/app/unknown', '/topic/server.events']) {
      alice.client.publish({ destination, body: 'x' });
      const notice = await notices.next('the notice');
      assert.ok(notice.headers.code, JSON.stringify(notice.headers));
      assert.ok(notice.body.length, 'a notice says why');

      alice.client.publish({ destination, body: 'x', headers: { receipt: 'refused' } });
      const error = await alice.errors.next('the ERROR');
      assert.equal(error.headers['receipt-id'], 'refused');
      assert.ok(error.headers.message);
      assert.equal((await notices.next('the notice')).headers['receipt-id'], 'refused');
    }
    const queue = await alice.subscribe('/topic/afterwards');
    await alice.publish('/topic/afterwards', 'still here');
    assert.equal((await queue.next('the message')).body, 'still here');
  }));

test('older versions are spoken to those who ask for them', async () => {
  for (const version of [Versions.V1_1, Versions.V1_0]) {
    const session = await connect(server, 'old', { stompVersions: new Versions([version]) });
    assert.equal(session.client.connectedVersion, version);
    const queue = await session.subscribe('/topic/old');
    await session.publish('/topic/old', version, { headers: { plain: 'header' } });
    const message = await queue.next('the message');
    assert.equal(message.body, version);
    assert.equal(message.headers.plain, 'header');
    await session.end();
  }
});

test('acknowledging changes nothing', () =>
  withSessions(['alice'], async (alice) => {
    const queue = await alice.subscribe('/topic/ack', { ack: 'client-individual' });
    for (const body of ['1', '2', '3']) {
      await alice.publish('/topic/ack', body);
      const message = await queue.next(body);
      assert.equal(message.body, body);
      message.ack();
      message.nack();
    }
    alice.client.ack('undefined', queue.id);
    await alice.publish('/topic/ack', 'last');
    assert.equal((await queue.next('the last')).body, 'last');
  }));

test('a protocol error is an ERROR and a close the client notices', async () => {
  const session = await connect(server, 'breaker');
  session.client.publish({ destination: '', body: 'to nowhere at all' });
  const error = await session.errors.next('the ERROR');
  assert.ok(error.headers.message);
  assert.equal((await session.closes.next('the close')).code, 1002);
  await inTime(session.client.deactivate(), 'the end');
});
