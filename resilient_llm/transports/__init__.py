"""Transports: each knows one backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient_llm.lazy import attach

if TYPE_CHECKING:
    from .anthropic import AnthropicTransport
    from .automatic import AutomaticTransport
    from .credentials import ApiKey
    from .http import HTTPTransport
    from .llamacpp import LlamaCppTransport, LlamafileTransport
    from .lmstudio import LMStudioTransport
    from .offline import OfflineTransport
    from .ollama import OllamaTransport
    from .openai import OpenAITransport
    from .openai_compatible import OpenAICompatibleTransport

__all__ = [
    "AnthropicTransport",
    "ApiKey",
    "AutomaticTransport",
    "HTTPTransport",
    "LMStudioTransport",
    "LlamaCppTransport",
    "LlamafileTransport",
    "OfflineTransport",
    "OllamaTransport",
    "OpenAICompatibleTransport",
    "OpenAITransport",
]

__getattr__ = attach(
    __name__,
    {
        "AnthropicTransport": ".anthropic",
        "ApiKey": ".credentials",
        "AutomaticTransport": ".automatic",
        "HTTPTransport": ".http",
        "LMStudioTransport": ".lmstudio",
        "LlamaCppTransport": ".llamacpp",
        "LlamafileTransport": ".llamacpp",
        "OfflineTransport": ".offline",
        "OllamaTransport": ".ollama",
        "OpenAICompatibleTransport": ".openai_compatible",
        "OpenAITransport": ".openai",
    },
)
