"""With 10,000 connections and 10,000 destinations neither a scrape nor a listing holds a core: its
timer, which comes ten times a second, is not late by more than a millisecond for that."""

import re
import socket
import time
import unittest

from support import Server, ask, get_json, message, until, upgrade

CONNECTIONS_COUNT = 10_000
# Handshakes that are sent before the first of them is answered.
OPENING_MAX = 256
ROUND_SECONDS = 2
ROUNDS_MAX = 8
# Between two looks: more of them would only fight the cores for the machine.
PAUSE_SECONDS = 0.005
# The timer's own grain is 1 ms, what is held comes on top: the bound of the bucket that has both.
LATE_SECONDS = 0.0025


class Crowd:
    """Connections that subscribe to a destination each, and say nothing more."""

    def __init__(self, server):
        self.streams = []
        for first in range(0, CONNECTIONS_COUNT, OPENING_MAX):
            group = range(first, min(first + OPENING_MAX, CONNECTIONS_COUNT))
            streams = [socket.create_connection(('127.0.0.1', server.port)) for _ in group]
            for stream in streams:
                stream.sendall(upgrade(server.port))
            for stream in streams:
                self.read(stream, b'\r\n\r\n')
            for number, stream in zip(group, streams):
                subscribe = f'id:0\ndestination:/topic/room.{number}\nreceipt:r'
                stream.sendall(message(f'CONNECT\naccept-version:1.2\nlogin:user-{number}\n\n\0'))
                stream.sendall(message(f'SUBSCRIBE\n{subscribe}\n\n\0'))
            for stream in streams:
                self.read(stream, b'receipt-id:r')
            self.streams += streams

    @staticmethod
    def read(stream, text):
        heard = b''
        while text not in heard:
            more = stream.recv(4096)
            assert more, heard
            heard += more

    def close(self):
        for stream in self.streams:
            stream.close()


def late(server):
    """How often the timers came later than that, and how often they came."""
    page = ask(f'{server.admin}/metrics')[2].decode()

    def count(le):
        lines = re.findall(rf'websocket_shard_lag_seconds_bucket{{core="\d+",le="{le}"}} (\d+)',
                           page)
        assert lines, page
        return sum(map(int, lines))

    return count(r'\+Inf') - count(LATE_SECONDS), count(r'\+Inf')


class Listing(unittest.TestCase):
    def test_no_core_is_held_by_whoever_looks(self):
        with Server('limits.connections=15000', 'drain.window=1s') as server:
            crowd = Crowd(server)
            self.addCleanup(crowd.close)
            looks = {
                'a scrape': ('/metrics', None),
                'connections': ('/api/connections?limit=1000', 'connections'),
                'one user': ('/api/users/user-77', 'connections'),
                'destinations': ('/api/destinations?limit=1000', 'destinations'),
            }
            for name, (path, rows) in looks.items():
                if rows:
                    document = get_json(server.admin + path)
                    count = 1 if name == 'one user' else CONNECTIONS_COUNT
                    shown = min(count, 1000)
                    self.assertEqual((document['count'], len(document[rows])), (count, shown))
                with self.subTest(name):
                    self.assert_holds_nobody(server, path, name)
            crowd.close()
            until(lambda: '_active{core="0"} 0' in ask(f'{server.admin}/metrics')[2].decode(),
                  'their end')

    def assert_holds_nobody(self, server, path, name):
        """Something else on this machine may take a core for a while, and does not do so in each
        round; what a look itself holds would."""
        seen = []
        for _ in range(ROUNDS_MAX):
            before, end, looks = late(server), time.monotonic() + ROUND_SECONDS, 0
            while time.monotonic() < end:
                self.assertEqual(ask(server.admin + path)[0], 200)
                looks += 1
                time.sleep(PAUSE_SECONDS)
            after = late(server)
            seen.append((after[0] - before[0], after[1] - before[1], looks))
            if seen[-1][0] == 0:
                print(f'{name}: {looks} looks, {seen[-1][1]} ticks, none late; {len(seen)} rounds')
                return
        self.fail(f'late, ticks and looks by round: {seen}')
