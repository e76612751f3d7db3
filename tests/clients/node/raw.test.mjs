// The `ws` package alone, and frames written by hand: what no STOMP library would send, or hides.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { WebSocket } from 'ws';

import { Queue, inTime, startServer } from './server.mjs';

let server;
before(async () => {
  server = await startServer();
});
after(() => server?.stop());

/** Upgrades with `protocols`; what arrives is queued as `{ data, isBinary }`. */
async function open(protocols = [], options = {}) {
  const socket = new WebSocket(server.url, protocols, options);
  socket.received = new Queue();
  socket.ended = new Promise((resolve) => {
    socket.on('close', (code) => resolve(code));
  });
  socket.on('message', (data, isBinary) => socket.received.push({ data, isBinary }));
  const opened = new Promise((resolve, reject) => {
    socket.on('open', resolve);
    socket.on('error', reject);
  });
  await inTime(opened, 'the upgrade');
  return socket;
}

/** The next frame as command, headers and body. */
async function frame(socket) {
  const { data } = await socket.received.next('a frame');
  const text = data.toString();
  assert.ok(text.endsWith('\0'), JSON.stringify(text));
  const end = text.indexOf('\n\n');
  const [command, ...lines] = text.slice(0, end).split('\n');
  const headers = Object.fromEntries(lines.map((line) => line.split(/:(.*)/s)));
  return { command, headers, body: text.slice(end + 2, -1) };
}

async function close(socket) {
  socket.close();
  await inTime(socket.ended, 'the end of the connection');
}

for (const [offered, version] of [
  ['1.0,1.1,1.2', '1.2'],
  ['1.1,1.0', '1.1'],
  ['1.0', '1.0'],
  [undefined, '1.0'],
]) {
  test(`accept-version ${offered} is answered with ${version}`, async () => {
    const socket = await open();
    const header = offered ? `accept-version:${offered}\n` : '';
    socket.send(`CONNECT\n${header}\n\0`);
    const connected = await frame(socket);
    assert.equal(connected.command, 'CONNECTED');
    assert.equal(connected.headers.version, version);
    await close(socket);
  });
}

test('an unknown version is an ERROR that names ours, then 1002', async () => {
  const socket = await open();
  socket.send('CONNECT\naccept-version:9.9\n\n\0');
  const error = await frame(socket);
  assert.equal(error.command, 'ERROR');
  assert.deepEqual(error.headers.version.split(',').sort(), ['1.0', '1.1', '1.2']);
  assert.equal(await inTime(socket.ended, 'the close'), 1002);
});

test('the first sub-protocol we know is chosen, and none is needed', async () => {
  for (const [offered, chosen] of [
    [['v12.stomp', 'v11.stomp'], 'v12.stomp'],
    [['mqtt', 'v10.stomp', 'v12.stomp'], 'v10.stomp'],
    [[], ''],
  ]) {
    const socket = await open(offered);
    assert.equal(socket.protocol, chosen);
    await close(socket);
  }
});

test('an offer of compression is not taken up yet, and harms nothing', async () => {
  const socket = await open([], { perMessageDeflate: true });
  assert.equal(socket.extensions, '');
  socket.send('CONNECT\naccept-version:1.2\n\n\0');
  assert.equal((await frame(socket)).command, 'CONNECTED');
  await close(socket);
});

test('a foreign origin is refused with 403', async () => {
  const refused = open([], { origin: 'http://elsewhere.test' });
  await assert.rejects(refused, /403/);
});

test('one message holds one frame, text as text and other bytes as binary', async () => {
  const socket = await open();
  socket.send('CONNECT\naccept-version:1.2\n\n\0');
  assert.equal((await frame(socket)).command, 'CONNECTED');
  socket.send('SUBSCRIBE\nid:s\ndestination:/topic/raw\nreceipt:1\n\n\0');
  assert.equal((await frame(socket)).headers['receipt-id'], '1');
  // Three frames in one message, the middle one not UTF-8, the whole thus in binary.
  const send = Buffer.from('SEND\ndestination:/topic/raw\n\n');
  const bodies = [Buffer.from('text'), Buffer.from([0xff, 0xfe]), Buffer.from('')];
  socket.send(Buffer.concat(bodies.flatMap((body) => [send, body, Buffer.from([0])])));
  for (const body of bodies) {
    const { data, isBinary } = await socket.received.next('a message');
    const start = data.indexOf('\n\n') + 2;
    assert.deepEqual(data.subarray(start, start + body.length), body);
    assert.equal(data.length, start + body.length + 1);
    assert.equal(isBinary, body === bodies[1]);
  }
  await close(socket);
});
