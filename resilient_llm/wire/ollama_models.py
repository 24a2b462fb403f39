"""Ollama's models: which there are, which are loaded with what window, and what each was made for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from resilient_llm.errors import ModelResponseInvalidError
from resilient_llm.models import ModelInfo

from .openai_models import guess_kind
from .payload import Object, int_of, load_object, object_of, objects_of, reject_error, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

LATEST: Final = ":latest"
CHAT: Final = frozenset({"completion", "tools", "thinking", "vision", "insert"})


@attrs.frozen
class Details:
    """What `/api/show` tells of a model.

    Args:
        num_ctx: The window that its Modelfile asks for.
        trained: The window that it was trained for.
        kind: As in `ModelInfo`; None if it is not told.
    """

    num_ctx: int | None = None
    trained: int | None = None
    kind: str | None = None

    @property
    def window(self) -> int | None:
        """The window that it would be loaded with, where that does not depend on the server's memory."""
        if self.num_ctx is None or self.trained is None:
            return self.num_ctx
        return min(self.num_ctx, self.trained)


def full_name(model: str) -> str:
    """The name with its tag: `llama3.2` means `llama3.2:latest`."""
    return model if not model or ":" in model.rpartition("/")[2] else model + LATEST


def decode_tags(body: bytes) -> list[ModelInfo]:
    """Decode `/api/tags`: the models that are there. Whether they are loaded is not told.

    Raises:
        BackendFailure: The body says an error, which the classifier judges.
        ModelResponseInvalidError: It holds no list of models.
    """
    return [
        ModelInfo(
            id=name,
            name=name.removesuffix(LATEST),
            owned_by=text_of(entry.get("remote_host")) or "",
            loaded=True if entry.get("remote_host") else None,
            kind=_kind(entry) or guess_kind(f"{name} {_family(entry)}"),
            raw=entry,
        )
        for entry in _entries(body)
        if (name := _name(entry))
    ]


def decode_ps(body: bytes) -> dict[str, int | None]:
    """Decode `/api/ps`: the models that are loaded, and the window of each.

    Raises:
        BackendFailure: The body says an error, which the classifier judges.
        ModelResponseInvalidError: It holds no list of models.
    """
    return {
        name: int_of(entry.get("context_length")) or None
        for entry in _entries(body)
        if (name := _name(entry))
    }


def decode_show(body: bytes) -> Details:
    """Decode `/api/show`.

    Raises:
        BackendFailure: The body says an error, which the classifier judges.
        ModelResponseInvalidError: It is no JSON object.
    """
    answer = load_object(body)
    reject_error(answer, body)
    return Details(_parameter(answer), _trained(object_of(answer.get("model_info"))), _kind(answer))


def with_state(models: list[ModelInfo], loaded: Mapping[str, int | None]) -> list[ModelInfo]:
    """The models, told which of them are loaded and with what window."""
    return [
        model
        if model.loaded  # in the cloud
        else attrs.evolve(model, loaded=model.id in loaded, context_length=loaded.get(model.id))
        for model in models
    ]


def with_details(model: ModelInfo, details: Details) -> ModelInfo:
    """The model, told what it is for, and its window unless that is known already."""
    return attrs.evolve(
        model, context_length=model.context_length or details.window, kind=details.kind or model.kind
    )


def _entries(body: bytes) -> list[Object]:
    answer = load_object(body)
    reject_error(answer, body)
    models = answer.get("models")
    if models is None and "models" in answer:
        return []
    if not isinstance(models, list):
        msg = "the answer holds no list of models"
        raise ModelResponseInvalidError(msg)
    return objects_of(models)


def _name(entry: Object) -> str:
    return full_name(text_of(entry.get("model")) or text_of(entry.get("name")) or "")


def _kind(entry: Object) -> str | None:
    told = entry.get("capabilities")
    capabilities = {text_of(word) for word in told} if isinstance(told, list) else set()
    if capabilities & CHAT:
        return "chat"
    return "embedding" if "embedding" in capabilities else "other" if capabilities else None


def _family(entry: Object) -> str:
    """Embedding models are of BERT's family, whatever their name."""
    family = text_of(object_of(entry.get("details")).get("family")) or ""
    return "embed" if "bert" in family else ""


def _parameter(answer: Object) -> int | None:
    """`num_ctx` in the text of the parameters, a name and a value a line."""
    for line in (text_of(answer.get("parameters")) or "").splitlines():
        name, _, value = line.strip().partition(" ")
        if name == "num_ctx":
            return int_of(value.strip()) or None
    return None


def _trained(info: Object) -> int | None:
    own = int_of(info.get(f"{text_of(info.get('general.architecture'))}.context_length"))
    if own:
        return own
    told = (int_of(value) for key, value in info.items() if key.endswith(".context_length"))
    return next((window for window in told if window), None)
