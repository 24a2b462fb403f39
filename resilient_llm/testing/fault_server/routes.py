"""Which dialect speaks on which path."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from . import listings
from .anthropic import AnthropicMessages
from .ollama import OllamaChat, OllamaEmbed, OllamaGenerate
from .openai import OpenAIChat, OpenAIEmbeddings
from .responses import OpenAIResponses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .dialect import Dialect
    from .listings import Listing
    from .words import Backend

Route: TypeAlias = tuple[str, str]
"""A method and a path."""

LISTINGS: Mapping[Route, Listing] = {
    ("GET", "/v1/models"): listings.models,
    ("POST", "/v1/messages/count_tokens"): listings.anthropic_count,
    ("POST", "/v1/responses/input_tokens"): listings.openai_count,
    ("GET", "/api/tags"): listings.tags,
    ("GET", "/api/ps"): listings.running,
    ("POST", "/api/show"): listings.show,
    ("GET", "/api/version"): listings.version,
}
"""What is always answered."""


def dialects(backend: Backend) -> Mapping[Route, Dialect]:
    """What meets the faults: the routes that make a model work.

    Args:
        backend: Who speaks OpenAI's dialect.
    """
    return {
        ("POST", "/v1/chat/completions"): OpenAIChat(backend),
        ("POST", "/v1/embeddings"): OpenAIEmbeddings(backend),
        ("POST", "/v1/responses"): OpenAIResponses(backend),
        ("POST", "/v1/messages"): AnthropicMessages("anthropic"),
        ("POST", "/api/chat"): OllamaChat("ollama"),
        ("POST", "/api/generate"): OllamaGenerate("ollama"),
        ("POST", "/api/embed"): OllamaEmbed("ollama"),
    }


def backend_of(path: str, backend: Backend) -> Backend:
    """In whose words an unknown path is refused."""
    return "ollama" if path.startswith("/api/") else backend
