"""Wrapping clients of httpx and httpx2."""

from __future__ import annotations

import copy
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from resilient_llm.pipeline import close_all

from .httpx_family import family_of
from .httpx_transport import ResilientTransport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_llm.pipeline import Middleware
    from resilient_llm.stages import StackOptions

    from .httpx_family import Exceptions, HTTPRequest


SENT_BY: Final = "resilient_llm.client"
"""The extension of a request that another client is to send."""


class ClientTransports:
    """The transports of a client: its own, its proxies' and its mounts', as it chooses among them.

    It holds on to the client, whose connections end with it.

    Args:
        client: The client.
        others: Those that may send in its place; opened and closed with it.
    """

    def __init__(self, client: Any, others: Sequence[Any] = ()) -> None:
        self.client = client
        self._all = (client, *others)

    def transport_for(self, request: HTTPRequest) -> Any:
        """The one that the client would send by."""
        client = request.extensions.get(SENT_BY, self.client)
        return client._transport_for_url(request.url)  # noqa: SLF001

    async def __aenter__(self) -> None:
        """Open the clients."""
        for client in self._all:
            if not _is_open(client):
                await client.__aenter__()

    async def aclose(self) -> None:
        """Close the clients."""
        await close_all(self._all)

    # Of a sync client ...

    def __enter__(self) -> None:
        """Open the clients."""
        for client in self._all:
            if not _is_open(client):
                client.__enter__()

    def close(self) -> None:
        """Close the clients."""
        with ExitStack() as closing:
            for client in self._all:
                closing.callback(client.close)


def _is_open(client: Any) -> bool:
    return bool(client._state.name != "UNOPENED")  # noqa: SLF001 - there is no other way to know


def is_client(client: object) -> bool:
    """Is this an `AsyncClient` or a `Client` of httpx or httpx2?"""
    try:
        family = family_of(client)
    except TypeError:
        return False
    return isinstance(client, family.module.AsyncClient | family.module.Client)


def is_async(client: Any) -> bool:
    """Is a client of httpx or httpx2 an `AsyncClient`?"""
    return isinstance(client, family_of(client).module.AsyncClient)


def original_of(client: Any) -> Any:
    """The client below a wrapped one; any other is itself."""
    transports = getattr(client._transport, "transport", None)  # noqa: SLF001
    return transports.client if isinstance(transports, ClientTransports) else client


def is_wrapped(client: object) -> bool:
    """Is our transport below this client?"""
    return isinstance(getattr(client, "_transport", None), ResilientTransport)


def recognises(client: object) -> bool:
    """Is this one for this module?"""
    return is_client(client)


def wrap(client: Any, middleware: Sequence[Middleware] | None, options: StackOptions) -> Any:
    """A client with the same settings, cookies and hooks whose requests pass the stages."""
    return around(client, middleware, options, name="http")


def around(
    client: Any,
    middleware: Sequence[Middleware] | None,
    options: StackOptions,
    *,
    name: str,
    exceptions: Exceptions | None = None,
    others: Sequence[Any] = (),
) -> Any:
    """A copy of an HTTP client that sends through stages, and then by the transports of the original, or of others."""
    transport = ResilientTransport(
        ClientTransports(client, others), middleware=middleware, name=name, exceptions=exceptions, **options
    )
    twin = copy.copy(client)
    twin._transport, twin._mounts = transport, {}  # noqa: SLF001 - no argument takes them over
    twin._cookies = _quick(client._cookies)  # noqa: SLF001
    kind: type = type(client)
    if hasattr(kind, "__del__"):
        twin.__class__ = _dropped_alone(kind)
    return twin


def _quick(cookies: Any) -> Any:
    """Cookies with the same jar that cost an answer without any nothing; those of a class of one's own are kept."""
    family = family_of(cookies)
    if type(cookies) is not family.module.Cookies:
        return cookies
    quick = family.cookies()
    quick.jar = cookies.jar
    return quick


@cache
def _dropped_alone(kind: type) -> type:
    """The class of a client that closes itself when it is dropped, without that: it would close the original, too."""
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (kind,), {**names, "__del__": lambda _: None})
