"""A task's size under load: 15,000 subscribed connections, fan-out, one in ten stops reading.

`./test capacity` runs it on a quiet machine. The server is the image, within 1 CPU and 2 GiB and
with the limits of the task; the load client shares its network and nothing else. What holds: no
healthy connection is lost, each gets every message, those that do not read are closed as slow
consumers, and the memory limit is not met.
"""

import json
import os
import re
import subprocess
import time
import unittest
from pathlib import Path

import image_test
from support import WORK

CONNECTIONS = int(os.environ.get('CAPACITY_CONNECTIONS', '15000'))
SLOW_SHARE = 0.1
RATE = 2
SECONDS = 60
PAYLOAD_BYTES = 1024


class Capacity(image_test.Containers):
    def test_fifteen_thousand_connections_in_one_task(self):
        name = self.start(['--env', f'RINGWAY_LIMITS_CONNECTIONS={CONNECTIONS + 1000}'])
        try:
            self.wait_until_healthy(name)
            pid = image_test.podman('inspect', '--format', '{{.State.Pid}}', name)
            self.load(pid)
            self.assertEqual(
                image_test.podman('inspect', '--format', '{{.State.OOMKilled}}', name), 'false')
            image_test.podman('stop', '--time', 120, name, timeout=150)
            self.assertEqual(
                image_test.podman('inspect', '--format', '{{.State.ExitCode}}', name), '0')
        finally:
            image_test.podman('rm', '--force', '--time', 1, name)

    def load(self, pid):
        record = WORK / 'capacity.json'
        record.unlink(missing_ok=True)
        slow = int(CONNECTIONS * SLOW_SHARE)
        scenario = WORK / 'capacity.toml'
        # Users with tokens send to routes only.
        scenario.write_text("scenario = 'slow'\nsubscribe = '/topic/room.{room}'\n"
                            "send = '/app/room.{room}'\n")
        bench = subprocess.Popen(
            ['nsenter', '--target', pid, '--net', os.environ['BENCH_BIN'], 'run', scenario,
             '--url', 'ws://127.0.0.1:8080/ws', '--server-pid', pid,
             '--connections', str(CONNECTIONS), '--slow-share', str(SLOW_SHARE),
             '--jwt-secret', image_test.JWT_SECRET,
             '--jwt-claims', '{"sub":"user-{n}","exp":{exp}}',
             '--rate', str(RATE), '--seconds', str(SECONDS), '--payload', str(PAYLOAD_BYTES),
             '--json', str(record)],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        most, closed, memory = 0, 0, 0
        deadline = time.monotonic() + 900
        group = self.memory_group(pid)
        while bench.poll() is None and time.monotonic() < deadline:
            metrics = self.metrics(pid)
            most = max(most, metrics['websocket_connections_active'])
            closed = metrics['websocket_slow_consumers_total']
            memory = max(memory, int((group / 'memory.usage_in_bytes').read_text()))
            time.sleep(1)
        said, _ = bench.communicate(timeout=60)
        print(f'\n{said}\nat most {most:.0f} connections, {closed:.0f} slow consumers closed, '
              f'{memory / 2**20:.0f} MiB at most')
        self.assertEqual(bench.returncode, 0, 'a healthy client missed a message or its connection')
        self.assertTrue(json.loads(record.read_text()))
        self.assertGreaterEqual(most, CONNECTIONS)
        # Those that do not read, and no others.
        self.assertGreaterEqual(closed, slow * 0.99)
        self.assertLessEqual(closed, slow)
        self.assertLess(memory, int(self.task['memory']) * 2**20)

    def memory_group(self, pid):
        for line in Path(f'/proc/{pid}/cgroup').read_text().splitlines():
            _, names, path = line.split(':', 2)
            if 'memory' in names.split(','):
                return Path('/sys/fs/cgroup/memory') / path.lstrip('/')
        self.fail('no control group of memory')

    def metrics(self, pid):
        """Each series, summed over its labels."""
        page = image_test.run('nsenter', '--target', pid, '--net', 'curl', '--silent', '--fail',
                              '--max-time', '10', 'http://127.0.0.1:9090/metrics')
        found = {}
        for name, value in re.findall(r'^(\w+)(?:\{[^}]*\})? (\S+)$', page, re.M):
            found[name] = found.get(name, 0) + float(value)
        return found


if __name__ == '__main__':
    unittest.main()
