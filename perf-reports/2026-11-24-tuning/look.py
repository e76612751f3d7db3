"""What settings of the kernel change for a server, each looked at in a network of its own.

unshare -n python3 perf-reports/2026-11-24-tuning/look.py target/release/ringway >figures.json
"""

import base64
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

BINARY = sys.argv[1]
PROC = Path('/proc/sys/net/ipv4')
BODY = 'x' * 60_000


def sysctl(name, value=None):
    before = (PROC / name).read_text().split()
    if value is not None:
        (PROC / name).write_text(value)
    return ' '.join(before)


class Server:
    def __init__(self, *settings):
        words = [BINARY, '--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0', '--cores', '1']
        for setting in ('log.level=error', *settings):
            words += ['--set', setting]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True)
        for line in self.process.stdout:
            if found := re.search(r'listening on ws://127.0.0.1:(\d+)', line):
                self.port = int(found[1])
            if found := re.search(r'admin on (http:\S+)', line):
                self.admin = found[1]
                break

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate()

    def metric(self, name):
        page = urllib.request.urlopen(f'{self.admin}/metrics').read().decode()
        return sum(float(it.split()[-1]) for it in page.splitlines()
                   if re.match(rf'{name}[ {{]', it))


class Client:
    def __init__(self, server, destination=None, buffer=16_384):
        self.stream = socket.socket()
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.stream.connect(('127.0.0.1', server.port))
        self.port = self.stream.getsockname()[1]
        key = base64.b64encode(os.urandom(16)).decode()
        self.stream.sendall((f'GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n'
                             f'Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n'
                             f'Sec-WebSocket-Key: {key}\r\n\r\n').encode())
        self.until(b'\r\n\r\n')
        self.say('CONNECT\naccept-version:1.2\n\n\0')
        self.until(b'CONNECTED')
        if destination:
            self.say(f'SUBSCRIBE\nid:0\ndestination:{destination}\nreceipt:r\n\n\0')
            self.until(b'receipt-id:r')

    def until(self, text):
        heard = b''
        while text not in heard:
            heard += self.stream.recv(1 << 16)

    @staticmethod
    def frame(text):
        payload = text.encode()
        size = len(payload)
        if size < 126:
            head = bytes([0x80 | size])
        else:
            head = b'\xfe' + struct.pack('!H', size)
        return b'\x81' + head + bytes(4) + payload

    def say(self, text):
        self.stream.sendall(self.frame(text))

    def publish(self, body):
        self.say(f'SEND\ndestination:/topic/t\nreceipt:p\n\n{body}\0')
        self.until(b'receipt-id:p')


def row(server, client, *words):
    """What `ss` says of the server's end."""
    ours = f'sport = :{server.port} and dport = :{client.port}'
    said = subprocess.run(['ss', '-tnH', *words, ours], stdout=subprocess.PIPE, text=True).stdout
    return said.split()


def queues(server, client):
    found = row(server, client)
    return {'recv_q': int(found[1]), 'send_q': int(found[2])}


def slow_subscriber():
    """12 MB for a subscriber that reads nothing: where they wait."""
    with Server('limits.outbox_bytes=32MiB', 'limits.outbox_seconds=60s') as server:
        slow, speaker = Client(server, '/topic/t'), Client(server)
        for _ in range(200):
            speaker.publish(BODY)
        time.sleep(1)
        return {**queues(server, slow), 'outbox': server.metric('websocket_outbox_bytes')}


def unread_publisher():
    """A publisher over its rate is not read: what the kernel takes from it meanwhile."""
    with Server('limits.bytes_per_second=16KiB') as server:
        client = Client(server)
        client.stream.setblocking(False)
        data = Client.frame(f'SEND\ndestination:/topic/t\n\n{BODY}\0') * 400
        at, last = 0, time.monotonic()
        while time.monotonic() < last + 1:
            try:
                at += client.stream.send(data[at:at + 65_536])
                last = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
        return queues(server, client)


def vanished_peer():
    """A peer that never closes its side: how long the kernel keeps the socket that we closed."""
    with Server('server.max_connection_age=1s') as server:
        client = Client(server)
        for _ in range(400):
            found = row(server, client, '-o', 'state', 'fin-wait-2')
            if found:
                return {'timer': next(it for it in found if 'timer' in it)}
            time.sleep(0.1)
        return {'timer': 'never seen'}


def closed_first():
    """1,000 connections that the server closes first: how many stay in TIME-WAIT."""
    with Server() as server:
        for _ in range(1_000):
            with socket.create_connection(('127.0.0.1', server.port)) as stream:
                stream.sendall(b'GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
                while stream.recv(4096):
                    pass
        said = subprocess.run(['ss', '-tnH', 'state', 'time-wait', f'sport = :{server.port}'],
                              stdout=subprocess.PIPE, text=True).stdout
        return {'time_wait': len(said.splitlines())}


def burst_after_silence():
    """The congestion window after 4 MB, and after one message behind 3 s of silence.

    With `reno`: `bbr` has a way of its own and does not look at the setting."""
    sysctl('tcp_congestion_control', 'reno')
    def window(server, client):
        return int(re.search(r'\bcwnd:(\d+)', ' '.join(row(server, client, '-i')))[1])

    with Server() as server:
        hearing, speaker = Client(server, '/topic/t', 1 << 22), Client(server)
        for _ in range(8):
            # One write of many segments: only what the window holds back makes it grow.
            for _ in range(8):
                speaker.say(f'SEND\ndestination:/topic/t\n\n{BODY}\0')
            for _ in range(8):
                hearing.until(b'\0')
        before = window(server, hearing)
        time.sleep(3)
        speaker.publish('x')
        hearing.until(b'\0')
        return {'before': before, 'after': window(server, hearing)}


LOOKS = [
    ('tcp_wmem', '4096 16384 1048576', slow_subscriber),
    ('tcp_notsent_lowat', '16384', slow_subscriber),
    ('tcp_rmem', '4096 16384 1048576', unread_publisher),
    ('tcp_fin_timeout', '15', vanished_peer),
    ('tcp_max_tw_buckets', '100', closed_first),
    ('tcp_slow_start_after_idle', '0', burst_after_silence),
]


def main():
    subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
    figures = {}
    for name, value, look in LOOKS:
        default = sysctl(name)
        found = {default: look()}
        sysctl(name, value)
        found[value] = look()
        sysctl(name, default)
        figures[name] = found
        print(name, found, file=sys.stderr)
    print(json.dumps(figures, indent=2))


main()
