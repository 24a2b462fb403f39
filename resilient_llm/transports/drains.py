"""Connections whose answer is complete but whose last bytes are still to come.

The end marker of a stream and the last chunk of its HTTP body are two writes, which a server may put apart.
The caller has its answer and does not wait; the connection is reusable once the rest has come. So it stays
here for a moment. No task reads: aiohttp's parser consumes the rest as it arrives, gives the connection
back at the end of the body, and stops reading a server that goes on sending (its buffer is bounded). All
that is left to do is to give up in time.

A request that comes meanwhile waits for such a connection instead of opening another one, unless the last one
was given up: then this server does not end its bodies, and waiting would be in vain.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable

    from aiohttp import ClientResponse

DRAIN_SECONDS: Final = 0.5
"""How long the last bytes of an answer that is complete may take."""


class Drains:
    """The drains of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._unclaimed: dict[_Drain, None] = {}
        self._claimed: dict[_Drain, None] = {}
        self._worth_waiting = True

    def __len__(self) -> int:
        return len(self._unclaimed) + len(self._claimed)

    def take(self, response: ClientResponse) -> None:
        """Take over a response whose answer is complete."""
        if response.closed:  # the body has ended, and the connection is back in the pool
            return
        if response.content.exception() is not None:
            response.close()
            return
        self._unclaimed[_Drain(self, response, self._loop)] = None

    def next(self) -> Awaitable[None] | None:
        """Done when a connection that nobody else waits for is given back, given up or broken; None: do not wait."""
        if not self._unclaimed or not self._worth_waiting:
            return None
        drain = next(iter(self._unclaimed))
        del self._unclaimed[drain]
        self._claimed[drain] = None
        return drain.wait()

    def close(self) -> None:
        """Give up all of them."""
        for drain in (*self._unclaimed, *self._claimed):
            drain.give_up()

    def ended(self, drain: _Drain, *, reusable: bool) -> None:
        """Forget a drain that is over."""
        self._worth_waiting = reusable
        self._unclaimed.pop(drain, None)
        self._claimed.pop(drain, None)


class _Drain:
    def __init__(self, drains: Drains, response: ClientResponse, loop: asyncio.AbstractEventLoop) -> None:
        self._drains = drains
        self._response = response
        self._timer = loop.call_later(DRAIN_SECONDS, self.give_up)
        response.content.on_eof(self._finish)

    async def wait(self) -> None:
        """Until it is over, or broken: that aiohttp tells only those who wait for the end of the body."""
        with suppress(Exception):  # it is no error of the request that waits
            await self._response.content.wait_eof()

    def _finish(self) -> None:
        self._end(reusable=True)

    def give_up(self) -> None:
        self._response.close()
        self._end(reusable=False)

    def _end(self, *, reusable: bool) -> None:
        self._timer.cancel()
        self._drains.ended(self, reusable=reusable)
