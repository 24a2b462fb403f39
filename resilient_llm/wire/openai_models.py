"""The list of models as OpenAI and compatible servers give it, and what can be told from it."""

from __future__ import annotations

from typing import Final

from resilient_llm.errors import ModelResponseInvalidError
from resilient_llm.models import ModelInfo

from .payload import Object, int_of, loads, object_of, objects_of, reject_error, text_of

EMBEDDING_NAMES: Final = ("embed",)
OTHER_NAMES: Final = (
    "whisper",
    "tts",
    "dall-e",
    "image",
    "moderation",
    "realtime",
    "transcribe",
    "rerank",
)
KINDS: Final = {
    "llm": "chat",
    "vlm": "chat",
    "chat": "chat",
    "embedding": "embedding",
    "embeddings": "embedding",
}
WINDOWS: Final = (
    "loaded_context_length",
    "context_length",
    "max_model_len",
    "context_window",
    "max_input_tokens",
)


def decode_models(body: bytes) -> list[ModelInfo]:
    """Decode a list of models.

    What a model is for is guessed from its name if its entry does not tell, by a rule that no vendor documents.
    The `kind` is `"chat"`, `"embedding"`, or `"other"` for speech, images, moderation and ranking.

    Raises:
        BackendFailure: The body says an error, which the classifier judges.
        ModelResponseInvalidError: It holds no list of models.
    """
    value = loads(body)
    answer = object_of(value)
    reject_error(answer, body)
    entries = value if isinstance(value, list) else answer.get("data", answer.get("models"))
    if not isinstance(entries, list):
        msg = "the answer holds no list of models"
        raise ModelResponseInvalidError(msg)
    return [_model(entry, name) for entry in objects_of(entries) if (name := text_of(entry.get("id")))]


def guess_kind(name: str) -> str:
    """What a model is for, by its name."""
    lower = name.lower()
    if any(part in lower for part in EMBEDDING_NAMES):
        return "embedding"
    return "other" if any(part in lower for part in OTHER_NAMES) else "chat"


def _model(entry: Object, name: str) -> ModelInfo:
    return ModelInfo(
        id=name,
        name=text_of(entry.get("name")) or text_of(entry.get("display_name")) or "",
        owned_by=text_of(entry.get("owned_by")) or text_of(entry.get("publisher")) or "",
        context_length=_window(entry),
        loaded=_loaded(entry),
        kind=KINDS.get(text_of(entry.get("type")) or "") or guess_kind(name),
        raw=entry,
    )


def _window(entry: Object) -> int | None:
    """The window in use. llama.cpp's `n_ctx_train` and LM Studio's `max_context_length` are not it."""
    told = [int_of(entry.get(key)) for key in WINDOWS]
    told.append(int_of(object_of(entry.get("meta")).get("n_ctx")))
    return next((window for window in told if window), None)


def _loaded(entry: Object) -> bool | None:
    """LM Studio's `state`, or the `status` of llama.cpp with several models."""
    state = text_of(entry.get("state")) or text_of(object_of(entry.get("status")).get("value"))
    return state == "loaded" if state else None
