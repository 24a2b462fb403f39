"""Anthropic's dialect: what transports import."""

from __future__ import annotations

from .anthropic_names import VERSION, honours_prefill
from .anthropic_request import DEFAULT_MAX_TOKENS, encode_chat, encode_count
from .anthropic_response import decode_chat, decode_count, decode_page
from .anthropic_stream import ChatStreamDecoder
from .openai_functions import is_legacy

__all__ = [
    "DEFAULT_MAX_TOKENS",
    "VERSION",
    "ChatStreamDecoder",
    "decode_chat",
    "decode_count",
    "decode_page",
    "encode_chat",
    "encode_count",
    "honours_prefill",
    "is_legacy",
]
