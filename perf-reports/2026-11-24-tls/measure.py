#!/usr/bin/env python3
"""What TLS of the listener costs: measure.py SERVER FILE writes the raw figures to FILE.

One server process on one core per figure, three rounds in turns. CPU is the server's own, from
/proc; clients are Python's ssl module in other processes. Needs openssl and nothing else.
"""

import glob
import json
import multiprocessing
import re
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import time

ROUNDS = 3
SESSIONS = 1500
UPGRADE = (b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
           b"Sec-WebSocket-Protocol: v12.stomp\r\n\r\n")


def context():
    made = ssl.create_default_context()
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


class Session:
    """A STOMP session; with TLS when `tls` is a context, by a ticket when `ticket` is one."""

    def __init__(self, port, tls=None, ticket=None):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = tls.wrap_socket(self.socket, session=ticket)
            assert ticket is None or self.socket.session_reused
        self.socket.sendall(UPGRADE)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1)
        assert head.startswith(b"HTTP/1.1 101 "), head
        self.send("CONNECT\naccept-version:1.2\nhost:x\n\n\0")
        assert self.receive().startswith(b"CONNECTED"), "no CONNECTED"

    def send(self, frame):
        frame = frame.encode()
        assert len(frame) < 126
        self.socket.sendall(bytes([0x81, 0x80 | len(frame), 0, 0, 0, 0]) + frame)

    def exactly(self, count):
        got = b""
        while len(got) < count:
            more = self.socket.recv(count - len(got))
            assert more, "the server closed"
            got += more
        return got

    def receive(self):
        length = self.exactly(2)[1]
        return self.exactly(int.from_bytes(self.exactly(2), "big") if length == 126 else length)


class Server:
    def __init__(self, program, driver, certificate):
        settings = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--cores", "1"]
        if certificate:
            settings += ["--set", f"tls.cert={certificate}.pem"]
            settings += ["--set", f"tls.key={certificate}.key"]
        command = [program, *settings, "--driver", driver]
        out, err = subprocess.PIPE, subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdout=out, stderr=err, text=True)
        for line in self.process.stdout:
            if found := re.search(r"listening on wss?://127\.0\.0\.1:(\d+)/", line):
                self.port = int(found[1])
                break
        self.folder = f"/proc/{self.process.pid}"

    def cpu_ns(self):
        files = glob.glob(f"{self.folder}/task/*/schedstat")
        return sum(int(open(it).read().split()[0]) for it in files)

    def pss_bytes(self):
        text = open(f"{self.folder}/smaps_rollup").read()
        return 1024 * int(re.search(r"\nPss:\s+(\d+)", text)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def opening(program, driver, certificate, resumes):
    """CPU and memory of a session from its TCP connection to CONNECTED."""
    with Server(program, driver, certificate) as server:
        tls, ticket, kept = context() if certificate else None, None, []
        for index in range(100 + SESSIONS):
            if index == 100:
                time.sleep(0.5)
                cpu, pss = server.cpu_ns(), server.pss_bytes()
            kept.append(Session(server.port, tls, ticket))
            if resumes:
                ticket = kept[-1].socket.session
        cpu = server.cpu_ns() - cpu
        time.sleep(0.5)
        pss = server.pss_bytes() - pss
        return {"cpu_us": cpu / SESSIONS / 1000, "pss_bytes": pss / SESSIONS}


def storm(port, count, stop):
    """Shakes hands 40 at a time, in full, until told to stop."""
    tls, own = context(), 0
    while not stop.is_set():
        begun = []
        for _ in range(40):
            raw = socket.create_connection(("127.0.0.1", port))
            begun.append(tls.wrap_socket(raw, do_handshake_on_connect=False))
            begun[-1].setblocking(False)
            try:
                begun[-1].do_handshake()
            except ssl.SSLWantReadError:
                pass
        for one in begun:
            one.setblocking(True)
            one.do_handshake()
            one.close()
            own += 1
    with count.get_lock():
        count.value += own


def round_trips(session, seconds):
    """Median, 99th percentile and longest time of a SEND until its own MESSAGE is back, in ms."""
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.monotonic()
        session.send("SEND\ndestination:/topic/x\n\nhello\0")
        session.receive()
        times.append((time.monotonic() - start) * 1000)
        time.sleep(0.002)
    times.sort()
    middle, late = times[len(times) // 2], times[len(times) * 99 // 100]
    return {"median": middle, "p99": late, "max": times[-1]}


def beside_a_storm(program, driver, certificate):
    with Server(program, driver, certificate) as server:
        session = Session(server.port, context())
        session.send("SUBSCRIBE\nid:1\ndestination:/topic/x\nreceipt:r\n\n\0")
        session.receive()
        quiet = round_trips(session, 3)
        count, stop = multiprocessing.Value("Q", 0), multiprocessing.Event()
        ways = [(server.port, count, stop)] * 2
        attackers = [multiprocessing.Process(target=storm, args=it) for it in ways]
        start = time.monotonic()
        for one in attackers:
            one.start()
        beside = round_trips(session, 5)
        stop.set()
        for one in attackers:
            one.join()
        rate = count.value / (time.monotonic() - start)
        return {"quiet_ms": quiet, "storm_ms": beside, "handshakes_per_second": rate}


def main():
    program, target = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in [("p256", ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]),
                           ("rsa2048", ["rsa:2048"])]:
            command = ["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-days", "2"]
            command += ["-subj", "/CN=x", "-keyout", f"{folder}/{name}.key"]
            subprocess.run([*command, "-out", f"{folder}/{name}.pem"], check=True,
                           capture_output=True)
        for number in range(ROUNDS):
            for driver in ["io_uring", "epoll"]:
                for what, certificate, resumes in [("plain", None, False), ("p256", "p256", False),
                                                   ("p256 resumed", "p256", True),
                                                   ("rsa2048", "rsa2048", False)]:
                    path = certificate and f"{folder}/{certificate}"
                    figures = opening(program, driver, path, resumes)
                    results.append({"round": number, "driver": driver, "open": what, **figures})
                for certificate in ["p256", "rsa2048"]:
                    figures = beside_a_storm(program, driver, f"{folder}/{certificate}")
                    results.append({"round": number, "driver": driver, "storm": certificate,
                                    **figures})
                print(json.dumps(results[-6:]), flush=True)
    with open(target, "w") as out:
        json.dump(results, out, indent=1)


if __name__ == "__main__":
    main()
