"""The API is what its document says, by schemathesis; and a browser that obeys a stranger's page is
turned away at each of its operations."""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from support import Client, Server, ask, get_json

TOKEN = 'operators-only-please'
TOOL = Path(sys.executable).parent / 'schemathesis'
# What a page, a form or a name that was led here can make a browser send.
HOSTILE = {
    'another origin': {'Origin': 'http://evil.test', 'Content-Type': 'application/json'},
    'no origin to speak of': {'Origin': 'null', 'Content-Type': 'application/json'},
    'another port': {'Origin': 'http://127.0.0.1:1', 'Content-Type': 'application/json'},
    'another site': {'Sec-Fetch-Site': 'cross-site', 'Content-Type': 'application/json'},
    'a name that was led here': {'Host': 'evil.test', 'Content-Type': 'application/json'},
    'the same, with its origin': {'Host': 'evil.test', 'Origin': 'http://evil.test',
                                  'Content-Type': 'application/json'},
    'a form': {'Content-Type': 'application/x-www-form-urlencoded'},
    'a form with files': {'Content-Type': 'multipart/form-data; boundary=x'},
    'a form of text': {'Content-Type': 'text/plain'},
}


def operations(server):
    """Method and path of each, with ids that are somebody's."""
    document = get_json(f'{server.admin}/api/openapi.json')
    rows = get_json(f'{server.admin}/api/connections')['connections']
    for path, methods in document['paths'].items():
        known = rows[0]['id'] if path.startswith('/api/connections/') else 'amy'
        for method in methods:
            concrete = path.replace('{id}', known).replace('{destination}', 'topic/room.1')
            yield method.upper(), concrete


class OpenApi(unittest.TestCase):
    def check(self, server, *words):
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / 'schemathesis.toml'
            # What the document allows may still lead nowhere: 422 says so.
            config.write_text('[checks.positive_data_acceptance]\n'
                              'expected-statuses = ["2xx", 404, 422]\n')
            done = subprocess.run(
                [TOOL, f'--config-file={config}', 'run', f'{server.admin}/api/openapi.json',
                 '--checks=all', '--seed=1', '--no-color', '--generation-database=none',
                 '--request-timeout=10', *words],
                cwd=folder, text=True, timeout=150, env={**os.environ, 'NO_COLOR': '1'},
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_every_operation_but_the_drain_is_what_the_document_says(self):
        # Somebody must be there to be listed and closed.
        with Server(f'admin.token={TOKEN}') as server:
            clients = [Client(server, login, '/topic/room.1') for login in ('amy', 'bob')]
            for number in range(5):
                clients[0].publish('/app/room.1', f'kept {number}')
            clients[1].await_text('kept 4')
            said = self.check(server, '--header', f'Authorization: Bearer {TOKEN}',
                              '--include-path-regex=^/api/(?!drain$)', '--max-examples=40')
            tested = int(re.search(r'Tested:? +(\d+)', said).group(1))
            status, _, body = ask(f'{server.admin}/api/openapi.json',
                                  headers={'Authorization': f'Bearer {TOKEN}'})
            self.assertEqual((status, tested), (200, len(json.loads(body)['paths']) - 1), said)
            # The document's example is a destination that is kept, so its messages were read.
            status, _, body = ask(f'{server.admin}/api/history/%2Ftopic%2Froom.1?limit=2',
                                  headers={'Authorization': f'Bearer {TOKEN}'})
            page = json.loads(body)
            self.assertEqual((status, page['count'], page['next']), (200, 2, None), page)
            self.assertEqual(ask(f'{server.admin}/api/history/topic/room.1')[0], 401)
            for client in clients:
                client.stream.close()

    def test_the_drain_is_what_the_document_says(self):
        with Server('drain.window=1ms') as server:
            answer = ask(f'{server.admin}/api/drain', b'{}',
                         headers={'Content-Type': 'application/json'})
            self.assertEqual((answer[0], json.loads(answer[2])), (202, {'draining': True}))


class Browsers(unittest.TestCase):
    def test_nothing_is_done_for_a_page_of_a_stranger(self):
        with Server() as server, Client(server, 'amy', '/topic/room.1') as amy:
            tried = 0
            for method, path in operations(server):
                for name, headers in HOSTILE.items():
                    if method == 'GET' and 'form' in name:
                        continue
                    with self.subTest(f'{method} {path}: {name}'):
                        body = None if method == 'GET' else b'{"share":1,"user":"amy"}'
                        status, _, said = ask(f'{server.admin}{path}', body, method, headers)
                        expected = 415 if 'form' in name else 403
                        self.assertEqual(status, expected, said)
                        self.assertTrue(json.loads(said)['error']['message'])
                        tried += 1
            self.assertLess(80, tried)
            amy.publish('/topic/room.1', 'still here')
            amy.await_text('still here')

    def test_a_page_of_its_own_and_a_tool_may(self):
        with Server() as server, Client(server, 'amy', '/topic/room.1') as amy:
            origin = {'Content-Type': 'application/json', 'Origin': server.admin.rstrip('/')}
            tool = {'Content-Type': 'application/json'}
            message = b'{"destination":"/topic/room.1","body":"from here"}'
            for headers in (origin, tool):
                status, _, said = ask(f'{server.admin}/api/publish', message, headers=headers)
                self.assertEqual(status, 200, said)
                amy.await_text('from here')
