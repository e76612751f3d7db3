// Two further libraries: @stomp/rx-stomp, and webstomp-client of the older generation.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { RxStomp } from '@stomp/rx-stomp';
import webstomp from 'webstomp-client';
import { WebSocket } from 'ws';

import { Queue, inTime, startServer } from './server.mjs';

let server;
before(async () => {
  server = await startServer();
});
after(() => server?.stop());

test('rx-stomp watches, publishes and is receipted', async () => {
  const stomp = new RxStomp();
  stomp.configure({
    webSocketFactory: () => new WebSocket(server.url),
    connectHeaders: { login: 'rx' },
    reconnectDelay: 0,
    heartbeatIncoming: 1_000,
    heartbeatOutgoing: 1_000,
  });
  stomp.activate();
  const queue = new Queue();
  const subscribed = stomp.asyncReceipt('subscribed');
  const watched = stomp
    .watch({ destination: '/topic/rx', subHeaders: { receipt: 'subscribed' } })
    .subscribe((message) => queue.push(message));
  await inTime(subscribed, 'the receipt of SUBSCRIBE');
  const sent = stomp.asyncReceipt('sent');
  stomp.publish({ destination: '/topic/rx', body: 'observed', headers: { receipt: 'sent' } });
  await inTime(sent, 'the receipt of SEND');
  assert.equal((await queue.next('the message')).body, 'observed');
  watched.unsubscribe();
  await inTime(stomp.deactivate(), 'the end of the session');
});

test('webstomp-client connects, hears itself and leaves without a receipt', async () => {
  const socket = new WebSocket(server.url);
  const ended = new Promise((resolve) => {
    socket.on('close', (code) => resolve(code));
  });
  const client = webstomp.over(socket, { debug: false, heartbeat: false });
  const connected = new Promise((resolve, reject) => {
    client.connect({ login: 'old' }, resolve, reject);
  });
  const frame = await inTime(connected, 'CONNECTED');
  assert.ok(['1.1', '1.2'].includes(frame.headers.version), frame.headers.version);
  const queue = new Queue();
  const receipts = new Queue();
  client.onreceipt = (receipt) => receipts.push(receipt);
  client.subscribe('/topic/old', (message) => queue.push(message), { receipt: 'subscribed' });
  assert.equal((await receipts.next('the receipt')).headers['receipt-id'], 'subscribed');
  client.send('/topic/old', 'plain old text', { 'x-colon': 'a' });
  const message = await queue.next('the message');
  assert.equal(message.body, 'plain old text');
  assert.equal(message.headers['x-colon'], 'a');
  client.disconnect();
  // It closes right behind its DISCONNECT: whose close frame is first is open.
  assert.ok([1000, 1005].includes(await inTime(ended, 'the close')));
});
