"""Counting tokens, exactly and offline, and making conversations fit.

Nothing is loaded before it is used: importing this package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient_llm.lazy import attach

if TYPE_CHECKING:
    from .conversation import Conversation
    from .costs import MalformedMessageError
    from .counting import ChatCounter, preload
    from .encodings import EncodingName, encoding_name
    from .pruning import Costs, Pruned, prune
    from .shortening import ShortenResults
    from .strategies import KeepFirstTurn, OldestFirst, Strategy, StrategyName
    from .summarizing import Summarize
    from .tokenizer import Tokenizer
    from .tracker import TokenTracker
    from .windows import ContextWindow, context_window, message_budget

__all__ = [
    "ChatCounter",
    "ContextWindow",
    "Conversation",
    "Costs",
    "EncodingName",
    "KeepFirstTurn",
    "MalformedMessageError",
    "OldestFirst",
    "Pruned",
    "ShortenResults",
    "Strategy",
    "StrategyName",
    "Summarize",
    "TokenTracker",
    "Tokenizer",
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
        "Conversation": ".conversation",
        "Costs": ".pruning",
        "EncodingName": ".encodings",
        "KeepFirstTurn": ".strategies",
        "MalformedMessageError": ".costs",
        "OldestFirst": ".strategies",
        "Pruned": ".pruning",
        "ShortenResults": ".shortening",
        "Strategy": ".strategies",
        "StrategyName": ".strategies",
        "Summarize": ".summarizing",
        "TokenTracker": ".tracker",
        "Tokenizer": ".tokenizer",
        "context_window": ".windows",
        "encoding_name": ".encodings",
        "message_budget": ".windows",
        "preload": ".counting",
        "prune": ".pruning",
    },
)
