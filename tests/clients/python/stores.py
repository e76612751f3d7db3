"""The stores of a history that outlive the server: a SQLite file, and a mariadbd of our own."""

import contextlib
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from server import PATIENCE_SECONDS


@contextlib.contextmanager
def sqlite():
    """The setting for a SQLite file in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="ringway-sqlite-") as folder:
        yield f"history.url=sqlite://{folder}/history.db"


@contextlib.contextmanager
def mariadb():
    """The setting for a database server that lets everybody in."""
    with tempfile.TemporaryDirectory(prefix="ringway-mariadb-") as name:
        folder = Path(name)
        (folder / "data").mkdir()
        (folder / "init.sql").write_text("CREATE DATABASE IF NOT EXISTS ringway;\n")
        process, port = _start(folder)
        try:
            yield f"history.url=mysql://root@127.0.0.1:{port}/ringway"
        finally:
            process.kill()
            process.wait(PATIENCE_SECONDS)


def _start(folder):
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        flags = ["--no-defaults", "--user=root", "--bind-address=127.0.0.1"]
        flags += ["--skip-grant-tables", "--innodb-buffer-pool-size=32M", f"--port={port}"]
        flags += [f"--datadir={folder}/data", f"--socket={folder}/socket"]
        flags += [f"--pid-file={folder}/pid", f"--init-file={folder}/init.sql"]
        log = folder / "log"
        with open(log, "w") as output:
            process = subprocess.Popen(
                ["mariadbd", *flags], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while process.poll() is None:
            if "ready for connections" in log.read_text():
                return process, port
            if deadline < time.monotonic():
                process.kill()
                break
            time.sleep(0.05)
        process.wait()
        # Somebody else may have taken the port since.
        assert "Address already in use" in log.read_text(), log.read_text()
