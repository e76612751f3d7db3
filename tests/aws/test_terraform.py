"""The Terraform module against the schema of provider v6, in all its variants."""

import json
import re
import shutil
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import task_definition
from support import MODULE, ROOT, WORK, Terraform


class Module(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.terraform = cls.enterClassContext(Terraform())
        cls.terraform.init()

    def test_the_command_line_is_new_enough(self):
        version = json.loads(self.terraform.run('version', '-json'))['terraform_version']
        major, minor = (int(it) for it in version.split('.')[:2])
        self.assertGreaterEqual((major, minor), (1, 11))

    def test_the_schema_is_the_whole_one(self):
        schema = json.loads((WORK / 'schema.json').read_text())
        self.assertGreater(len(schema['resource']), 1500)
        self.assertGreater(len(schema['data']), 600)

    def test_everything_is_formatted(self):
        self.terraform.run('fmt', '-check', '-recursive', '-diff', folder=MODULE)

    def test_the_module_is_valid(self):
        self.terraform.run('validate', '-no-color')

    def test_the_examples_are_valid(self):
        examples = sorted(it for it in (MODULE / 'examples').iterdir() if it.is_dir())
        self.assertEqual([it.name for it in examples], ['complete', 'minimal'])
        for folder in examples:
            with self.subTest(folder.name):
                self.terraform.init(folder)
                self.terraform.run('validate', '-no-color', folder=folder)

    def test_each_variable_is_described_and_its_rules_are_tried(self):
        text = (MODULE / 'variables.tf').read_text()
        blocks = re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', text, re.S | re.M)
        self.assertGreater(len(blocks), 30)
        tried = re.findall(r'expect_failures = \[var\.(\w+)\]',
                           (MODULE / 'tests/refusals.tftest.hcl').read_text())
        for name, body in blocks:
            with self.subTest(name):
                self.assertRegex(body, r'^  description = "\S.{10,}[.).]"')
                rules = len(re.findall(r'^  validation \{', body, re.M))
                if '  type        = bool\n' not in body:
                    self.assertGreater(rules, 0, 'no rule')
                self.assertLessEqual(rules, tried.count(name), 'a rule that no test breaks')
        outputs = (MODULE / 'outputs.tf').read_text()
        self.assertEqual(outputs.count('\noutput "') + 1, outputs.count('  description = "'))

    def test_every_log_group_forgets(self):
        text = ''.join(file.read_text() for file in MODULE.glob('*.tf'))
        groups = re.findall(r'^resource "aws_cloudwatch_log_group" "\w+" \{\n(.*?)^\}', text,
                            re.S | re.M)
        self.assertGreaterEqual(len(groups), 6)
        for body in groups:
            self.assertIn('retention_in_days = var.log_retention_days', body)

    def test_what_the_schema_does_not_have_is_refused(self):
        """So that a schema that says yes to everything is noticed."""
        wrong = [
            ('unknown argument', 'resource "aws_lb" "it" {\n  idle_timeuot = 300\n}',
             'idle_timeout'),
            ('missing argument', 'resource "aws_ecs_service" "it" {}', '"name" is required'),
            ('unknown block', 'resource "aws_lb" "it" {\n  access_log {\n  }\n}', 'access_logs'),
            ('wrong type', 'resource "aws_lb" "it" {\n  subnets = 1\n}', 'set of string'),
            ('unknown resource', 'resource "aws_load_balancer" "it" {}', 'aws_load_balancer'),
        ]
        for name, text, remark in wrong:
            with self.subTest(name), tempfile.TemporaryDirectory(dir=WORK) as folder:
                folder = Path(folder)
                shutil.copy(MODULE / 'versions.tf', folder)
                (folder / 'main.tf').write_text(text + '\n')
                self.terraform.init(folder)
                said = self.terraform.run('validate', '-no-color', folder=folder, status=1)
                self.assertIn(remark, said)

    def test_its_own_tests_pass(self):
        files = len(list((MODULE / 'tests').glob('*.tftest.hcl')))
        runs = sum(len(re.findall(r'^run "', it.read_text(), re.M))
                   for it in (MODULE / 'tests').glob('*.tftest.hcl'))
        said = self.terraform.run('test', '-no-color', timeout=1200)
        self.assertIn(f'Success! {runs} passed, 0 failed.', said)
        self.assertGreaterEqual(files, 7)

    def test_only_clients_and_https_have_addresses(self):
        """Every other rule of a security group names a group."""
        text = (MODULE / 'security.tf').read_text() + (MODULE / 'hosts.tf').read_text()
        rules = re.findall(r'resource "aws_vpc_security_group_(\w+)_rule" "(\w+)" \{(.*?)\n\}',
                           text, re.S)
        self.assertGreaterEqual(len(rules), 9)
        open_ = {name for _, name, body in rules if 'cidr_ipv4' in body}
        self.assertEqual(open_, {'balancer_from_clients', 'tasks_to_https', 'hosts_to_https'})
        ingress = {name for kind, name, body in rules if kind == 'ingress' and 'cidr_ipv4' in body}
        self.assertEqual(ingress, {'balancer_from_clients'})
        # Rules inside of a group, or rules of the older kind, would not be seen above.
        self.assertNotRegex(text, r'\n  (ingress|egress) \{')
        for file in MODULE.glob('*.tf'):
            self.assertNotIn('"aws_security_group_rule"', file.read_text())


class Seccomp(unittest.TestCase):
    """The profile of EC2 hosts: io_uring, and nothing that reaches the host."""

    def setUp(self):
        self.profile = json.loads((MODULE / 'files/seccomp-io-uring.json').read_text())

    def allowed(self, capabilities=()):
        """What is allowed without condition on arguments to a container with `capabilities`."""
        names = set()
        for rule in self.profile['syscalls']:
            needed = rule.get('includes', {}).get('caps', [])
            excluded = rule.get('excludes', {}).get('caps', [])
            applies = set(needed) <= set(capabilities) and not set(excluded) & set(capabilities)
            if applies and rule['action'] == 'SCMP_ACT_ALLOW' and not rule.get('args'):
                names |= set(rule['names'])
        return names

    def test_io_uring_is_allowed(self):
        self.assertLessEqual({'io_uring_setup', 'io_uring_enter', 'io_uring_register'},
                             self.allowed())

    def test_what_reaches_the_host_is_not(self):
        outside = {
            'add_key', 'bpf', 'chroot', 'clock_settime', 'clone', 'clone3', 'delete_module',
            'finit_module', 'fsmount', 'fsopen', 'init_module', 'iopl', 'kexec_file_load',
            'kexec_load', 'keyctl', 'mount', 'move_mount', 'open_by_handle_at', 'open_tree',
            'perf_event_open', 'pivot_root', 'process_vm_writev', 'ptrace', 'quotactl', 'reboot',
            'request_key', 'setns', 'settimeofday', 'swapon', 'umount2', 'unshare', 'userfaultfd',
        }
        self.assertEqual(outside & self.allowed(), set())

    def test_a_container_cannot_make_namespaces(self):
        clone = [it for it in self.profile['syscalls'] if it['names'] == ['clone']]
        new = sum([0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000])
        self.assertEqual([it['args'] for it in clone],
                         [[{'index': 0, 'value': new, 'op': 'SCMP_CMP_MASKED_EQ'}]])
        clone3 = [it for it in self.profile['syscalls'] if it['names'] == ['clone3']]
        self.assertEqual([it['errnoRet'] for it in clone3], [38])

    def test_the_agent_of_ecs_can_do_its_work(self):
        self.assertLessEqual({'mount', 'setns', 'unshare'}, self.allowed(['CAP_SYS_ADMIN']))


class Relay(unittest.TestCase):
    """The user of Redis may do what Ringway does and no more, tried on a real server."""

    CONNECTING = [('ping',), ('hello', '3'), ('role',), ('auth', 'edge', 'secret')]
    KEYS = [
        ('xadd', 'ringway:inbound:orders', 'maxlen', '~', '1000', '*', 'body', 'x'),
        ('zscan', 'ringway:revoked', '0', 'count', '100'), ('zadd', 'ringway:revoked', '1', 'x'),
        ('zremrangebyscore', 'ringway:revoked', '-inf', '1'),
        ('zremrangebyrank', 'ringway:revoked', '0', '-100001'),
        ('zrevrange', 'ringway:{seats}', '0', '9'), ('pexpire', 'ringway:{seats}', '1'),
        ('del', 'ringway:{seats}:x'), ('hset', 'ringway:{seats}:x', 'user', '1'),
        ('hdel', 'ringway:{seats}:x', 'user'), ('hmget', 'ringway:{seats}:x', 'user'),
        ('eval', 'return 1', '1', 'ringway:history:{x}'),
        ('evalsha', 'x', '1', 'ringway:history:{x}'), ('info', 'replication'), ('time',),
        ('get', 'ringway:key:{x}:k'),
        ('set', 'ringway:key:{x}:k', '1-1', 'px', '1'), ('hget', 'ringway:stored:{x}', '1-1'),
        ('hincrby', 'ringway:history:{x}', 'seq', '1'), ('persist', 'ringway:history:{x}'),
        ('zrem', 'ringway:unstored', 'x'), ('zrange', 'ringway:unstored', '0', '9'),
        ('xrange', 'ringway:stream:{x}', '-', '+'), ('xrevrange', 'ringway:stream:{x}', '+', '-'),
        ('xlen', 'ringway:stream:{x}'), ('xtrim', 'ringway:stream:{x}', 'maxlen', '1'),
    ]
    CHANNELS = ('ws:/topic/room.1', 'ws:user.42/queue/private', 'ringway:control')
    PUBSUB = [words for it in CHANNELS for words in
              (('publish', it, 'x'), ('subscribe', it), ('unsubscribe', it))]
    SHARDED = [words for it in CHANNELS for words in
               (('spublish', it, 'x'), ('ssubscribe', it), ('sunsubscribe', it))]
    SHARDED += [('cluster', 'slots'), ('asking',)]
    PATTERNS = [('psubscribe', 'ws:/topic/*'), ('punsubscribe', 'ws:/topic/*')]
    OTHERS = [('publish', 'other', 'x'), ('subscribe', 'other')]
    NEVER = [
        ('xadd', 'other', '*', 'a', 'b'), ('zadd', 'other', '1', 'x'), ('get', 'other'),
        ('keys', '*'), ('flushall',), ('flushdb',), ('config', 'get', '*'), ('acl', 'list'),
        ('monitor',), ('shutdown', 'nosave'), ('save',), ('replicaof', 'no', 'one'),
        ('swapdb', '0', '1'), ('client', 'kill', 'id', '1'), ('client', 'list'),
        ('module', 'list'), ('eval', 'return 1', '1', 'other'), ('script', 'flush'),
        ('cluster', 'reset'),
    ]

    @classmethod
    def setUpClass(cls):
        folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory(dir=WORK)))
        terraform = cls.enterClassContext(Terraform())
        terraform.init()
        cls.users = {}
        for name, relay in (('pubsub', {}), ('patterns', {'patterns': True}),
                            ('sharded', {'mode': 'sharded'})):
            resources = terraform.resources(
                {**task_definition.COMMON, **task_definition.BALANCERS['alb'], 'relay': relay},
                folder)
            cls.users[name] = resources['aws_elasticache_user.relay']['access_string'].split()
        cls.socket = f'{folder}/redis.socket'
        server = subprocess.Popen(
            ['redis-server', '--port', '0', '--unixsocket', cls.socket, '--save', ''],
            cwd=folder, stdout=subprocess.DEVNULL)
        cls.addClassCleanup(server.wait, 10)
        cls.addClassCleanup(server.terminate)
        for _ in range(100):
            if cls.redis('ping') == 'PONG':
                return
            time.sleep(0.1)
        raise RuntimeError('redis-server does not answer')

    @classmethod
    def redis(cls, *words):
        return subprocess.run(['redis-cli', '-s', cls.socket, *words],
                              text=True, capture_output=True, timeout=10).stdout.strip()

    def check(self, user, may, may_not):
        said = self.redis('acl', 'setuser', user, 'reset', *self.users[user], '>secret')
        self.assertEqual(said, 'OK')
        for words in may:
            with self.subTest(may=words):
                self.assertEqual(self.redis('acl', 'dryrun', user, *words), 'OK')
        for words in may_not:
            with self.subTest(may_not=words):
                self.assertRegex(self.redis('acl', 'dryrun', user, *words), 'permission')

    def test_the_user_of_one_shard(self):
        self.check('pubsub', self.CONNECTING + self.KEYS + self.PUBSUB,
                   self.SHARDED + self.PATTERNS + self.OTHERS + self.NEVER)
        # Not only by the server's word.
        said = self.redis('--user', 'pubsub', '--pass', 'secret', '--no-auth-warning',
                          'publish', 'ws:/topic/room.1', 'hello')
        self.assertEqual(said, '0')

    def test_the_user_with_patterns(self):
        self.check('patterns', self.CONNECTING + self.KEYS + self.PUBSUB + self.PATTERNS,
                   self.SHARDED + self.NEVER)

    def test_the_user_of_a_cluster(self):
        self.check('sharded', self.CONNECTING + self.KEYS + self.SHARDED,
                   self.PUBSUB + self.PATTERNS + self.OTHERS + self.NEVER)

    def test_the_rights_are_those_that_are_documented(self):
        text = (ROOT / 'docs/relay.md').read_text()
        section = text.split('\n## Rights\n')[1].split('\n## ')[0]
        rights = set(re.findall(r'(?<=[\s`])\+[a-z|]+', section))
        self.assertGreater(len(rights), 10)
        given = {it for user in self.users.values() for it in user if it.startswith('+')}
        self.assertEqual(rights - given, set(), 'infrastructure/relay.tf lacks them')


if __name__ == '__main__':
    unittest.main()
