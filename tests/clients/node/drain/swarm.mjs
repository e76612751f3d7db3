// A process of stompjs clients that go on sending while their server drains, and connect to the
// next one when they are told. Started by drain.test.mjs, which it talks to by messages.

import { setTimeout as delay } from 'node:timers/promises';

import { Client } from '@stomp/stompjs';
import { WebSocket } from 'ws';

const protocols = ['v12.stomp', 'v11.stomp', 'v10.stomp'];
/** Handshakes under way at once. */
const OPENING_MAX = 64;

const [urls, first, count, rooms, pauseMs] = JSON.parse(process.argv[2]);
/** What was sent and answered with a RECEIPT. */
const receipted = [];
const closes = [];
const faults = [];
let noticesCount = 0;
let movedCount = 0;
let isSending = false;
let pendingCount = 0;

class Member {
  #number;
  #reconnectMs = 0;
  #closesCount = 0;
  #sentCount = 0;
  #pending = new Set();

  constructor(number) {
    this.#number = number;
    this.client = new Client({
      // A balancer would do this: whoever was closed once comes to the other server.
      webSocketFactory: () => new WebSocket(urls[Math.min(this.#closesCount, 1)], protocols),
      beforeConnect: () => delay(this.#reconnectMs),
      connectHeaders: { login: `user-${number}` },
      reconnectDelay: 1,
      heartbeatIncoming: 0,
      heartbeatOutgoing: 0,
    });
    this.client.onStompError = (frame) => faults.push(`${frame.headers.message}: ${frame.body}`);
    this.client.onWebSocketClose = (event) => this.#closed(event);
  }

  /** Resolves when it is connected for the first time. */
  open() {
    return new Promise((resolve) => {
      this.client.onConnect = () => {
        this.client.subscribe('/topic/server.events', () => noticesCount++);
        if (this.#closesCount === 1) {
          movedCount++;
        }
        resolve();
      };
      this.client.activate();
    });
  }

  #closed({ code, reason }) {
    this.#closesCount++;
    // Nobody knows what became of these: they had no RECEIPT.
    pendingCount -= this.#pending.size;
    this.#pending.clear();
    this.#reconnectMs = Number(/; reconnect in (\d+) ms$/.exec(reason)?.[1] ?? Number.NaN);
    closes.push({ at: Date.now(), code, reconnectMs: this.#reconnectMs });
  }

  send() {
    if (!this.client.connected) {
      return;
    }
    const body = `${this.#number} ${this.#sentCount++}`;
    this.client.watchForReceipt(body, () => {
      if (this.#pending.delete(body)) {
        pendingCount--;
        receipted.push(body);
      }
    });
    this.#pending.add(body);
    pendingCount++;
    const destination = `/app/room.drain-${this.#number % rooms}`;
    this.client.publish({ destination, body, headers: { receipt: body } });
  }
}

const members = Array.from({ length: count }, (_, index) => new Member(first + index));

async function openAll() {
  const waiting = [...members];
  const lane = async () => {
    for (let member = waiting.pop(); member; member = waiting.pop()) {
      await member.open();
    }
  };
  await Promise.all(Array.from({ length: OPENING_MAX }, lane));
}

/** Everybody in turn, so that all send once in the pause. */
async function sendAll() {
  const began = performance.now();
  for (let sent = 0; isSending; ) {
    const due = ((performance.now() - began) / pauseMs) * count;
    for (; sent < due; sent++) {
      members[sent % count].send();
    }
    await delay(5);
  }
}

process.on('message', async (word) => {
  if (word === 'open') {
    await openAll();
    process.send({ open: true });
  } else if (word === 'send') {
    isSending = true;
    await sendAll();
  } else if (word === 'count') {
    process.send({ moved: movedCount, closed: closes.length });
  } else if (word === 'end') {
    isSending = false;
    while (0 < pendingCount) {
      await delay(5);
    }
    process.send({ receipted, closes, faults, noticesCount }, () => process.exit(0));
  }
});
process.on('disconnect', () => process.exit(1));
