"""Wrapping sessions of aiohttp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp

from .aiohttp_middleware import ResilientMiddleware

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_llm.pipeline import Middleware
    from resilient_llm.stages import StackOptions


def recognises(client: object) -> bool:
    """Is this one for this module?"""
    return isinstance(client, aiohttp.ClientSession)


def is_wrapped(client: Any) -> bool:
    """Is our middleware among this session's?"""
    return any(isinstance(known, ResilientMiddleware) for known in getattr(client, "_middlewares", ()))


def wrap(client: Any, middleware: Sequence[Middleware] | None, options: StackOptions) -> Any:
    """The session itself, with our middleware behind its own, and without retries of its own.

    Raises:
        TypeError: This aiohttp knows no client middlewares.
    """
    if not hasattr(client, "_middlewares"):
        msg = f"aiohttp {aiohttp.__version__} knows no client middlewares: install aiohttp 3.12 or newer"
        raise TypeError(msg)
    client._middlewares = (*client._middlewares, ResilientMiddleware(middleware=middleware, **options))  # noqa: SLF001
    client._retry_connection = False  # noqa: SLF001 - no argument sets it
    return client
