"""Transports: each knows one backend."""

from __future__ import annotations

from .credentials import ApiKey
from .http import HTTPTransport
from .llamacpp import LlamaCppTransport
from .lmstudio import LMStudioTransport
from .offline import OfflineTransport
from .openai import OpenAITransport
from .openai_compatible import OpenAICompatibleTransport

__all__ = [
    "ApiKey",
    "HTTPTransport",
    "LMStudioTransport",
    "LlamaCppTransport",
    "OfflineTransport",
    "OpenAICompatibleTransport",
    "OpenAITransport",
]
