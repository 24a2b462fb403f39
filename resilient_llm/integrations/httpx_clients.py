"""Wrapping clients of httpx and httpx2."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from .httpx_family import family_of
from .httpx_transport import ResilientTransport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_llm.pipeline import Middleware
    from resilient_llm.stages import StackOptions

    from .httpx_family import Exceptions, HTTPRequest


class ClientTransports:
    """The transports of a client: its own, its proxies' and its mounts', as it chooses among them.

    It holds on to the client, whose connections end with it.
    """

    def __init__(self, client: Any) -> None:
        self.client = client

    def transport_for(self, request: HTTPRequest) -> Any:
        """The one that the client would send by."""
        return self.client._transport_for_url(request.url)  # noqa: SLF001

    async def __aenter__(self) -> None:
        """Open the client."""
        if not _is_open(self.client):
            await self.client.__aenter__()

    async def aclose(self) -> None:
        """Close the client."""
        await self.client.aclose()

    # Of a sync client ...

    def __enter__(self) -> None:
        """Open the client."""
        if not _is_open(self.client):
            self.client.__enter__()

    def close(self) -> None:
        """Close the client."""
        self.client.close()


def _is_open(client: Any) -> bool:
    return bool(client._state.name != "UNOPENED")  # noqa: SLF001 - there is no other way to know


def is_client(client: object) -> bool:
    """Is this an `AsyncClient` or a `Client` of httpx or httpx2?"""
    try:
        family = family_of(client)
    except TypeError:
        return False
    return isinstance(client, family.module.AsyncClient | family.module.Client)


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
) -> Any:
    """A copy of an HTTP client that sends through stages, and then by the transports of the original."""
    transport = ResilientTransport(
        ClientTransports(client), middleware=middleware, name=name, exceptions=exceptions, **options
    )
    twin = copy.copy(client)
    twin._transport, twin._mounts = transport, {}  # noqa: SLF001 - no argument takes them over
    return twin
