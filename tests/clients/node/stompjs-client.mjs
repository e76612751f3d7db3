// A @stomp/stompjs client whose callbacks have become queues.

import { Client } from '@stomp/stompjs';
import { WebSocket } from 'ws';

import { Queue, inTime } from './server.mjs';

const protocols = ['v12.stomp', 'v11.stomp', 'v10.stomp'];

/** Connects as `login`; `options` go to the client as they are. */
export async function connect(server, login, options = {}) {
  const client = new Client({
    webSocketFactory: () => new WebSocket(server.url, protocols, server.socketOptions),
    connectHeaders: { login },
    reconnectDelay: 0,
    heartbeatIncoming: 0,
    heartbeatOutgoing: 0,
    ...options,
  });
  const session = new Session(client);
  client.onStompError = (frame) => session.errors.push(frame);
  client.onWebSocketClose = (event) => session.closes.push(event);
  const connected = new Promise((resolve) => {
    client.onConnect = resolve;
  });
  client.activate();
  session.connected = await inTime(connected, `CONNECTED for ${login}`);
  return session;
}

/** Connects with headers for which it is refused: the ERROR, and the event of the close. */
export async function refused(server, connectHeaders) {
  const client = new Client({
    webSocketFactory: () => new WebSocket(server.url, ['v12.stomp']),
    connectHeaders,
    reconnectDelay: 0,
  });
  const errors = new Queue();
  const closes = new Queue();
  client.onStompError = (frame) => errors.push(frame);
  client.onWebSocketClose = (event) => closes.push(event);
  client.activate();
  const answer = {
    error: await errors.next('the ERROR'),
    close: await closes.next('the close'),
  };
  await client.deactivate();
  return answer;
}

let receiptsCount = 0;

/** What a test does with a connected client. */
export class Session {
  /** The CONNECTED frame. */
  connected;
  errors = new Queue();
  closes = new Queue();

  constructor(client) {
    this.client = client;
  }

  /** Does `action` with a receipt header of its own, and waits for that receipt. */
  async receipted(action) {
    const receipt = `receipt-${++receiptsCount}`;
    const watched = new Promise((resolve) => this.client.watchForReceipt(receipt, resolve));
    action({ receipt });
    return inTime(watched, `the receipt ${receipt}`);
  }

  /** Subscribes and waits for the receipt; the queue it returns can also `unsubscribe`. */
  async subscribe(destination, headers = {}) {
    const queue = new Queue();
    await this.receipted((receipt) => {
      const all = { ...headers, ...receipt };
      const subscription = this.client.subscribe(destination, (it) => queue.push(it), all);
      queue.id = subscription.id;
      queue.unsubscribe = () => this.receipted((more) => subscription.unsubscribe(more));
    });
    return queue;
  }

  /** Publishes and waits for the receipt. */
  async publish(destination, body, more = {}) {
    return this.receipted((receipt) => {
      const headers = { ...more.headers, ...receipt };
      this.client.publish({ destination, body, ...more, headers });
    });
  }

  /** Disconnects as the library does, with DISCONNECT and its receipt. */
  async end() {
    await inTime(this.client.deactivate(), 'the end of the session');
  }
}
