"""What a server tells beside its answers: its models, their windows, counts of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from . import asked
from .dialect import encode
from .shapes import refuse
from .words import Facts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LOADED_WINDOW = 4096
"""The window that Ollama loads a model with if nobody asks for another."""
VERSION = "0.24.0"


@attrs.frozen
class Asked:
    """A question beside the answers.

    Args:
        model: The model that the server offers.
        window: Its window in tokens, or None for no limit.
        headers: The request's headers.
        body: The request's body.
    """

    model: str
    window: int | None
    headers: Mapping[str, str]
    body: Mapping[str, Any]


Listing: TypeAlias = "Callable[[Asked], tuple[int, bytes]]"


def models(question: Asked) -> tuple[int, bytes]:
    """The models in OpenAI's shape, or in Anthropic's if its version is named."""
    window = question.window
    if "anthropic-version" in question.headers:
        entry: dict[str, object] = {
            "id": question.model,
            "type": "model",
            "display_name": question.model,
            "created_at": "2026-01-01T00:00:00Z",
        }
        if window is not None:
            entry |= {"max_input_tokens": window, "max_tokens": window}
        ends = {"first_id": question.model, "last_id": question.model, "has_more": False}
        return 200, encode({"data": [entry], **ends})
    entry = {"id": question.model, "object": "model", "created": 1_800_000_000, "owned_by": "resilient_llm"}
    if window is not None:
        entry["context_length"] = window
    return 200, encode({"object": "list", "data": [entry]})


def anthropic_count(question: Asked) -> tuple[int, bytes]:
    """A count of tokens, in Anthropic's shape."""
    return 200, encode({"input_tokens": asked.count(question.body)})


def openai_count(question: Asked) -> tuple[int, bytes]:
    """A count of tokens, in OpenAI's shape."""
    return 200, encode({"object": "response.input_tokens", "input_tokens": asked.count(question.body)})


def tags(question: Asked) -> tuple[int, bytes]:
    """Ollama's models."""
    return 200, encode({"models": [_entry(question)]})


def running(question: Asked) -> tuple[int, bytes]:
    """Ollama's models in memory, with the window in use."""
    more = {
        "expires_at": "2027-01-15T08:05:00Z",
        "size_vram": 639_446_688,
        "context_length": question.window or LOADED_WINDOW,
    }
    return 200, encode({"models": [_entry(question) | more]})


def show(question: Asked) -> tuple[int, bytes]:
    """What Ollama tells of a model."""
    name = str(question.body.get("model") or question.body.get("name") or "")
    if name.removesuffix(":latest") != question.model.removesuffix(":latest"):
        return refuse("ollama", "unknown_model", Facts(model=name))
    trained = {"general.architecture": "llama", "llama.context_length": question.window or 131_072}
    return 200, encode(
        {
            "modelfile": "",
            "parameters": f"num_ctx {question.window}" if question.window else "",
            "template": "{{ .Prompt }}",
            "details": _entry(question)["details"],
            "model_info": trained,
            "capabilities": ["completion", "tools", "thinking", "embedding"],
            "modified_at": "2027-01-15T08:00:00Z",
        }
    )


def version(_question: Asked) -> tuple[int, bytes]:
    """Ollama's version."""
    return 200, encode({"version": VERSION})


def _entry(question: Asked) -> dict[str, Any]:
    name = question.model if ":" in question.model else f"{question.model}:latest"
    details = {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "1.0B",
        "quantization_level": "Q4_K_M",
    }
    return {
        "name": name,
        "model": name,
        "modified_at": "2027-01-15T08:00:00Z",
        "size": 639_446_688,
        "digest": "0" * 64,
        "details": details,
    }
