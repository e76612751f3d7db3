// Starts the real server for a file of tests; waits for events with a deadline, never sleeps.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** How long a test waits for what must come. */
export const PATIENCE_MS = 20_000;

/** Settles as `promise` does, or fails after the time that every wait here has. */
export async function inTime(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), PATIENCE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** What came and was not asked for yet, and who asked and was not answered yet. */
export class Queue {
  #items = [];
  #waiting = [];

  push(item) {
    const next = this.#waiting.shift();
    if (next) {
      next(item);
    } else {
      this.#items.push(item);
    }
  }

  /** The oldest item, or the next to come. */
  async next(what = 'the next item') {
    if (0 < this.#items.length) {
      return this.#items.shift();
    }
    return inTime(new Promise((resolve) => this.#waiting.push(resolve)), what);
  }

  /** What has come and was not taken. */
  get rest() {
    return [...this.#items];
  }
}

function setting(name) {
  const value = process.env[name];
  assert.ok(value, `${name} must be set: run these through ./test clients`);
  return value;
}

/** A token that `ringway token` makes with these arguments. */
export function makeToken(...args) {
  const binary = setting('EDGE_BIN');
  return execFileSync(binary, ['token', ...args], { stdio: ['ignore', 'pipe', 'ignore'] })
    .toString()
    .trim();
}

/** Starts a server as the environment asks; ends with `stop()`, which asserts a clean exit. */
export async function startServer(...settings) {
  const driver = setting('EDGE_DRIVER');
  const flags = ['--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0', '--driver', driver];
  flags.push('--cores', setting('EDGE_CORES'), ...settings.flatMap((it) => ['--set', it]));
  const child = spawn(setting('EDGE_BIN'), flags, { stdio: ['ignore', 'pipe', 'pipe'] });
  const said = [];
  const exited = once(child, 'exit');

  const addresses = new Promise((resolve, reject) => {
    const found = {};
    const read = (line) => {
      said.push(line);
      const [, url] = /listening on (wss?:\S+)/.exec(line) ?? [];
      const [, admin] = /admin on (http:\S+)/.exec(line) ?? [];
      found.url ??= url;
      found.admin ??= admin;
      if (found.url && found.admin) {
        resolve(found);
      }
    };
    createInterface({ input: child.stdout }).on('line', read);
    createInterface({ input: child.stderr }).on('line', read);
    child.on('error', reject);
    exited.then(([code]) => reject(new Error(`exit ${code} at start:\n${said.join('\n')}`)));
  });
  const { url, admin } = await inTime(addresses, 'the two announcements');
  const health = await (await fetch(new URL('/actuator/health', admin))).json();
  assert.equal(health.details.driver, driver, 'the driver that runs is not the one asked for');

  /** The figures of the series called `name`, one per set of labels. */
  const samples = async (name) => {
    const page = await (await fetch(new URL('/metrics', admin))).text();
    const lines = page.split('\n').filter((line) => /^[{ ]/.test(line.slice(name.length)));
    const own = lines.filter((line) => line.startsWith(name));
    return own.map((line) => Number(line.split(' ').at(-1)));
  };
  const stop = async () => {
    child.kill('SIGTERM');
    const [code, signal] = await inTime(exited, 'the end of the server');
    assert.equal(code, 0, `exit ${code ?? signal}:\n${said.join('\n')}`);
  };
  return { url, admin, samples, stop, child, exited, said };
}
