"""`wrap`: one line gives an existing client the whole stack and changes nothing else."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, Unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_llm.pipeline import Middleware
    from resilient_llm.stages import StackOptions

Client = TypeVar("Client")

CAN_BE_WRAPPED: Final = (
    "a client of openai (Azure, too), anthropic or another SDK of that make, or of httpx or httpx2, "
    "async or sync, or an aiohttp.ClientSession"
)


class Library(Protocol):
    """What a module of this package does for one library's clients."""

    def recognises(self, client: object, /) -> bool:
        """Is this one of its clients?"""
        ...

    def is_wrapped(self, client: Any, /) -> bool:
        """Has it been through here?"""
        ...

    def wrap(self, client: Any, middleware: Sequence[Middleware] | None, options: StackOptions, /) -> Any:
        """A client of the same type."""
        ...


def _libraries() -> tuple[Library, ...]:
    """To add one: a module with these three functions, and its name here. None imports its library."""
    from . import aiohttp_sessions, generated_sdks, httpx_clients  # noqa: PLC0415 - only those who wrap need them

    return (generated_sdks, httpx_clients, aiohttp_sessions)


def wrap(
    client: Client, *, middleware: Sequence[Middleware] | None = None, **options: Unpack[StackOptions]
) -> Client:
    """A client of the same type whose calls pass a stack of stages. `client` itself is not changed.

    Only of an aiohttp session it is the same one that is returned, with a middleware behind its own. A wrapped client
    raises its library's own exceptions, with our error on `llm_error`, and never retries by itself. It uses the
    connections of the one that was given, so closing it closes the other, too.

    Args:
        client: A client of openai or anthropic, or of another SDK of that make; a client of httpx or httpx2; a
            `ClientSession` of aiohttp.
        middleware: Stages of one's own, outermost first; default: `standard_stack(**options)`.
        options: The options of `standard_stack`: `deadline`, `max_retries`, ...; see `StackOptions`. Where the
            client has a read timeout of its own, that goes before theirs.
            `fallback`: for clients of an SDK, other clients of the same SDK (another key, region, base URL), or
            `Target(client, model=...)` for another model, or a `Fallback` of them; closed with the wrapped one.

    Raises:
        TypeError: `client` is nothing that can be wrapped; the message says what can.
        RuntimeError: It is closed.
    """
    library = next((known for known in _libraries() if known.recognises(client)), None)
    if library is None:
        raise TypeError(_advice(client))
    if library.is_wrapped(client):
        warnings.warn(f"{type(client).__name__} is wrapped already; it is returned as it is", stacklevel=2)
        return client
    if _is_closed(client):
        msg = f"the {type(client).__name__} is closed: wrap one that is open"
        raise RuntimeError(msg)
    wrapped: Client = library.wrap(client, middleware, options)
    return wrapped


def _is_closed(client: object) -> bool:
    closed = getattr(client, "is_closed", getattr(client, "closed", False))
    return bool(closed() if callable(closed) else closed)


def _advice(client: object) -> str:
    if isinstance(client, type):
        return f"{client.__name__} cannot be wrapped: give {CAN_BE_WRAPPED}"
    kind = type(client).__name__
    return f"a {kind} cannot be wrapped; what can: {CAN_BE_WRAPPED}"
