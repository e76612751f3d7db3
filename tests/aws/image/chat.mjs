// Two stompjs clients that meet in a container: they chat, then wait until the server ends.
//   TOKEN_OF_ALICE=… TOKEN_OF_BOB=… node chat.mjs URL ADMIN_URL
// prints a line of JSON when they have chatted, and one when both are closed.

import assert from 'node:assert/strict';

import { inTime } from '../../clients/node/server.mjs';
import { connect } from '../../clients/node/stompjs-client.mjs';

const [url, admin] = process.argv.slice(2);

const health = await (await fetch(new URL('/actuator/health', admin))).json();
assert.equal(health.status, 'UP');

// The session is the token's, not the login's.
const connectAs = (user) => {
  const token = process.env[`TOKEN_OF_${user.toUpperCase()}`];
  return connect({ url }, user, { connectHeaders: { Authorization: `Bearer ${token}` } });
};
const [alice, bob] = await Promise.all(['alice', 'bob'].map(connectAs));
const room = await alice.subscribe('/topic/room.image');
const own = await alice.subscribe('/user/queue/private');
await bob.publish('/app/room.image', 'hello, room');
await bob.publish('/app/private.alice', 'hello, alice');
assert.equal((await room.next('the message of the room')).body, 'hello, room');
assert.equal((await own.next('the private message')).body, 'hello, alice');
console.log(JSON.stringify({ chatted: true, ...health.details }));

const closes = await inTime(
  Promise.all([alice, bob].map((session) => session.closes.next('a close'))),
  'the closes at the end of the server',
);
console.log(JSON.stringify({ closes: closes.map((event) => event.code) }));
