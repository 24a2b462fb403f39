"""Fallback: where one target fails, the next one is asked."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, Self, Unpack

from .clock import SYSTEM_CLOCK
from .errors import LLMError
from .fallback_call import FallbackCall
from .pipeline import close_all
from .policy.fallback import FallbackPolicy
from .policy.outcomes import OUTCOMES
from .stages import check_options
from .targets import OpenTarget, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .models import Request
    from .pipeline import Handler, Transport
    from .response import Response
    from .stages import StackOptions
    from .targets import SDKClient


class Fallback:
    """Ask the next target when one fails: before the first content, so nobody sees anything of it.

    The stages that follow in the stack are the first target; `targets` come after it, in order, each with a circuit,
    retries, a window and a tokenizer of its own. What leads to the next one: all that is the backend's trouble,
    a spent quota, an unknown model, a rejection by the circuit or by limits, and rate limits; a prompt that is too
    long leads to a target with a larger window. Never: what is wrong with the request itself, a refusal by a safety
    system, the call's own deadline.

    A target that is not the last may use its share of the time that is left, up to the first content; its stages do not
    wait for long. So one whose circuit is open costs nothing, and one that asks for patience is left alone.

    Only chats are passed on: the vectors of another model would be of no use, and models are listed of one backend.

    Args:
        targets: Targets or transports, in order, at least one; closed with the client.
        backend: The name of the first target's backend; `standard_stack` knows it. Transports of the same name are
            asked for the request's model.
        share: The part of the remaining time that a target which is not the last may use; None: equal parts.
        patience: Seconds for which the stages of such a target may wait at a time (for a server that asks them to,
            for a free place); None: as long as without a fallback.
        on_rate_limit: A rate limit leads to the next target; False waits as if there were none.
        on_auth: A wrong key leads to the next target; otherwise it is raised, for it should be seen.
        options: What the stages of targets that bring none are made from; see `StackOptions`.

    Raises:
        LLMError: All failed: the first error that a backend caused, with notes on the others; if nothing was sent
            to any of them, the first rejection. `trace` has the attempts of all.
    """

    role = "fallback"

    def __init__(
        self,
        targets: Sequence[Target | Transport | SDKClient],
        *,
        backend: str | None = None,
        share: float | None = None,
        patience: float | None = 1.0,
        on_rate_limit: bool = True,
        on_auth: bool = False,
        **options: Unpack[StackOptions],
    ) -> None:
        check_options(options)
        self.policy = FallbackPolicy(
            share=share,
            patience=patience,
            on_rate_limit=on_rate_limit,
            on_auth=on_auth,
            outcomes=options.get("outcomes", OUTCOMES),
        )
        self.backend = backend
        if isinstance(targets, str | Target) or not isinstance(targets, Iterable):
            msg = f"a Fallback's targets are a list of targets or transports, not {type(targets).__name__}"
            raise TypeError(msg)
        self.targets = tuple(item if isinstance(item, Target) else Target(item) for item in targets)
        if not self.targets:
            msg = "a Fallback needs at least one target"
            raise ValueError(msg)
        self._options = options
        self.opened = tuple(OpenTarget(target, options) for target in self.targets)
        self.clock = options.get("clock", SYSTEM_CLOCK)

    def __repr__(self) -> str:
        """The targets' names, in order."""
        return f"<Fallback {' > '.join(target.name for target in self.targets)}>"

    def behind(self, backend: str | None) -> Self:
        """The same targets, with their circuits, behind a backend; itself if it knows its backend."""
        if self.backend is not None or backend is None:
            return self
        placed = copy.copy(self)
        placed.backend = backend
        return placed

    def with_targets(self, targets: Sequence[Target]) -> Self:
        """The same rules for other targets, whose stages are made anew."""
        changed = copy.copy(self)
        changed.targets = tuple(targets)
        changed.opened = tuple(OpenTarget(target, self._options) for target in targets)
        return changed

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Ask one target after the other until one answers."""
        if request.operation != "chat":
            return await call_next(request)
        call = FallbackCall(self, request)
        while True:
            handler = self.opened[call.place - 1].handler if call.place else call_next
            try:
                response = await handler(call.asked())
            except LLMError as error:
                call.failed(error)
            else:
                return call.answered(response)

    async def aclose(self) -> None:
        """Close the targets: their stages, then their transports."""
        await close_all(self.opened)
