"""OpenAI's dialect: what transports and wrapped clients import."""

from __future__ import annotations

from .openai_functions import as_function, as_tools, is_legacy
from .openai_models import decode_models
from .openai_request import encode_chat, encode_embeddings
from .openai_response import ChatAnswer, decode_chat, decode_embeddings
from .openai_stream import ChatStreamDecoder

__all__ = [
    "ChatAnswer",
    "ChatStreamDecoder",
    "as_function",
    "as_tools",
    "decode_chat",
    "decode_embeddings",
    "decode_models",
    "encode_chat",
    "encode_embeddings",
    "is_legacy",
]
