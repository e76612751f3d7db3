// Starts a redis-server for a file of tests, on a free port and in a folder of its own.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

import { inTime } from './server.mjs';

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** Starts one and waits until it accepts; ends with `stop()`. */
export async function startRedis() {
  const folder = await mkdtemp(join(tmpdir(), 'ringway-redis-'));
  for (;;) {
    const port = await freePort();
    const flags = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', folder];
    const child = spawn('redis-server', flags, { stdio: ['ignore', 'pipe', 'inherit'] });
    const exited = once(child, 'exit');
    const said = [];
    const ready = new Promise((resolve) => {
      createInterface({ input: child.stdout }).on('line', (line) => {
        said.push(line);
        if (line.includes('Ready to accept connections')) {
          resolve(true);
        }
      });
    });
    // Somebody else may have taken the port since.
    if (!(await inTime(Promise.race([ready, exited.then(() => false)]), 'redis-server'))) {
      if (said.some((line) => line.includes('Address already in use'))) {
        continue;
      }
      throw new Error(said.join('\n'));
    }
    const run = promisify(execFile);
    /** Runs one command as `redis-cli` does. */
    const cli = async (...words) => {
      const { stdout } = await run('redis-cli', ['-p', String(port), ...words]);
      return stdout.trim();
    };
    const stop = async () => {
      child.kill('SIGKILL');
      await inTime(exited, 'the end of redis-server');
      await rm(folder, { recursive: true });
    };
    return { setting: `relay.url=redis://127.0.0.1:${port}`, cli, stop };
  }
}
