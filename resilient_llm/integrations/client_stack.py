"""The stages around a client that somebody already has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resilient_llm.composition import role_of
from resilient_llm.presets import standard_stack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_llm.pipeline import Middleware
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
    if recovery == "replay":
        msg = (
            "recovery='replay' is not there yet: leave it out, and a stream that breaks after content raises"
        )
        raise NotImplementedError(msg)
    if recovery != "raise":
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
