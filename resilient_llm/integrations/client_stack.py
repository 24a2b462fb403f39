"""The stages around a client that somebody already has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resilient_llm.composition import role_of
from resilient_llm.pipeline import close_all
from resilient_llm.presets import standard_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from resilient_llm.pipeline import Middleware, Pipeline
    from resilient_llm.stages import StackOptions

NO_FALLBACK: Final = (
    "a wrapped client speaks to its own backend only: for fallback targets use AsyncClient(fallback=...)"
)


def client_stack(
    middleware: Sequence[Middleware] | None, options: StackOptions, *, backend: str
) -> Sequence[Middleware]:
    """Stages of one's own, or the standard ones.

    Raises:
        TypeError: Options beside stages, options that do not exist, or stages that have no place here.
        ValueError: A recovery that a client's user could not be told of.
    """
    recovery: str = options.get("recovery", "raise")
    if recovery not in {"raise", "replay"}:
        msg = f"recovery must be 'raise' or 'replay' for a wrapped client, which knows no restarts, not {recovery!r}"
        raise ValueError(msg)
    if middleware is None:
        middleware = standard_stack(backend=backend, **options)
    elif options:
        msg = f"{min(options)} is an option of the standard stack: set it on the stages in `middleware`"
        raise TypeError(msg)
    for stage in middleware:
        if role_of(stage) == "fallback":
            raise TypeError(NO_FALLBACK)
    return middleware


MOST_HOSTS: Final = 256


class Pipelines:
    """A pipeline for each host: what one does wrong is not held against the others.

    Args:
        make: Makes one.
        shared: One for all, because its stages are somebody's own.
    """

    def __init__(self, make: Callable[[], Pipeline], *, shared: bool) -> None:
        self._make = make
        self._spare: Pipeline | None = make()  # wrong options are refused now
        self._shared = shared
        self._known: dict[Hashable, Pipeline] = {}

    def of(self, host: Hashable) -> Pipeline:
        """The pipeline of a host; those of hosts that were met first are forgotten when there are too many."""
        key = None if self._shared else host
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MOST_HOSTS:
                del self._known[next(iter(self._known))]
            known, self._spare = self._spare or self._make(), None
            self._known[key] = known
        return known

    async def aclose(self) -> None:
        """Close them all."""
        await close_all(tuple(self._known.values()))
