"""A real Prometheus scrapes two servers that share a Redis, and one that keeps the history of its
rooms: nothing is wrong, and every expression of the Grafana panels and of the alert rules returns
data from it."""

import json
import math
import re
import subprocess
import threading
import time
import unittest
import urllib.parse

import yaml

from support import ROOT, Client, Process, Server, ask, get_json, start_redis, until

RULES = ROOT / 'infrastructure/prometheus/alerts.yml'
BOARD = ROOT / 'infrastructure/grafana/dashboards/ringway.json'
# What Grafana puts in.
VARIABLES = {'$__rate_interval': '10s', '$instance': '.*'}
COMPARED = re.compile(r'\s*(==|!=|>=|<=|>|<)\s*')
JOINED = re.compile(r'\s+(and|or|unless)\s+')


def split(expression, pattern):
    """The parts between what `pattern` finds outside of parentheses, braces and brackets."""
    depth, parts, at, start = 0, [], 0, 0
    while at < len(expression):
        depth += {'(': 1, '{': 1, '[': 1}.get(expression[at], 0)
        depth -= {')': 1, '}': 1, ']': 1}.get(expression[at], 0)
        found = pattern.match(expression, at) if depth == 0 else None
        if found and found.end() != at:
            parts.append(expression[start:at])
            at = start = found.end()
        else:
            at += 1
    return [it.strip() for it in [*parts, expression[start:]]]


def operands(expression):
    """What an alert compares: its parts that are no plain number."""
    compared = [it for part in split(expression, JOINED) for it in split(part, COMPARED)]
    return [it for it in compared if not re.fullmatch(r'[\d.]+', it)]


def alerts():
    groups = yaml.safe_load(RULES.read_text())['groups']
    return [rule for group in groups for rule in group['rules']]


def panels():
    """Title and expression of each target."""
    for panel in json.loads(BOARD.read_text())['panels']:
        for target in panel.get('targets', []):
            expression = target['expr']
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            yield panel['title'], expression


def drive(servers, is_over):
    """Clients that come and go, and say something to all."""
    stays = [Client(server, f'stays-{number}', '/topic/room.x', '/user/queue/private')
             for number, server in enumerate(servers)]
    while not is_over.is_set():
        for number, server in enumerate(servers):
            with Client(server, 'goes', '/topic/room.x') as goes:
                goes.publish('/app/room.x', 'hello')
                goes.publish(f'/app/private.stays-{number}', 'hello')
                goes.await_text('hello')
                for one in stays:
                    one.publish('/app/room.x', 'here')
        for one in stays:
            one.await_text('here')
    for one in stays:
        one.stream.close()


class Prometheus(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.redis = cls.enterClassContext(start_redis())
        relay = f'relay.url=redis://127.0.0.1:{cls.redis.port}'
        cls.servers = [cls.enterClassContext(Server(*it)) for it in ([relay], [relay], [])]
        is_over = threading.Event()
        traffic = threading.Thread(target=drive, args=(cls.servers, is_over))
        traffic.start()
        cls.addClassCleanup(traffic.join)
        cls.addClassCleanup(is_over.set)
        cls.prometheus = cls.enterClassContext(Process(cls.words, cls.is_ready))

    @classmethod
    def words(cls, port, folder):
        config = {
            'global': {'scrape_interval': '1s', 'evaluation_interval': '1s'},
            'rule_files': [str(RULES)],
            'scrape_configs': [{
                'job_name': 'ringway',
                'static_configs': [{
                    'targets': [it.admin.removeprefix('http://').strip('/')
                                for it in cls.servers]}]}],
        }
        (folder / 'prometheus.yml').write_text(yaml.safe_dump(config))
        return ['prometheus', f'--config.file={folder}/prometheus.yml',
                f'--storage.tsdb.path={folder}/data', f'--web.listen-address=127.0.0.1:{port}',
                '--log.level=warn']

    @staticmethod
    def is_ready(port):
        try:
            return ask(f'http://127.0.0.1:{port}/-/ready')[0] == 200
        except OSError:
            return False

    def api(self, path, **query):
        words = urllib.parse.urlencode(query)
        answer = get_json(f'http://127.0.0.1:{self.prometheus.port}/api/v1/{path}?{words}')
        self.assertEqual(answer['status'], 'success')
        return answer['data']

    def figures(self, expression):
        """The numbers that it gives now."""
        result = self.api('query', query=expression)['result']
        values = [float(it['value'][1]) for it in result]
        return [it for it in values if not math.isnan(it)]

    def assert_all_give_data(self, expressions):
        missing = dict(expressions)

        def have_all():
            for name, expression in list(missing.items()):
                if self.figures(expression):
                    del missing[name]
            return not missing

        try:
            until(have_all, 'data', 30)
        except AssertionError:
            self.fail(f'no data from {missing}')

    def test_a_scrape_is_what_promtool_asks_for(self):
        status, headers, page = ask(f'{self.servers[0].admin}/metrics')
        self.assertEqual(status, 200)
        self.assertTrue(headers['content-type'].startswith('text/plain; version=0.0.4'))
        checked = subprocess.run(['promtool', 'check', 'metrics'], input=page, timeout=60,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual((checked.returncode, checked.stdout), (0, b''))

    def test_the_rules_are_what_promtool_asks_for(self):
        checked = subprocess.run(['promtool', 'check', 'rules', RULES], text=True, timeout=60,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(checked.returncode, 0, checked.stdout)
        self.assertIn(f'{len(alerts())} rules found', checked.stdout)

    def test_every_panel_shows_something(self):
        expressions = {f'{title}: {it}': it for title, it in panels()}
        self.assertLess(40, len(expressions))
        self.assert_all_give_data(expressions)

    def test_the_variable_of_the_dashboard_finds_all_servers(self):
        query = json.loads(BOARD.read_text())['templating']['list'][0]['query']['query']
        series, label = re.fullmatch(r'label_values\((.+), (\w+)\)', query).groups()
        wanted = sorted(it.admin.removeprefix('http://').strip('/') for it in self.servers)
        until(lambda: self.api(f'label/{label}/values', **{'match[]': series}) == wanted, 'all')

    def test_what_every_alert_compares_is_there(self):
        expressions = {f'{rule["alert"]}: {it}': it
                       for rule in alerts() for it in operands(rule['expr'])}
        self.assertLess(len(alerts()), len(expressions))
        self.assert_all_give_data(expressions)

    def test_prometheus_evaluates_every_rule_without_an_error(self):
        def rules():
            found = [it for group in self.api('rules')['groups'] for it in group['rules']]
            return found if all(it['health'] != 'unknown' for it in found) else None

        found = until(rules, 'the first evaluation')
        self.assertEqual(len(found), len(alerts()))
        for rule in found:
            self.assertEqual((rule['health'], rule.get('lastError', '')), ('ok', ''), rule['name'])
        # Nothing is wrong here, so nobody is called.
        time.sleep(2)
        firing = [it for it in self.api('alerts')['alerts'] if it['state'] == 'firing']
        self.assertEqual(firing, [])


class Operands(unittest.TestCase):
    def test_an_expression_is_split_where_it_compares(self):
        for expression, expected in (
                ('up{job="a>b"} == 0', ['up{job="a>b"}']),
                ('sum(a > 1) > 0.05 * sum(b)\nand sum(c[5m]) > 1',
                 ['sum(a > 1)', '0.05 * sum(b)', 'sum(c[5m])']),
                ('min by (instance) (a{x=~"y"}) >= 16000', ['min by (instance) (a{x=~"y"})'])):
            self.assertEqual(operands(expression), expected)
