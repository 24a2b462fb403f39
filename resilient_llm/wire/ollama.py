"""Ollama's dialect: what its transport imports."""

from __future__ import annotations

from .ollama_models import (
    decode_ps,
    decode_show,
    decode_tags,
    full_name,
    with_details,
    with_state,
)
from .ollama_request import encode_chat, encode_embeddings
from .ollama_response import decode_chat, decode_embeddings, decode_rendered
from .ollama_stream import ChatStreamDecoder
from .openai_functions import is_legacy

__all__ = [
    "ChatStreamDecoder",
    "decode_chat",
    "decode_embeddings",
    "decode_ps",
    "decode_rendered",
    "decode_show",
    "decode_tags",
    "encode_chat",
    "encode_embeddings",
    "full_name",
    "is_legacy",
    "with_details",
    "with_state",
]
