"""The clients of the fault matrix, each in a process of its own, in the Python that has it."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

WORKER = Path(__file__).parent / "fault_worker.py"
STARTED = 120.0
"""Seconds for a client to be imported; on a busy machine some take many."""
CLOSED = 10.0


class Client:
    """A worker's process; a context manager.

    Args:
        adapter: A module of `adapters`, or the path of a file.
        python: Which Python has the client.

    `name`, `abilities`, `versions` and `configuration` are the client's; `missing` says why there is none, if so.
    """

    def __init__(self, adapter: str, python: str = sys.executable) -> None:
        self.adapter = adapter
        self.python = python
        self._process: subprocess.Popen | None = None
        self.name, self.abilities, self.versions, self.configuration = adapter, frozenset(), "", ""
        self.missing = ""

    def __enter__(self) -> Self:
        told = self._start()
        if told is None:
            self.missing = f"it cannot be started with {self.python}"
        elif "missing" in told:
            self.missing = told["missing"]
        else:
            self.name, self.abilities = told["name"], frozenset(told["abilities"])
            self.versions, self.configuration = told["versions"], told["configuration"]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _start(self) -> Mapping | None:
        try:
            self._process = subprocess.Popen(
                [self.python, WORKER, self.adapter],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        except OSError:
            return None
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, args=(self._process, self._lines), daemon=True).start()
        return self._next(STARTED)

    @staticmethod
    def _read(process: subprocess.Popen, lines: queue.Queue[str]) -> None:
        for line in process.stdout:
            lines.put(line)
        lines.put("")

    def _next(self, timeout: float) -> Mapping | None:
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            return None
        return json.loads(line) if line else None

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()
            self._process = None

    @contextlib.contextmanager
    def playing(self, job: Mapping, patience: float) -> Iterator[Mapping | None]:
        """What came of a job, while its client is still open; None if nothing did for so many seconds."""
        result = self._say(job, patience)
        try:
            yield result
        finally:
            if result is None or self._say("close", CLOSED) is None:
                self._stop()
                self._start()  # a process that hangs or has ended is no loss: there is another one

    def _say(self, line: object, patience: float) -> Mapping | None:
        try:
            self._process.stdin.write(f"{json.dumps(line)}\n")
            self._process.stdin.flush()
        except OSError:
            return None
        return self._next(patience)
