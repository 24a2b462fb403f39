"""Which of several servers to ask, and for which model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from resilient_llm.tokens import ChatCounter, MalformedMessageError

from .selection import choose_model, holds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_llm.models import Request

    from .discovery import Server
    from .selection import Kind

BYTES_PER_TOKEN: Final = 3


@attrs.frozen(eq=False)
class Choice:
    """A server, and the model to ask it for.

    Args:
        server: The server.
        model: The model's name; empty if the request, or the server's transport, has one already.
    """

    server: Server
    model: str = ""

    def is_like(self, other: object) -> bool:
        """Is the other one a choice of the same model at the same address, be it found anew?"""
        return isinstance(other, Choice) and self.identity == other.identity

    @property
    def identity(self) -> tuple[str, str, str]:
        """The backend's name, its address, and the model."""
        transport = self.server.transport
        return transport.name, transport.base_url, self.model


def server_with(name: str, servers: Sequence[Server]) -> Server:
    """The server that has a model of this name, else the first: it will say that it has none, or answer to any name."""
    return next(
        (server for server in servers if any(name in {model.id, model.name} for model in server.models)),
        servers[0],
    )


def choose(servers: Sequence[Server], kind: Kind, tokens: int) -> Choice:
    """The first of the servers that suit best, and its model.

    Args:
        servers: What was found, the preferred one first; at least one.
        kind: What is wanted of the model.
        tokens: What its window should hold.
    """
    server = min(servers, key=lambda server: _rank(server, kind, tokens))
    model = choose_model(server.models, kind, tokens)
    return Choice(server, model.id if model else "")


def _rank(server: Server, kind: Kind, tokens: int) -> int:
    """How well a server suits: ready (0), ready for a shorter prompt, not loaded yet, without such a model (3)."""
    model = choose_model(server.models, kind, tokens)
    if model is None:
        return 3
    if model.loaded is False:
        return 2
    return 0 if holds(model, tokens) else 1


def size_of(request: Request) -> int:
    """Roughly the tokens of prompt and answer, without a vocabulary."""
    counter = ChatCounter()
    try:
        size = sum(map(counter.bound, request.messages)) // BYTES_PER_TOKEN
    except MalformedMessageError:
        return 0
    asked = request.params.get("max_completion_tokens", request.params.get("max_tokens"))
    return size + (asked if isinstance(asked, int) else 0)
