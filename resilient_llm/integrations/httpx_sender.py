"""What sends in the end for httpx and httpx2: a client's transports, or aiohttp where nobody would notice."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from resilient_llm.errors import ModelUnavailableError

from .aiohttp_sender import AiohttpSender, is_rewritten, is_untouched
from .httpx_family import HttpxReceived, family_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from resilient_llm.http_call import HTTPCall

    from .httpx_family import HTTPRequest
    from .observed_body import Received

    Through: TypeAlias = Callable[[Any, HTTPRequest, HTTPCall], Awaitable[Received]]
    """Sends a request, which came from a call, through a transport."""


OWN_WORDS: Final = frozenset({"sni_hostname", "target", "trace"})
"""Extensions of a request that only the library's own transport understands."""


class HttpxSender:
    """Sends by the transport that is chosen for a request.

    Args:
        choose: Chooses it.
        through: Sends through one that is not stood in for.
    """

    def __init__(self, choose: Callable[[HTTPRequest], Any], through: Through | None = None) -> None:
        self._choose = choose
        self._through = through or _through
        self._stand_ins: dict[Any, AiohttpSender] = {}
        self._closed = False

    async def send(self, call: HTTPCall, edited: bytes | None) -> Received:
        """Send a call as it came, or with another body; bodies that are no plain bytes by the transport itself.

        Raises:
            ModelUnavailableError: The client was closed, and this is an attempt of a call that had begun before.
        """
        if self._closed:
            raise closed()
        request = call.original
        family = family_of(request)
        transport = self._choose(request)
        plain = call.body is not None and OWN_WORDS.isdisjoint(request.extensions)
        if plain and is_untouched(transport, family) and not (call.asked.signed and is_rewritten(request)):
            stand_in = self._stand_ins.get(transport)
            if stand_in is None:
                stand_in = self._stand_ins[transport] = AiohttpSender(transport)
            with suppress(
                ValueError, aiohttp.NonHttpUrlClientError
            ):  # no request: the transport tells in its words
                return await stand_in.send(call, edited)
        if edited is not None:
            request = family.with_body(request, edited)
        return await self._through(transport, request, call)

    async def aclose(self) -> None:
        """Close what stood in for transports; these are closed by whoever made them."""
        self._closed = True
        await asyncio.gather(*(stand_in.aclose() for stand_in in self._stand_ins.values()))


def closed() -> ModelUnavailableError:
    """What ends a call whose client is closed."""
    msg = "the client was closed while the call was on its way"
    return ModelUnavailableError(msg, retryable=False, backend_fault=False)


async def _through(transport: Any, request: HTTPRequest, _call: HTTPCall) -> Received:
    return HttpxReceived(await transport.handle_async_request(request), family_of(request))
