// @stomp/stompjs, unmodified, where tokens are needed: let in, warned, renewed, cut off.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { makeToken, startServer } from './server.mjs';
import { connect, refused } from './stompjs-client.mjs';

const SECRET = 'auth.jwt.secret=0123456789abcdef0123456789abcdef';
const LIFE_SECONDS = 6;

const tokenOf = (user, seconds) =>
  makeToken('--set', SECRET, '--user', user, '--expires-in', String(seconds));

const bearer = (token) => ({ Authorization: `Bearer ${token}` });

let server;
before(async () => {
  server = await startServer(SECRET, 'auth.jwt.leeway=0');
});
after(() => server?.stop());

test('a client is who its token says, whatever its login', async () => {
  const connectHeaders = { login: 'eve', ...bearer(tokenOf('alice', 60)) };
  const session = await connect(server, 'alice', { connectHeaders });
  assert.equal(session.connected.headers['user-name'], 'alice');
  await session.end();
});

test('a client without a good token hears one ERROR and the reason in its close', async () => {
  for (const [headers, code] of [
    [{ login: 'eve' }, 1008],
    [bearer(tokenOf('eve', -1)), 4401],
  ]) {
    const { error, close } = await refused(server, headers);
    assert.ok(error.headers.message);
    assert.equal(close.code, code);
  }
});

test('a client renews its token and stays beyond the life of its first', async () => {
  const connectHeaders = bearer(tokenOf('bob', LIFE_SECONDS));
  const session = await connect(server, 'bob', { connectHeaders });
  const notices = await session.subscribe('/user/queue/_session');
  const began = Date.now();
  const notice = await notices.next('the warning');
  assert.equal(notice.headers.event, 'token-expires');
  const { renewAt } = JSON.parse(notice.body);
  assert.equal(renewAt, '/app/_session/token');
  await session.publish(renewAt, '', { headers: bearer(tokenOf('bob', 3600)) });
  // Heard by another session, so that it is known to be late: the first token is over by then.
  const short = await connect(server, 'carol', {
    connectHeaders: bearer(tokenOf('carol', LIFE_SECONDS)),
  });
  const cut = await short.closes.next('the end of a token that nobody renews');
  assert.equal(cut.code, 4401);
  assert.ok(LIFE_SECONDS * 1000 <= Date.now() - began + 1000);
  const room = await session.subscribe('/topic/room.1');
  await session.publish('/app/room.1', 'still here');
  assert.equal((await room.next('the own message')).body, 'still here');
  assert.deepEqual(session.closes.rest, []);
  await session.end();
});
