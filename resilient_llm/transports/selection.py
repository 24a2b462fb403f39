"""Choosing a model when the caller names none: a pure rule over a backend's list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_llm.models import ModelInfo

Kind: TypeAlias = Literal["chat", "embedding"]


def choose_model(models: Sequence[ModelInfo], kind: Kind = "chat") -> ModelInfo | None:
    """The first model of a kind that is loaded, else the first; None if there is none.

    A model that is not loaded may need minutes before it answers. A model of unknown kind counts as chat.
    """
    fitting = [model for model in models if (model.kind or "chat") == kind]
    loaded = [model for model in fitting if model.loaded]
    return next(iter(loaded or fitting), None)
