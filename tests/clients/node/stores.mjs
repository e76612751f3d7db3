// The stores of a history that outlive the server: a SQLite file, and a mariadbd of our own.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { inTime } from './server.mjs';

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** A SQLite file in a folder of its own. */
export async function startSqlite() {
  const folder = await mkdtemp(join(tmpdir(), 'ringway-sqlite-'));
  const setting = `history.url=sqlite://${join(folder, 'history.db')}`;
  return { setting, stop: () => rm(folder, { recursive: true }) };
}

/** A database server that lets everybody in; ends with `stop()`. */
export async function startMariaDb() {
  const folder = await mkdtemp(join(tmpdir(), 'ringway-mariadb-'));
  const data = join(folder, 'data');
  await mkdir(data);
  await writeFile(join(folder, 'init.sql'), 'CREATE DATABASE IF NOT EXISTS ringway;\n');
  for (;;) {
    const port = await freePort();
    const flags = ['--no-defaults', '--user=root', '--bind-address=127.0.0.1',
      '--skip-grant-tables', '--innodb-buffer-pool-size=32M', `--port=${port}`,
      `--datadir=${data}`, `--socket=${join(folder, 'socket')}`,
      `--pid-file=${join(folder, 'pid')}`, `--init-file=${join(folder, 'init.sql')}`];
    const child = spawn('mariadbd', flags, { stdio: ['ignore', 'ignore', 'pipe'] });
    const exited = once(child, 'exit');
    const said = [];
    const ready = new Promise((resolve) => {
      createInterface({ input: child.stderr }).on('line', (line) => {
        said.push(line);
        if (line.includes('ready for connections')) {
          resolve(true);
        }
      });
    });
    // Somebody else may have taken the port since.
    if (!(await inTime(Promise.race([ready, exited.then(() => false)]), 'mariadbd'))) {
      if (said.some((line) => line.includes('Address already in use'))) {
        continue;
      }
      throw new Error(said.join('\n'));
    }
    const stop = async () => {
      child.kill('SIGKILL');
      await inTime(exited, 'the end of mariadbd');
      await rm(folder, { recursive: true });
    };
    return { setting: `history.url=mysql://root@127.0.0.1:${port}/ringway`, stop };
  }
}
