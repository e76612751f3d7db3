// A real browser that is told what to do over the protocol of its developer tools.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';

import { WebSocket } from 'ws';

/** How long the browser may take to start, and a page to become what is waited for. */
const PATIENCE_MS = 30_000;

/** One page of one browser. */
class Page {
  #socket;
  #stop;
  #asked = new Map();
  #askedCount = 0;
  /** What went wrong in the page. */
  faults = [];

  constructor(socket, stop) {
    this.#socket = socket;
    this.#stop = stop;
    socket.on('message', (text) => this.#take(JSON.parse(text)));
  }

  #take({ id, result, error, method, params }) {
    if (method === 'Runtime.exceptionThrown') {
      this.faults.push(params.exceptionDetails.exception?.description ?? 'an exception');
    } else if (method === 'Log.entryAdded' && params.entry.level === 'error') {
      this.faults.push(params.entry.text);
    }
    const asked = this.#asked.get(id);
    this.#asked.delete(id);
    if (error) {
      asked?.reject(new Error(error.message));
    } else {
      asked?.resolve(result);
    }
  }

  /** Calls a method of the protocol. */
  call(method, params = {}) {
    const id = ++this.#askedCount;
    return new Promise((resolve, reject) => {
      this.#asked.set(id, { resolve, reject });
      this.#socket.send(JSON.stringify({ id, method, params }));
    });
  }

  /** The value of an expression in the page. */
  async value(expression) {
    const { result, exceptionDetails } = await this.call('Runtime.evaluate', {
      expression,
      returnByValue: true,
      awaitPromise: true,
    });
    if (exceptionDetails) {
      throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    }
    return result.value;
  }

  /** Waits until the page says that `expression` is true. */
  async until(expression) {
    for (const end = Date.now() + PATIENCE_MS; !(await this.value(`Boolean(${expression})`)); ) {
      if (end < Date.now()) {
        const shown = await this.value('document.body.innerText');
        throw new Error(`not so in time: ${expression}\n${shown}`);
      }
      await this.value('new Promise((resolve) => setTimeout(resolve, 50))');
    }
  }

  /** Shows the page so wide, and in this colour scheme. */
  async look(width, height, scheme) {
    const metrics = { width, height, deviceScaleFactor: 1, mobile: width < 600 };
    await this.call('Emulation.setDeviceMetricsOverride', metrics);
    const features = [{ name: 'prefers-color-scheme', value: scheme }];
    await this.call('Emulation.setEmulatedMedia', { features });
  }

  /** A picture of the whole page, as PNG. */
  async picture() {
    const { data } = await this.call('Page.captureScreenshot', { captureBeyondViewport: true });
    return Buffer.from(data, 'base64');
  }

  close() {
    this.#socket.terminate();
    return this.#stop();
  }
}

/** Opens a page in a browser of its own. */
export async function openPage(url) {
  const profile = await mkdtemp(path.join(tmpdir(), 'browser-'));
  const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--remote-debugging-port=0'];
  const child = spawn('chromium', [...flags, `--user-data-dir=${profile}`, 'about:blank'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const ended = once(child, 'exit');
  const stop = async () => {
    child.kill('SIGKILL');
    await ended;
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  };
  const late = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
  try {
    let port;
    for await (const line of createInterface({ input: child.stderr })) {
      port = /DevTools listening on ws:\/\/127\.0\.0\.1:(\d+)\//.exec(line)?.[1];
      if (port) {
        break;
      }
    }
    // What else it says is of no interest, and must not fill the pipe.
    child.stderr.resume();
    const targets = await (await fetch(`http://127.0.0.1:${port}/json/list`)).json();
    const target = targets.find((it) => it.type === 'page');
    const socket = new WebSocket(target.webSocketDebuggerUrl, { perMessageDeflate: false });
    await once(socket, 'open');
    const page = new Page(socket, stop);
    for (const domain of ['Runtime', 'Log', 'Page']) {
      await page.call(`${domain}.enable`);
    }
    await page.call('Page.navigate', { url });
    return page;
  } catch (error) {
    await stop();
    throw error;
  } finally {
    clearTimeout(late);
  }
}
