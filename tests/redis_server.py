"""A real redis-server for tests: on a free port, in a directory of its own, killed at the end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Self

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def needed() -> str:
    """The path of redis-server; without it the test is skipped with the reason, or fails where CI runs."""
    path = shutil.which("redis-server")
    if path is None:
        why = "needs redis-server on the PATH (Debian, Ubuntu: apt-get install redis-server)"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    return path


class RedisServer:
    """One server; `stop` and `go` freeze it, `kill` and `start` restart it with empty data; a `with` block ends it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = needed()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self, *options: str) -> None:
        command = [self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--appendonly", "no", "--dir", str(self._folder), *options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ending = time.monotonic() + 10
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                    probe.sendall(b"PING\r\n")
                    if probe.recv(5) == b"+PONG":
                        return
            except OSError:
                assert time.monotonic() < ending, "redis-server does not start"
                time.sleep(0.01)

    def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def say(self, *words: str) -> bytes:
        """One command and what comes back."""
        with socket.create_connection(("127.0.0.1", self.port), 1) as line:
            line.sendall(" ".join(words).encode() + b"\r\n")
            return line.recv(65536)
