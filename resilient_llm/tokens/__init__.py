"""Counting tokens, exactly and offline, and making conversations fit.

Nothing is loaded before it is used: importing this package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient_llm.lazy import attach

if TYPE_CHECKING:
    from .costs import MalformedMessageError
    from .counting import ChatCounter, preload
    from .encodings import EncodingName, encoding_name
    from .pruning import Costs, Pruned, prune
    from .tracker import TokenTracker
    from .windows import ContextWindow, context_window, message_budget

__all__ = [
    "ChatCounter",
    "ContextWindow",
    "Costs",
    "EncodingName",
    "MalformedMessageError",
    "Pruned",
    "TokenTracker",
    "context_window",
    "encoding_name",
    "message_budget",
    "preload",
    "prune",
]

__getattr__ = attach(
    __name__,
    {
        "ChatCounter": ".counting",
        "ContextWindow": ".windows",
        "Costs": ".pruning",
        "EncodingName": ".encodings",
        "MalformedMessageError": ".costs",
        "Pruned": ".pruning",
        "TokenTracker": ".tracker",
        "context_window": ".windows",
        "encoding_name": ".encodings",
        "message_budget": ".windows",
        "preload": ".counting",
        "prune": ".pruning",
    },
)
