"""Choosing a model when the caller names none."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from aiohttp import ClientError

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError, ModelUnavailableError

from .shared_work import SharedWork

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from resilient_llm.models import ModelInfo

Kind: TypeAlias = Literal["chat", "embedding"]

logger: Final = logging.getLogger("resilient_llm.transports")

LISTING_FAILED: Final = (BackendFailure, ModelResponseInvalidError, ModelUnavailableError, ClientError)
"""What may come of a list of models, and does not matter: the call itself will tell what is wrong."""


def choose_model(models: Sequence[ModelInfo], kind: Kind = "chat", tokens: int = 0) -> ModelInfo | None:
    """The first model of a kind that is loaded, else the first; None if there is none.

    A model that is not loaded may need minutes before it answers. A model of unknown kind counts as chat.

    Args:
        models: What there is, in the backend's order.
        kind: What is wanted.
        tokens: What the window should hold, roughly. Of loaded models that cannot, the one with the largest is taken.
    """
    fitting = [model for model in models if (model.kind or "chat") == kind]
    loaded = [model for model in fitting if model.loaded]
    if not loaded:
        return next(iter(fitting), None)
    return next((model for model in loaded if holds(model, tokens)), None) or max(
        loaded, key=lambda model: model.context_length or 0
    )


def holds(model: ModelInfo, tokens: int) -> bool:
    """Is the model's window large enough, as far as it is known?"""
    return model.context_length is None or model.context_length >= tokens


class Selection:
    """The models that a transport has chosen, one for each kind.

    Args:
        backend: The transport's name, for warnings.
        stand_in: What to ask for if the backend offers nothing; empty leaves the name out.
    """

    def __init__(self, backend: str, stand_in: str = "") -> None:
        self._backend = backend
        self._stand_in = stand_in
        self._chosen: dict[Kind, str] = {}
        self._works: dict[Kind, SharedWork[str]] = {"chat": SharedWork(), "embedding": SharedWork()}
        self._warned = False

    def forget(self) -> None:
        """Choose again next time: a model may have been unloaded."""
        self._chosen.clear()

    async def model(
        self, kind: Kind, listing: Callable[[], Coroutine[object, object, Sequence[ModelInfo]]]
    ) -> str:
        """The model to ask for: chosen from the listing and remembered; callers at the same time share one listing.

        A stand-in is not remembered. That one is asked for is warned of once, until a choice succeeds.
        """
        return await self._works[kind].join(lambda: self._choose(kind, listing))

    def known(self, kind: Kind) -> str:
        """The choice so far; empty if there is none."""
        return self._chosen.get(kind, "")

    async def _choose(
        self, kind: Kind, listing: Callable[[], Coroutine[object, object, Sequence[ModelInfo]]]
    ) -> str:
        try:
            choice = choose_model(await listing(), kind)
        except LISTING_FAILED as exc:
            return self._standing_in(f"the models could not be listed: {getattr(exc, 'message', exc)}")
        if choice is None:
            return self._standing_in(f"no model of kind {kind!r} is offered")
        self._warned = False
        self._chosen[kind] = choice.id
        return choice.id

    def _standing_in(self, reason: str) -> str:
        if not self._warned:
            self._warned = True
            what = (
                f"asking for {self._stand_in!r}" if self._stand_in else "sending the request without a name"
            )
            logger.warning("%s: %s; %s", self._backend, reason, what)
        return self._stand_in
