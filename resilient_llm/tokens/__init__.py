"""Counting tokens, exactly and offline, and making conversations fit.

Nothing is loaded before it is used: importing this package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

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

_HOMES = {
    "ChatCounter": "counting",
    "ContextWindow": "windows",
    "Costs": "pruning",
    "EncodingName": "encodings",
    "MalformedMessageError": "costs",
    "Pruned": "pruning",
    "TokenTracker": "tracker",
    "context_window": "windows",
    "encoding_name": "encodings",
    "message_budget": "windows",
    "preload": "counting",
    "prune": "pruning",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
