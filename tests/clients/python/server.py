"""Starts the real server for a suite and ends it; asserts its driver and its exit."""

import json
import os
import queue
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request

PATIENCE_SECONDS = 20


class Server:
    """A running server: `url`, `admin`, and `port` say where it is. A context manager.

    `wanted` is the driver that it is told to use, `expected` the one that must run, and `before`
    is called in its process before it begins.
    """

    def __init__(self, *settings, wanted=None, expected=None, before=None):
        driver = wanted or _setting("EDGE_DRIVER")
        flags = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
        flags += ["--driver", driver, "--cores", _setting("EDGE_CORES")]
        for setting in settings:
            flags += ["--set", setting]
        self._lines = queue.SimpleQueue()
        self._said = []
        self._process = subprocess.Popen(
            [_setting("EDGE_BIN"), *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=before,
        )
        threading.Thread(target=self._forward, daemon=True).start()
        try:
            self.url = self._await(r"listening on (ws:\S+)")
            self.admin = self._await(r"admin on (http:\S+)")
            self.port = int(re.search(r":(\d+)/", self.url).group(1))
            self.details = self._health()["details"]
            expected = expected or driver
            runs = self.details["driver"]
            assert runs == expected, f"{runs} runs, it should be {expected}"
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Sends SIGTERM and asserts exit 0."""
        self._process.terminate()
        try:
            code = self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        assert code == 0, f"exit {code}:\n{''.join(self._said)}"

    def kill(self):
        """Ends it as the loss of its host would."""
        self._process.kill()
        self._process.wait(PATIENCE_SECONDS)

    def _health(self):
        try:
            with urllib.request.urlopen(f"{self.admin}/actuator/health") as answer:
                return json.load(answer)
        except urllib.error.HTTPError as answer:
            # The status is the edge tests' business; the body tells the driver in any case.
            return json.load(answer)

    def _forward(self):
        for line in self._process.stdout:
            self._said.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def _await(self, pattern):
        for line in self._said:
            if found := re.search(pattern, line):
                return found.group(1)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            assert line is not None, f"no {pattern!r} in:\n{''.join(self._said)}"
            if found := re.search(pattern, line):
                return found.group(1)


def _setting(name):
    value = os.environ.get(name)
    assert value, f"{name} must be set: run these through ./test clients"
    return value
