"""
Programs in processes of their own that start sooner: forked from one that has imported what the package needs.

The package itself is imported anew by each, with warnings as errors, and each ends as an interpreter ends.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from pathlib import Path

import attrs

NEEDED = (
    *(
        "aiobreaker",
        "aiohttp.web",
        "asyncio",
        "attrs",
        "backoff",
        "msgspec",
        "pydantic.fields",
        "pydantic.json_schema",
    ),
    *(
        "pydantic.type_adapter",
        "redis.asyncio",
        "rich.live",
        "rich.markdown",
        "rich.syntax",
        "structlog",
        "tiktoken",
    ),
    *("tomlkit", "typer.main", "unittest.mock"),
)
PATIENCE = 60.0


@attrs.frozen
class Done:
    code: int
    out: str
    err: str


@attrs.define(eq=False)
class Programs:
    """Runs one program after the other; its process is started for the first."""

    _one: threading.Lock = attrs.field(factory=threading.Lock)
    _channel: socket.socket | None = None
    _origin: subprocess.Popen[bytes] | None = None

    def run(self, program: str, *arguments: str, stdin: bytes = b"") -> Done:
        """Run it to its end as `python -W error -c program` here and now would; its input is a pipe."""
        if not hasattr(os, "fork"):
            command = [sys.executable, "-W", "error", "-c", program, *arguments]
            done = subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE, check=False)
            return Done(done.returncode, done.stdout.decode(), done.stderr.decode())
        with contextlib.ExitStack() as stack, self._one:
            asked, out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            asked.write(json.dumps([program, arguments, str(Path.cwd()), dict(os.environ)]).encode())
            asked.seek(0)
            reader, writer = os.pipe()
            try:
                os.write(writer, stdin)
            finally:
                os.close(writer)
            try:
                code = self._code(asked.fileno(), reader, out.fileno(), err.fileno())
            finally:
                os.close(reader)
            out.seek(0)
            err.seek(0)
            return Done(code, out.read().decode(), err.read().decode())

    def _code(self, *files: int) -> int:
        if self._channel is None:
            self._channel, theirs = socket.socketpair()
            with theirs:
                self._origin = subprocess.Popen(
                    [sys.executable, "-W", "error", __file__, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            self._channel.settimeout(PATIENCE)
        socket.send_fds(self._channel, [b"."], files)
        try:
            return int(self._channel.recv(16))
        except TimeoutError:
            self.close()
            raise

    def close(self) -> None:
        """End what runs, and the process that it was forked from."""
        if self._channel is None:
            return
        self._channel.close()
        self._channel = None
        try:
            self._origin.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self._origin.pid, signal.SIGKILL)
            self._origin.wait()


def program_to_run(channel: socket.socket) -> str:
    """Return in a new process for every program that is asked for, and never in this one."""
    while True:
        _, files, _, _ = socket.recv_fds(channel, 1, 4)
        if not files:
            channel.close()
            raise SystemExit
        child = os.fork()
        if not child:
            channel.close()
            return become(*files)
        for file in files:
            os.close(file)
        _, status = os.waitpid(child, 0)
        channel.send(b"%d" % os.waitstatus_to_exitcode(status))


def become(asked: int, *standard: int) -> str:
    with open(asked) as request:
        program, arguments, place, environment = json.load(request)
    for number, file in enumerate(standard):
        os.dup2(file, number)
        os.close(file)
    os.chdir(place)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-c", *arguments]
    return program


if __name__ == "__main__":
    sys.path[0:1] = ["", str(Path(__file__).parents[1])]
    for name in NEEDED:
        with contextlib.suppress(ImportError):  # whose fault it is, a program that imports it says
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    _program = program_to_run(socket.socket(fileno=int(sys.argv[1])))
    gc.unfreeze()
    sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(_program, "<string>", "exec"), vars(sys.modules["__main__"]))  # noqa: S102
