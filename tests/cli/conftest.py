"""Running the command as a process: with pipes, or at a terminal of its own."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import subprocess
import sys

import pytest
from programs import Done

from resilient_llm.cli import main
from resilient_llm.testing import FaultServer

PROGRAM = """
import sys
if "--terminal" in sys.argv:
    import fcntl, termios
    sys.argv.remove("--terminal")
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from resilient_llm.cli import main
sys.argv[0] = "resilient-llm"
main()
"""
COMMAND = (sys.executable, "-W", "error", "-c", PROGRAM)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty working directory and home; an ordinary terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("XDG_CONFIG_HOME", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def run(programs):
    """Run the command with pipes, to its end."""

    async def start(*args: str, stdin: bytes = b"") -> Done:
        return await asyncio.to_thread(programs.run, PROGRAM, *args, stdin=stdin)

    return start


@pytest.fixture
async def serve():
    """Start a server that fails as told; the options that lead the command there."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(schedule=None, **options):
            server = await stack.enter_async_context(FaultServer(schedule, **options))
            return server, ("--backend", "openai-compatible", "--base-url", server.base_url)

        yield start


class Terminal:
    """The command at a terminal."""

    def __init__(self, *args: str) -> None:
        self.shown = ""
        self._seen = 0
        self._news = asyncio.Event()
        self._keyboard, theirs = os.openpty()
        self.process = subprocess.Popen(
            [*COMMAND, "--terminal", *args],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        asyncio.get_running_loop().add_reader(self._keyboard, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._keyboard, 65536)
        except OSError:  # the other end is closed
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._keyboard)
        self.shown += data.decode()
        self._news.set()

    def type(self, keys: str) -> None:
        os.write(self._keyboard, keys.encode())

    async def interrupt(self) -> None:
        """Press Ctrl-C as late as people do: a signal between the prompt and the wait for keys is lost on readline."""
        await asyncio.sleep(0.3)
        self.type("\x03")

    async def see(self, text: str) -> str:
        """Wait until a text is shown, after what was waited for before; what was shown up to its end."""
        async with asyncio.timeout(20):
            while (place := self.shown.find(text, self._seen)) < 0:
                self._news.clear()
                await self._news.wait()
        before, self._seen = self._seen, place + len(text)
        return self.shown[before : self._seen]

    async def end(self) -> int:
        async with asyncio.timeout(20):
            return await asyncio.to_thread(self.process.wait)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._keyboard)
        self.process.kill()
        self.process.wait()
        os.close(self._keyboard)


@pytest.fixture
async def terminal():
    """Start the command at a terminal; ended when the test ends."""
    opened = []

    def start(*args: str) -> Terminal:
        opened.append(Terminal(*args))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.fixture
def call(capfd, monkeypatch):
    """Run the command in this process, with an empty pipe or a text as its input; for servers in another thread."""

    def start(*args: str, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        monkeypatch.setattr(sys, "argv", ["resilient-llm", *args])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return Done(ended.value.code, out, err)

    return start
