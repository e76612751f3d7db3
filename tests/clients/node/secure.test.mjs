// @stomp/stompjs over wss, with a CA of our own that is made for the test.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { WebSocket } from 'ws';

import { Queue, inTime, startServer } from './server.mjs';
import { connect } from './stompjs-client.mjs';

let folder;
let ca;
let server;

/** Makes a certificate for this host, signed by a CA made before it. */
function makeCertificates() {
  const openssl = (...words) => execFileSync('openssl', words, { cwd: folder, stdio: 'pipe' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const req = (...words) => openssl('req', ...key, ...words);
  req('-x509', '-days', '2', '-subj', '/CN=Test CA', '-keyout', 'ca.key', '-out', 'ca.pem');
  req('-subj', '/CN=Test server', '-keyout', 'server.key', '-out', 'server.csr');
  writeFileSync(join(folder, 'names'), 'subjectAltName = IP:127.0.0.1\n');
  const signer = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'names'];
  openssl('x509', '-req', '-days', '2', '-in', 'server.csr', ...signer, '-out', 'server.pem');
}

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ringway-tls-'));
  makeCertificates();
  ca = readFileSync(join(folder, 'ca.pem'));
  const [cert, key] = ['server.pem', 'server.key'].map((file) => join(folder, file));
  server = await startServer(`tls.cert=${cert}`, `tls.key=${key}`);
  server.socketOptions = { ca };
});
after(async () => {
  await server?.stop();
  rmSync(folder, { recursive: true });
});

test('two clients chat through a room over wss', async () => {
  assert.match(server.url, /^wss:/);
  const [alice, bob] = await Promise.all(['alice', 'bob'].map((login) => connect(server, login)));
  const heard = await bob.subscribe('/topic/room.1');
  for (const body of ['hello bob', 'x'.repeat(50_000), '']) {
    await alice.publish('/app/room.1', body);
    assert.equal((await heard.next('the message')).body, body);
  }
  await Promise.all([alice, bob].map((session) => session.end()));
  const [full, resumed, failed] = await server.samples('websocket_tls_handshakes_total');
  assert.deepEqual([full + resumed, failed], [2, 0]);
});

test('a client that does not know the CA does not come in', async () => {
  const errors = new Queue();
  const socket = new WebSocket(server.url, ['v12.stomp']);
  socket.on('error', (error) => errors.push(error));
  const error = await inTime(errors.next('an error'), 'an error');
  assert.match(error.message, /unable to verify|self.signed|issuer/);
});
