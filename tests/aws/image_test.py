"""The real Dockerfile, built without a registry; the image, run as the task definition says.

The base images are made of Debian's packages and carry the names that the Dockerfile asks for, in a
storage of our own. The toolchain and the crates are the host's. Containers have no network but
their own loopback; the clients enter it.
"""

import hashlib
import json
import os
import re
import resource
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from support import MODULE, ROOT, WORK

STORAGE = WORK / 'containers'
DOCKERFILE = (ROOT / 'Dockerfile').read_text()
BUILD_IMAGE = re.search(r'^ARG BUILD_IMAGE=(\S+)', DOCKERFILE, re.M).group(1)
RUNTIME_IMAGE = re.search(r'^ARG RUNTIME_IMAGE=(\S+)', DOCKERFILE, re.M).group(1)
IMAGE = 'localhost/ringway:test'
SIZE_MIB_MAX = 60
JWT_SECRET = 'only-for-this-test-only-for-this-test'

# What mmdebstrap puts into each base, and what the real one says of itself.
BASES = {
    BUILD_IMAGE: (['--variant=minbase', '--include=gcc,libc6-dev,make,ca-certificates'], [
        'ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        'ENV CARGO_HOME=/usr/local/cargo']),
    RUNTIME_IMAGE: (['--variant=extract', '--include=base-files,ca-certificates,libc6,libgcc-s1'], [
        'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'USER 65532']),
}
# io_uring as Docker since 25.0 and Fargate deny it.
DENIED = {'defaultAction': 'SCMP_ACT_ALLOW', 'syscalls': [{
    'names': ['io_uring_setup', 'io_uring_enter', 'io_uring_register'],
    'action': 'SCMP_ACT_ERRNO', 'errnoRet': 1}]}


def run(*words, timeout=600, **more):
    done = subprocess.run([str(it) for it in words], text=True, timeout=timeout,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
    if done.returncode != 0:
        raise AssertionError(f'{" ".join(map(str, words))}: exit code {done.returncode}\n'
                             f'{done.stdout}{done.stderr}')
    return done.stdout.strip()


def stored(tool, *words, **more):
    return run(tool, '--root', STORAGE, '--runroot', WORK / 'containers-run', *words, **more)


def podman(*words, **more):
    return stored('podman', '--runtime', 'runc', '--cgroup-manager', 'cgroupfs', *words, **more)


def make_base(name, options, changes):
    images = json.loads(podman('images', '--format', 'json'))
    # A base lasts until what it is made of changes.
    recipe = hashlib.sha256(json.dumps([options, changes]).encode()).hexdigest()
    for image in images:
        labels = image.get('Labels') or {}
        if name in (image.get('Names') or []) and labels.get('recipe') == recipe:
            return
    archive = WORK / 'base.tar'
    run('mmdebstrap', '--quiet', *options, 'bookworm', archive)
    flags = [flag for change in changes for flag in ('--change', change)]
    podman('import', *flags, '--change', f'LABEL recipe={recipe}', archive, name)
    archive.unlink()


def build():
    for name, (options, changes) in BASES.items():
        make_base(name, options, changes)
    sysroot = run('rustc', '--print', 'sysroot', cwd=ROOT)
    cargo = Path(os.environ.get('CARGO_HOME', Path.home() / '.cargo'))
    (cargo / 'registry').mkdir(parents=True, exist_ok=True)
    stored('buildah', 'bud', '--isolation', 'chroot', '--pull-never', '--layers',
           '--format', 'docker', '--tag', IMAGE,
           '--build-arg', 'VERSION=0.1.0', '--build-arg', 'REVISION=test',
           '--volume', f'{sysroot}:/usr/local/rust:ro',
           '--volume', f'{cargo / "registry"}:/usr/local/cargo/registry',
           '--volume', '/etc/ssl/certs:/etc/ssl/certs:ro',
           '--volume', '/etc/resolv.conf:/etc/resolv.conf:ro',
           ROOT, timeout=2400)


class Containers(unittest.TestCase):
    """Has the image, and runs it."""

    @classmethod
    def setUpClass(cls):
        build()
        cls.config = json.loads(podman('inspect', IMAGE))[0]
        task = json.loads((MODULE / 'ecs-task-definition.json').read_text())
        cls.task, cls.container = task, task['containerDefinitions'][0]

    def start(self, options):
        """A container like the task: non-root, read-only, 1 CPU, 2 GiB, its kernel settings."""
        name = f'ringway-{os.getpid()}-{time.monotonic_ns()}'
        # This machine's own limit of files may be lower than that of a task.
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        nofile = min(20000, hard, self.container['ulimits'][0]['hardLimit'])
        flags = []
        for it in self.container['systemControls']:
            flags += ['--sysctl', f'{it["namespace"]}={it["value"]}']
        # There is no Redis here, so its user is not told either.
        own = [it for it in self.container['environment'] if it['name'].startswith('RINGWAY_')
               and not it['name'].startswith('RINGWAY_RELAY_')]
        names = {option.split('=')[0] for option in options}
        environment = {it['name']: it['value'] for it in own}
        environment['RINGWAY_LIMITS_CONNECTIONS'] = str(nofile - 1000)
        # No identity provider can be reached from here: a key beside its keys, to sign tokens with.
        environment['RINGWAY_AUTH_JWT_SECRET'] = JWT_SECRET
        for key, value in environment.items():
            if key not in names:
                flags += ['--env', f'{key}={value}']
        podman('run', '--detach', '--name', name, '--network', 'none', '--read-only',
               '--read-only-tmpfs=false', '--cap-drop', 'ALL', '--security-opt',
               'no-new-privileges', '--cpus', int(self.task['cpu']) / 1024,
               '--memory', f'{self.task["memory"]}m', '--ulimit', f'nofile={nofile}:{nofile}',
               '--ulimit', 'nproc=1000:1000', *flags, *options, IMAGE)
        return name

    def wait_until_healthy(self, name):
        """By the health check of the image itself, run as an engine would."""
        deadline = time.monotonic() + 60
        while True:
            state = podman('inspect', '--format', '{{.State.Status}}', name)
            done = subprocess.run(
                ['podman', '--root', STORAGE, '--runroot', WORK / 'containers-run', '--runtime',
                 'runc', '--cgroup-manager', 'cgroupfs', 'healthcheck', 'run', name],
                capture_output=True, text=True, timeout=30)
            if done.returncode == 0:
                return
            if state != 'running' or deadline < time.monotonic():
                self.fail(f'{state}: {done.stdout}{done.stderr}')
            time.sleep(0.2)


class Image(Containers):
    def test_it_is_what_the_dockerfile_says(self):
        config = self.config['Config']
        self.assertEqual(config['User'], '65532:65532')
        self.assertEqual(config['StopSignal'], 'SIGTERM')
        self.assertEqual(config['Entrypoint'], ['/usr/local/bin/ringway'])
        self.assertEqual(config['Cmd'], ['serve'])
        self.assertEqual(config['Labels']['org.opencontainers.image.version'], '0.1.0')
        self.assertEqual(config['Labels']['org.opencontainers.image.licenses'],
                         'MIT OR Apache-2.0')
        self.assertEqual(self.config['Healthcheck']['Test'],
                         ['CMD', '/usr/local/bin/ringway', 'healthcheck'])

    def test_it_is_small_and_has_no_shell(self):
        mount = podman('image', 'mount', IMAGE)
        try:
            binary = (Path(mount) / 'usr/local/bin/ringway').stat().st_size / 2**20
            size = self.config['Size'] / 2**20
            print(f'\nimage {size:.1f} MiB, of that ringway {binary:.1f} MiB')
            self.assertLess(size, SIZE_MIB_MAX)
            for name in ('bin/sh', 'bin/bash', 'usr/bin/sh', 'usr/bin/dash', 'usr/bin/apt'):
                self.assertFalse(os.path.lexists(Path(mount) / name), name)
        finally:
            podman('image', 'unmount', IMAGE)

    def test_an_unknown_setting_is_a_start_error(self):
        done = subprocess.run(
            ['podman', '--root', STORAGE, '--runroot', WORK / 'containers-run', '--runtime', 'runc',
             '--cgroup-manager', 'cgroupfs', 'run', '--rm', '--network', 'none',
             '--ulimit', 'nofile=20000:20000', '--ulimit', 'nproc=1000:1000',
             '--env', 'RINGWAY_NO_SUCH=1', IMAGE], text=True, capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn('RINGWAY_NO_SUCH', done.stderr)

    def test_it_serves_without_a_seccomp_profile(self):
        self.serve(['--security-opt', 'seccomp=unconfined'], 'io_uring')

    def test_it_serves_with_the_engines_own_profile(self):
        self.serve([], 'epoll')

    def test_it_serves_where_io_uring_is_denied_with_eperm(self):
        with tempfile.NamedTemporaryFile('w', suffix='.json', dir=WORK) as file:
            json.dump(DENIED, file)
            file.flush()
            said = self.serve(['--security-opt', f'seccomp={file.name}'], 'epoll')
        self.assertRegex(said, 'not permitted|os error 1')

    def test_it_serves_with_the_profile_of_our_hosts(self):
        profile = MODULE / 'files/seccomp-io-uring.json'
        self.serve(['--security-opt', f'seccomp={profile}'], 'io_uring')

    def test_io_uring_that_is_asked_for_and_denied_is_a_start_error(self):
        name = self.start(['--env', 'RINGWAY_IO_DRIVER=io_uring'])
        try:
            self.assertEqual(podman('wait', name, timeout=60), '2')
        finally:
            podman('rm', '--force', name)

    def serve(self, options, driver):
        """Starts it, chats, ends it by SIGTERM; what it logged."""
        name = self.start(options)
        try:
            pid = podman('inspect', '--format', '{{.State.Pid}}', name)
            self.wait_until_healthy(name)
            self.assert_confined(pid)
            chat = subprocess.Popen(
                ['nsenter', '--target', pid, '--net', 'node', ROOT / 'tests/aws/image/chat.mjs',
                 'ws://127.0.0.1:8080/ws', 'http://127.0.0.1:9090'],
                env=os.environ | self.tokens(name), text=True, stdout=subprocess.PIPE)
            said = json.loads(chat.stdout.readline())
            self.assertTrue(said['chatted'])
            self.assertEqual(said['driver'], driver)
            podman('stop', '--time', self.container['stopTimeout'], name, timeout=150)
            self.assertEqual(podman('inspect', '--format', '{{.State.ExitCode}}', name), '0')
            closes = json.loads(chat.stdout.readline())['closes']
            chat.stdout.close()
            self.assertEqual(chat.wait(30), 0)
            # Told to go, not cut off.
            self.assertEqual(len([code for code in closes if code in (1001, 1012)]), 2, closes)
            logs = subprocess.run(
                ['podman', '--root', STORAGE, '--runroot', WORK / 'containers-run', 'logs', name],
                text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True).stdout
            print(f'\n{self.id().rsplit(".", 1)[1]}: {said["driver"]}, exit 0, closes {closes}')
            return logs
        finally:
            podman('rm', '--force', '--time', 1, name)

    def tokens(self, name):
        """What alice and bob bring, as the image itself makes it."""
        return {f'TOKEN_OF_{user.upper()}': podman('exec', name, 'ringway', 'token', '--user', user)
                for user in ('alice', 'bob')}

    def assert_confined(self, pid):
        status = Path(f'/proc/{pid}/status').read_text()
        fields = dict(line.split(':\t', 1) for line in status.splitlines() if ':\t' in line)
        self.assertEqual(fields['Uid'].split(), ['65532'] * 4)
        self.assertEqual(int(fields['CapEff'], 16), 0)
        self.assertEqual(fields['NoNewPrivs'].strip(), '1')
        root = [line.split() for line in Path(f'/proc/{pid}/mountinfo').read_text().splitlines()]
        options = next(it[5] for it in root if it[4] == '/')
        self.assertIn('ro', options.split(','))
        for it in self.container['systemControls']:
            path = '/proc/sys/' + it['namespace'].replace('.', '/')
            value = run('nsenter', '--target', pid, '--net', 'cat', path)
            self.assertEqual(value.split(), it['value'].split(), path)


if __name__ == '__main__':
    unittest.main()
