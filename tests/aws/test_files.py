"""Dockerfile, dashboards, alerts, the local stack: by their own tools, and by what they share."""

import json
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

import yaml

from support import MODULE, ROOT

TOOLS = Path(sys.executable).parent


def run(*words):
    done = subprocess.run([str(it) for it in words], cwd=ROOT, text=True, timeout=600,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


class Dockerfile(unittest.TestCase):
    text = (ROOT / 'Dockerfile').read_text()

    def test_hadolint_has_nothing_to_say(self):
        self.assertEqual(run(TOOLS / 'hadolint', 'Dockerfile'), (0, ''))

    def test_the_toolchain_is_that_of_the_tree(self):
        channel = re.search(r'channel = "([\d.]+)"', (ROOT / 'rust-toolchain.toml').read_text())
        image = re.search(r'^ARG BUILD_IMAGE=\S+/rust:([\d.]+)-', self.text, re.M)
        self.assertEqual(image.group(1), channel.group(1))

    def test_it_ends_as_the_task_definition_expects(self):
        task = json.loads((MODULE / 'ecs-task-definition.json').read_text())
        main = task['containerDefinitions'][0]
        self.assertIn(f'\nUSER {main["user"]}\n', self.text)
        self.assertIn('\nSTOPSIGNAL SIGTERM\n', self.text)
        self.assertIn(f'EXPOSE {main["portMappings"][0]["containerPort"]}\n', self.text)
        asked = json.dumps(main['healthCheck']['command'][1:])
        self.assertIn(f'CMD {asked}', self.text)

    def test_only_what_is_copied_is_sent(self):
        """A file that the build does not need cannot end up in a layer."""
        lines = [it for it in (ROOT / '.dockerignore').read_text().splitlines()
                 if it and not it.startswith('#')]
        self.assertEqual(lines[0], '*')
        sent = {it.removeprefix('!') for it in lines[1:]}
        copied = set()
        for sources in re.findall(r'^COPY (?!--from)(.+) \S+$', self.text, re.M):
            copied |= set(sources.split())
        self.assertEqual(sent, copied)


class Checkov(unittest.TestCase):
    def test_it_finds_nothing_that_has_no_reason(self):
        for framework, place in (('terraform', ('-d', 'infrastructure')),
                                 ('dockerfile', ('-f', 'Dockerfile'))):
            with self.subTest(framework):
                status, said = run(os.environ['CHECKOV'], *place, '--framework', framework,
                                   '--skip-download', '--compact', '--quiet')
                counts = re.search(r'Passed checks: (\d+), Failed checks: (\d+)', said)
                self.assertIsNotNone(counts, said)
                self.assertEqual((status, counts.group(2)), (0, '0'), said)
                self.assertGreater(int(counts.group(1)), 50)

    def test_each_check_that_is_skipped_says_why_and_they_are_few(self):
        skipped = []
        for file in [*MODULE.rglob('*.tf'), ROOT / 'Dockerfile']:
            skipped += re.findall(r'checkov:skip=(\w+):?(.*)', file.read_text())
        self.assertTrue(all(20 < len(reason) for _, reason in skipped), skipped)
        self.assertLessEqual(len(skipped), 14)


class Prometheus(unittest.TestCase):
    folder = MODULE / 'prometheus'

    def test_its_own_tool_takes_everything(self):
        for words in (('check', 'rules', 'alerts.yml'), ('check', 'config', 'prometheus.yml'),
                      ('test', 'rules', 'alerts_test.yml')):
            with self.subTest(words):
                status, said = run('promtool', *words[:2], self.folder / words[2])
                self.assertEqual(status, 0, said)

    def test_each_alert_is_shown_to_fire_and_to_be_silent(self):
        groups = yaml.safe_load((self.folder / 'alerts.yml').read_text())['groups']
        alerts = {rule['alert'] for group in groups for rule in group['rules']}
        tests = yaml.safe_load((self.folder / 'alerts_test.yml').read_text())['tests']
        shown = {True: set(), False: set()}
        for test in tests:
            for expected in test['promql_expr_test']:
                name = re.search(r'alertname="(\w+)"', expected['expr']).group(1)
                shown['exp_samples' in expected].add(name)
        self.assertEqual(shown, {True: alerts, False: alerts})

    def test_each_alert_has_a_section_in_the_runbook(self):
        groups = yaml.safe_load((self.folder / 'alerts.yml').read_text())['groups']
        names = {rule['alert'] for group in groups for rule in group['rules']}
        alarms = (MODULE / 'alarms.tf').read_text()
        names |= set(re.findall(r'^    ([a-z0-9]+(?:-[a-z0-9]+)+) = \{$', alarms, re.M))
        names |= set(re.findall(r'^      "(redis-\w+)-\$\{node\}" = \{$', alarms, re.M))
        names |= {'errors-high', 'deployment-failed'}
        self.assertGreater(len(names), 25)
        runbook = (ROOT / 'docs/runbook.md').read_text()
        headings = re.findall(r'^#{3,4} (.+)$', runbook, re.M)
        told = {name for heading in headings for name in re.findall(r'`([\w-]+)`', heading)}
        self.assertEqual(names - told, set())


class Grafana(unittest.TestCase):
    board = json.loads((MODULE / 'grafana/dashboards/ringway.json').read_text())

    def test_panels_do_not_overlap_and_say_what_for(self):
        taken = {}
        for panel in self.board['panels']:
            place = panel['gridPos']
            self.assertLessEqual(place['x'] + place['w'], 24)
            for x in range(place['x'], place['x'] + place['w']):
                for y in range(place['y'], place['y'] + place['h']):
                    self.assertNotIn((x, y), taken, panel['title'])
                    taken[x, y] = panel['title']
            if panel['type'] != 'row':
                self.assertTrue(panel['description'].endswith('.'), panel['title'])
        ids = [panel['id'] for panel in self.board['panels']]
        self.assertEqual(len(ids), len(set(ids)))

    def test_each_expression_is_one(self):
        """As a rule of Prometheus, whose tool parses it."""
        rules = []
        for panel in self.board['panels']:
            for target in panel.get('targets', []):
                text = target['expr'].replace('$__rate_interval', '1m').replace('$instance', '.*')
                rules.append({'record': f'panel:{panel["id"]}:{target["refId"]}', 'expr': text})
        self.assertGreater(len(rules), 20)
        document = yaml.safe_dump({'groups': [{'name': 'panels', 'rules': rules}]})
        checked = subprocess.run(['promtool', 'check', 'rules', '/dev/stdin'], input=document,
                                 text=True, capture_output=True)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_it_asks_the_source_that_is_provisioned(self):
        sources = yaml.safe_load(
            (MODULE / 'grafana/provisioning/datasources/prometheus.yaml').read_text())
        uid = sources['datasources'][0]['uid']
        named = re.findall(r'"uid": "(\w+)"', json.dumps(self.board['panels']))
        self.assertEqual(set(named), {uid})


class Compose(unittest.TestCase):
    stack = yaml.safe_load((MODULE / 'compose.yaml').read_text())

    def test_the_edges_are_like_the_task(self):
        task = json.loads((MODULE / 'ecs-task-definition.json').read_text())
        main = task['containerDefinitions'][0]
        controls = {it['namespace']: it['value'] for it in main['systemControls']}
        for name in ('edge-1', 'edge-2'):
            edge = self.stack['services'][name]
            with self.subTest(name):
                self.assertEqual(edge['sysctls'], controls)
                self.assertTrue(edge['read_only'])
                self.assertEqual(edge['cap_drop'], ['ALL'])
                self.assertEqual(edge['stop_grace_period'], f'{main["stopTimeout"]}s')
                limit = int(edge['environment']['RINGWAY_LIMITS_CONNECTIONS'])
                self.assertLessEqual(limit + 1000, edge['ulimits']['nofile'])

    def test_files_that_are_named_exist(self):
        named = re.findall(r'seccomp=(\S+)', json.dumps(self.stack))
        for service in self.stack['services'].values():
            named += [it.split(':')[0] for it in service.get('volumes', []) if it.startswith('./')]
        self.assertGreaterEqual(len(named), 4)
        for name in named:
            self.assertTrue((MODULE / name.rstrip('",]')).exists(), name)

    def test_it_is_reached_from_this_machine_only(self):
        ports = [port for it in self.stack['services'].values() for port in it.get('ports', [])]
        self.assertEqual(len(ports), 3)
        self.assertTrue(all(it.startswith('127.0.0.1:') for it in ports), ports)

    def test_prometheus_scrapes_the_edges(self):
        config = yaml.safe_load((MODULE / 'prometheus/prometheus.yml').read_text())
        targets = config['scrape_configs'][0]['static_configs'][0]['targets']
        for target in targets:
            service, port = target.split(':')
            listen = self.stack['services'][service]['environment']['RINGWAY_ADMIN_LISTEN']
            self.assertTrue(listen.endswith(f':{port}'))


if __name__ == '__main__':
    unittest.main()
