"""What these suites share: servers, a Redis, free ports, and a client that is a socket."""

import base64
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'tests/clients/python'))

from server import PATIENCE_SECONDS, Server  # noqa: E402, F401


def until(is_so, what, seconds=PATIENCE_SECONDS):
    """Asks again until it is so; returns what it then is."""
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        if deadline < time.monotonic():
            raise AssertionError(f'waited in vain for {what}')
        time.sleep(0.05)
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def ask(url, body=None, method=None, headers=()):
    """Status, headers and body of an answer, whatever its status is."""
    request = urllib.request.Request(url, data=body, method=method, headers=dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers, answer.read()


def get_json(url):
    status, _, body = ask(url)
    assert status == 200, (url, status, body)
    return json.loads(body)


class Process:
    """A process of a tool on a free port, in a folder of its own. A context manager."""

    def __init__(self, make_words, is_ready):
        self.folder = tempfile.TemporaryDirectory(prefix='ringway-')
        for _ in range(5):
            self.port = free_port()
            self.log = open(Path(self.folder.name) / 'log', 'w+')
            self.process = subprocess.Popen(
                make_words(self.port, Path(self.folder.name)),
                stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
            try:
                # It ends at once when somebody else has taken the port since.
                if until(lambda: self.process.poll() is not None or is_ready(self.port), 'it'):
                    if self.process.poll() is None:
                        return
            except BaseException:
                self.stop()
                raise
        self.log.seek(0)
        raise AssertionError(self.log.read())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)
        self.log.close()
        self.folder.cleanup()


def start_redis():
    def is_ready(port):
        try:
            with socket.create_connection(('127.0.0.1', port), timeout=1) as stream:
                stream.sendall(b'PING\r\n')
                return stream.recv(7) == b'+PONG\r\n'
        except OSError:
            return False

    return Process(
        lambda port, folder: ['redis-server', '--port', str(port), '--bind', '127.0.0.1',
                              '--save', '', '--dir', str(folder)], is_ready)


def message(text):
    """A WebSocket text message of a client; its mask changes nothing."""
    payload = text.encode()
    size = len(payload)
    if size < 126:
        return b'\x81' + bytes([0x80 | size]) + bytes(4) + payload
    assert size < 1 << 16
    return b'\x81\xfe' + struct.pack('!H', size) + bytes(4) + payload


def upgrade(port):
    key = base64.b64encode(os.urandom(16)).decode()
    return (f'GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n'
            f'Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n'
            f'Sec-WebSocket-Key: {key}\r\n\r\n').encode()


class Client:
    """A session that is told what to send, and reads what comes only to look for a text."""

    def __init__(self, server, login, *destinations):
        self.stream = socket.create_connection(('127.0.0.1', server.port))
        self.stream.settimeout(PATIENCE_SECONDS)
        self.heard = b''
        self.stream.sendall(upgrade(server.port))
        # Nothing is sent before the answer.
        self.await_text('\r\n\r\n')
        self.send(f'CONNECT\naccept-version:1.2\nlogin:{login}\n\n\0')
        for number, destination in enumerate(destinations):
            receipt = f'receipt-{number}'
            self.send(f'SUBSCRIBE\nid:{number}\ndestination:{destination}\nreceipt:{receipt}\n\n\0')
            self.await_text(f'receipt-id:{receipt}')

    def send(self, text):
        self.stream.sendall(message(text))

    def publish(self, destination, body):
        self.send(f'SEND\ndestination:{destination}\n\n{body}\0')

    def await_text(self, text):
        """Reads until it has come; what came before it is forgotten."""
        while (at := self.heard.find(text.encode())) < 0:
            more = self.stream.recv(1 << 16)
            assert more, f'the end came before {text!r}: {self.heard!r}'
            self.heard += more
        self.heard = self.heard[at + len(text):]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
