"""Choosing a model when the caller names none."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from resilient_llm.models import ModelInfo

Kind: TypeAlias = Literal["chat", "embedding"]

logger: Final = logging.getLogger("resilient_llm.transports")


def choose_model(models: Sequence[ModelInfo], kind: Kind = "chat") -> ModelInfo | None:
    """The first model of a kind that is loaded, else the first; None if there is none.

    A model that is not loaded may need minutes before it answers. A model of unknown kind counts as chat.
    """
    fitting = [model for model in models if (model.kind or "chat") == kind]
    loaded = [model for model in fitting if model.loaded]
    return next(iter(loaded or fitting), None)


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

    def forget(self) -> None:
        """Choose again next time: a model may have been unloaded."""
        self._chosen.clear()

    async def model(self, kind: Kind, listing: Awaitable[Sequence[ModelInfo]]) -> str:
        """The model to ask for: chosen from the listing and remembered. A stand-in is not remembered."""
        try:
            choice = choose_model(await listing, kind)
        except (BackendFailure, ModelResponseInvalidError) as exc:
            logger.warning("%s: the models could not be listed: %s", self._backend, exc)
            choice = None
        if choice is None:
            what = (
                f"asking for {self._stand_in!r}" if self._stand_in else "sending the request without a name"
            )
            logger.warning("%s: no model of kind %r is offered; %s", self._backend, kind, what)
            return self._stand_in
        self._chosen[kind] = choice.id
        return choice.id

    def known(self, kind: Kind) -> str:
        """The choice so far; empty if there is none."""
        return self._chosen.get(kind, "")
