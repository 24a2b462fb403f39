"""How much a model can take, and how much of it the messages may use.

The table is a last resort: a backend's own listing, or its error, knows better. A local server often loads a
model with far less than the model could take.
"""

from __future__ import annotations

import math
from functools import lru_cache

import attrs

from resilient_llm.validators import count

from .names import look_up


@attrs.frozen
class ContextWindow:
    """A model's limits, in tokens.

    Args:
        tokens: Input and output together.
        input_limit: What the input alone may take, where that is less.
        max_output: The longest answer, or None if not known.
    """

    tokens: int = attrs.field(validator=count)
    input_limit: int | None = None
    max_output: int | None = None


_GPT_4_1 = ContextWindow(1_047_576, max_output=32_768)
_GPT_4_TURBO = ContextWindow(128_000, max_output=4_096)
_GPT_4O = ContextWindow(128_000, max_output=16_384)
_O_SERIES = ContextWindow(200_000, max_output=100_000)
_GPT_5 = ContextWindow(400_000, input_limit=272_000, max_output=128_000)
_GPT_5_4 = ContextWindow(1_050_000, input_limit=922_000, max_output=128_000)
_EMBEDDING = ContextWindow(8_191)
_CLAUDE = ContextWindow(200_000)
_CLAUDE_LARGE = ContextWindow(1_000_000, max_output=128_000)

# Where sources disagree, the smaller number.
_WINDOWS: dict[str, ContextWindow] = {
    "gpt-3.5-turbo": ContextWindow(16_385, max_output=4_096),
    "gpt-3.5-turbo-instruct": ContextWindow(4_096),
    "gpt-35-turbo": ContextWindow(16_385, max_output=4_096),
    "gpt-4": ContextWindow(8_192, max_output=8_192),
    "gpt-4-32k": ContextWindow(32_768),
    "gpt-4-turbo": _GPT_4_TURBO,
    "gpt-4-1106": _GPT_4_TURBO,
    "gpt-4-0125": _GPT_4_TURBO,
    "gpt-4o": _GPT_4O,
    "gpt-4o-2024-05-13": ContextWindow(128_000, max_output=4_096),
    "chatgpt-4o": _GPT_4O,
    "gpt-4.1": _GPT_4_1,
    "o1": _O_SERIES,
    "o1-mini": ContextWindow(128_000),
    "o1-preview": ContextWindow(128_000),
    "o3": _O_SERIES,
    "o4-mini": _O_SERIES,
    "gpt-5": _GPT_5,
    "gpt-5-pro": ContextWindow(400_000, input_limit=272_000, max_output=272_000),
    "gpt-5-chat": _GPT_4O,
    "gpt-5.1": _GPT_5,
    "gpt-5.1-chat": _GPT_4O,
    "gpt-5.2": _GPT_5,
    "gpt-5.2-chat": _GPT_4O,
    "gpt-5.3-chat": _GPT_4O,
    "gpt-5.3-codex": _GPT_5,
    "gpt-5.4": _GPT_5_4,
    "gpt-5.4-mini": _GPT_5,
    "gpt-5.4-nano": _GPT_5,
    "gpt-5.5": _GPT_5_4,
    "gpt-5.6": _GPT_5_4,
    "gpt-oss-20b": ContextWindow(131_072),
    "gpt-oss-120b": ContextWindow(131_072),
    "text-embedding-3-small": _EMBEDDING,
    "text-embedding-3-large": _EMBEDDING,
    "text-embedding-ada-002": _EMBEDDING,
    "claude-3": _CLAUDE,
    "claude-3-5": _CLAUDE,
    "claude-3-7": _CLAUDE,
    "claude-haiku-4-5": ContextWindow(200_000, max_output=64_000),
    "claude-opus-4": _CLAUDE,
    "claude-opus-4-1": _CLAUDE,
    "claude-opus-4-5": ContextWindow(200_000, max_output=64_000),
    "claude-opus-4-6": _CLAUDE_LARGE,
    "claude-opus-4-7": _CLAUDE_LARGE,
    "claude-opus-4-8": _CLAUDE_LARGE,
    "claude-opus-5": _CLAUDE_LARGE,
    "claude-sonnet-4": _CLAUDE,
    "claude-sonnet-4-5": ContextWindow(200_000, max_output=64_000),
    "claude-sonnet-4-6": _CLAUDE_LARGE,
    "claude-sonnet-5": _CLAUDE_LARGE,
    "claude-fable-5": _CLAUDE_LARGE,
    "claude-mythos-5": _CLAUDE_LARGE,
}


@lru_cache(1024)
def context_window(model: str) -> ContextWindow | None:
    """The model's published limits by its name, or None where the table does not know it.

    Dated and suffixed names (`gpt-4o-2024-08-06`, `gpt-5-mini`) have the limits of the longest listed name
    that they begin with; makers' prefixes and `ft:` do not matter.
    """
    return look_up(model, _WINDOWS)


def message_budget(
    window: ContextWindow | int,
    *,
    max_tokens: int | None = None,
    definitions: int = 0,
    exact: bool = True,
    margin: float = 0.03,
) -> int:
    """The tokens that the messages of a request may use. 0 or less: nothing fits.

    Args:
        window: The model's limits; a number is input and output together.
        max_tokens: What the answer may take. None reserves nothing: then an answer may find no room left.
        definitions: What tools and a response schema cost.
        exact: Are the messages counted with the model's own vocabulary? Then nothing is kept back.
        margin: The share of the window to keep back for the error of an estimate.
    """
    limits = window if isinstance(window, ContextWindow) else ContextWindow(window)
    room = limits.tokens - (max_tokens or 0)
    if limits.input_limit is not None:
        room = min(room, limits.input_limit)
    return room - definitions - (0 if exact else math.ceil(limits.tokens * margin))
