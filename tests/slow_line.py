"""A TCP proxy that delays what it passes on, or answers garbage itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self


class SlowLine:
    """In front of a port; `delay` in seconds each way, `garbage` instead of any answer."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self.delay = 0.0
        self.garbage = b""
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with suppress(OSError, asyncio.CancelledError):
                behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self._behind)
                try:
                    await asyncio.gather(
                        self._pass(reader, behind_writer), self._pass(behind_reader, writer, answers=True)
                    )
                finally:
                    behind_writer.close()
        finally:
            writer.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False
    ) -> None:
        while data := await reader.read(65536):
            await asyncio.sleep(self.delay)
            writer.write(self.garbage if answers and self.garbage else data)
        writer.close()
