"""The stages around a client that somebody already has."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, cast

import attrs

from resilient_llm.composition import role_of
from resilient_llm.pipeline import close_all
from resilient_llm.presets import standard_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from resilient_llm.pipeline import Middleware, Pipeline, Transport
    from resilient_llm.stages import StackOptions
    from resilient_llm.targets import SDKClient, Target

    from .http_backend import HTTPBackend

NO_FALLBACK: Final = (
    "a fallback is for clients of an SDK, to other clients of the same SDK: rl.wrap(openai.AsyncOpenAI(), "
    "fallback=[openai.AsyncOpenAI(base_url=...)]); for other backends use AsyncClient(fallback=...)"
)


def client_stack(
    middleware: Sequence[Middleware] | None, options: StackOptions, *, backend: HTTPBackend
) -> Sequence[Middleware]:
    """Stages of one's own, or the standard ones; targets of a fallback send as the backend does.

    Raises:
        TypeError: Options beside stages, options that do not exist, or stages that have no place here.
        ValueError: A recovery that a client's user could not be told of.
    """
    recovery: str = options.get("recovery", "raise")
    if recovery not in {"raise", "replay"}:
        msg = f"recovery must be 'raise' or 'replay' for a wrapped client, which knows no restarts, not {recovery!r}"
        raise ValueError(msg)
    if middleware is not None and options:
        msg = f"{min(options)} is an option of the standard stack: set it on the stages in `middleware`"
        raise TypeError(msg)
    if has_fallback(middleware, options):
        middleware, options = with_targets(middleware, options, partial(_sent_by, backend))
    return standard_stack(backend=backend.name, **options) if middleware is None else middleware


def has_fallback(middleware: Sequence[Middleware] | None, options: StackOptions) -> bool:
    """Is there anything to fall back to?"""
    return bool(options.get("fallback")) or any(role_of(stage) == "fallback" for stage in middleware or ())


def with_targets(
    middleware: Sequence[Middleware] | None, options: StackOptions, made: Callable[[Target, int], Target]
) -> tuple[Sequence[Middleware] | None, StackOptions]:
    """The same stages and options with other targets, each made of one that was there and its number, from 2 on."""
    from resilient_llm.fallback import Fallback  # noqa: PLC0415 - many have a single backend
    from resilient_llm.targets import Target  # noqa: PLC0415

    def all_made(given: Sequence[Target | Transport | SDKClient]) -> list[Target]:
        targets = (item if isinstance(item, Target) else Target(item) for item in given)
        return [made(target, number) for number, target in enumerate(targets, 2)]

    def changed(stage: Middleware) -> Middleware:
        return stage.with_targets(all_made(stage.targets)) if isinstance(stage, Fallback) else stage

    if middleware is not None:
        return [changed(stage) for stage in middleware], options
    given = options.get("fallback", ())
    fallback = changed(given) if isinstance(given, Fallback) else all_made(given)
    return None, cast("StackOptions", {**options, "fallback": fallback})


def _sent_by(backend: HTTPBackend, target: Target, _number: int) -> Target:
    if (behind := getattr(target.transport, "behind", None)) is None:
        raise TypeError(NO_FALLBACK)
    return attrs.evolve(target, transport=behind(backend))


MOST_HOSTS: Final = 256


class Pipelines:
    """A pipeline for each host: what one does wrong is not held against the others.

    Args:
        make: Makes one.
        shared: One for all, because its stages are somebody's own.
    """

    def __init__(self, make: Callable[[], Pipeline], *, shared: bool) -> None:
        self._make = make
        self._spare = [make()]  # wrong options are refused now
        self._shared = shared
        self._known: dict[Hashable, Pipeline] = {}

    def of(self, host: Hashable) -> Pipeline:
        """The pipeline of a host; those of hosts that were met first are forgotten when there are too many.

        Nothing of them is left open: what has to be closed (caches, the state) came with the options, and all have it.
        """
        key = None if self._shared else host
        return self._known.get(key) or self._met(key)

    def _met(self, key: Hashable) -> Pipeline:
        """The pipeline of a host that seems to be new; of two threads that meet it now one is first."""
        if len(self._known) >= MOST_HOSTS:
            first, *_ = self._known
            self._known.pop(first, None)
        try:
            made = self._spare.pop()
        except IndexError:
            made = self._make()
        return self._known.setdefault(key, made)

    async def aclose(self) -> None:
        """Close them all."""
        await close_all(tuple(self._known.values()))
