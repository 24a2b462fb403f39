"""Target: a transport that may answer instead of another one, with stages of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

import attrs

from .composition import check
from .pipeline import chain, close_all, name_of
from .stages import target_stages, told_by
from .tokens import context_window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .pipeline import Handler, Middleware, Transport
    from .stages import StackOptions

STATEFUL = ("breaker", "cache", "concurrency", "rate_limit", "retry_budget", "token_budget")
"""Options that belong to one backend: each target gets what is standard, or none if there is to be none."""


class SDKClient(Protocol):
    """A client of an SDK: a target for `wrap` alone."""

    @property
    def base_url(self) -> object:
        """Where it calls."""
        ...


def _transport(given: Transport | SDKClient) -> Transport:
    if isinstance(given, type) or not (callable(given) or hasattr(given, "base_url")):
        msg = f"a target's transport is an object such as OllamaTransport(), not {given!r}"
        raise TypeError(msg)
    return cast("Transport", given)


@attrs.frozen(eq=False)
class Target:
    """One entry of `Fallback`.

    Args:
        transport: What answers. Behind a client that is wrapped, another client of its SDK.
        model: The model to ask it for. None: the transport's own; if it has none, the request's where the transport
            is of the same name as the backend that was asked first, and else whatever the server chooses.
        stack: Its stages, outermost first. None: the standard ones, from TokenBudget to ErrorClassifier, with a
            circuit, a retry budget and a window of their own.
        name: What messages call it; default: the transport's name.
    """

    transport: Transport = attrs.field(converter=_transport)
    model: str | None = None
    stack: Sequence[Middleware] | None = attrs.field(default=None, repr=False)
    name: str = ""

    def __attrs_post_init__(self) -> None:
        """Take the transport's name where there is no other."""
        object.__setattr__(self, "name", self.name or name_of(self.transport))

    def model_for(self, model: str, backend: str | None) -> str:
        """What to ask this target for.

        Args:
            model: What the request asks for.
            backend: The name of the backend that was asked first, if it is known.
        """
        if self.model is not None:
            return self.model
        own: str = getattr(self.transport, "model", "")
        return own or (model if name_of(self.transport) == backend else "")


class OpenTarget:
    """A target at work: its stages in front of its transport.

    Args:
        target: The target.
        options: What its stages are made from if it brings none.

    Raises:
        CompositionError: The order of its stages cannot work.
    """

    def __init__(self, target: Target, options: StackOptions) -> None:
        self.target = target
        self.stages = _standard(target.transport, options) if target.stack is None else tuple(target.stack)
        check(self.stages)
        self.handler: Handler = chain(self.stages, target.transport)

    def window(self, model: str) -> int | None:
        """The model's window in tokens, as far as it is known."""
        told = getattr(self.target.transport, "context_window", None)
        return (told(model) if told else None) or published_window(model)

    async def aclose(self) -> None:
        """Close its stages, then its transport."""
        await close_all((*self.stages, self.target.transport))


def _standard(transport: Transport, options: StackOptions) -> Sequence[Middleware]:
    own = {name: value for name, value in options.items() if name not in STATEFUL or value is None}
    return target_stages(backend=name_of(transport), **{**own, **told_by(transport)})  # type: ignore[arg-type] # some of the options


def published_window(model: str | None) -> int | None:
    """What the table says of a model."""
    known = context_window(model) if model else None
    return known.tokens if known else None
