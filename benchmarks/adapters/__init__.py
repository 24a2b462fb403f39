"""The clients that are judged: one module each, found by their names in this directory.

An adapter is a module with `NAME`, `DIALECT` (`"openai"` or `"anthropic"`), `MODEL` (which llmock is asked for),
`PACKAGES` (distributions whose versions are printed), `ERRORS` (the base classes of the client's own exceptions),
`ABILITIES` (what a scenario may need: `"tools"`, `"fallback"`), and

    async def opened(place: Place) -> AsyncIterator[Ask]        # an async context manager

that makes the client as its own documentation recommends, yields a function, and closes the client. The function takes
a `Question` and returns what it `Got`, or lets the client's exception out.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Awaitable, Callable
from types import ModuleType

import attrs


@attrs.frozen(kw_only=True)
class Place:
    """Where the backends are, and how patient a client is to be; times in seconds.

    Args:
        urls: The base URL of the primary, then those of the fallbacks; each with `/v1`.
        model: The model to ask for.
        first_token: To the first content of a stream, and for a whole answer.
        idle: Between contents of a stream.
        deadline: For the whole call; None: as the client has it.
        seed: Where the client takes its chances from, if it lets one say.
    """

    urls: tuple[str, ...]
    model: str = "fault-model"
    first_token: float = 1.0
    idle: float = 0.5
    deadline: float | None = None
    seed: int = 0


@attrs.frozen(kw_only=True)
class Question:
    """What is asked.

    Args:
        messages: The conversation, in OpenAI's shape.
        stream: Read the answer while it is written.
        tools: Tools offered, in OpenAI's shape.
        leave_after: Leave a stream after so many pieces of text; None: read all of it.
    """

    messages: tuple[dict, ...] = ({"role": "user", "content": "Name three rivers."},)
    stream: bool = False
    tools: tuple[dict, ...] = ()
    leave_after: int | None = None


@attrs.frozen(kw_only=True)
class Got:
    """What a caller has in hands when the client says that the answer is complete."""

    text: str
    tool_arguments: tuple[str, ...] = ()
    finish_reason: str | None = None


Ask = Callable[[Question], Awaitable[Got]]


def find(names: list[str] | None = None) -> tuple[list[ModuleType], dict[str, str]]:
    """The adapters, all or those named, in the order of their modules' names; and why others are missing."""
    found, missing = [], {}
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda info: (info.name != "ours", info.name)):
        if names is not None and info.name not in names:
            continue
        try:
            found.append(importlib.import_module(f"{__name__}.{info.name}"))
        except ImportError as exc:
            missing[info.name] = str(exc)
    return found, missing


def versions(adapter: ModuleType) -> str:
    """The versions of what an adapter drives."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in adapter.PACKAGES)
