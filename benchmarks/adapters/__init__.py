"""The clients that are judged: one module each, found by their names in this directory.

An adapter is a module with `NAME`, `DIALECT` (`"openai"` or `"anthropic"`), `MODEL` (which llmock is asked for),
`PACKAGES` (distributions whose versions are printed), `ERRORS` (the base classes of the client's own exceptions),
`ABILITIES` (what a scenario may need: `"tools"`, `"fallback"`, `"cancel"`), a docstring that says how the client is set
up, and

    async def opened(place: Place) -> AsyncIterator[Ask]        # an async context manager

that makes the client as its own documentation recommends, yields a function, and closes the client. The function takes
a `Question` and returns what it `Got`, or lets the client's exception out. Adapters run in a process of their own, in
whatever Python has their client; beside it they need attrs only.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
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
    first_token: float = 1.5
    idle: float = 1.0
    deadline: float | None = None
    seed: int = 0

    @property
    def timeout(self) -> float:
        """For clients that have one time limit only."""
        return min(self.first_token, self.deadline or self.first_token)


@attrs.frozen(kw_only=True)
class Question:
    """What is asked.

    Args:
        messages: The conversation, in OpenAI's shape.
        stream: Read the answer while it is written.
        tools: Tools offered, in OpenAI's shape.
        resume: A stream that breaks is to go on where it broke, if the client can do that.
        leave_after: Leave a stream after so many pieces of text; None: read all of it.
    """

    messages: tuple[dict, ...] = ({"role": "user", "content": "Name three rivers."},)
    stream: bool = False
    tools: tuple[dict, ...] = ()
    resume: bool = False
    leave_after: int | None = None

    def body(self, model: str) -> dict:
        """The request in OpenAI's shape, but for the stream."""
        body: dict = {"model": model, "messages": list(self.messages)}
        return body | {"tools": list(self.tools)} if self.tools else body

    def anthropic_body(self, model: str) -> dict:
        """The same in Anthropic's shape."""
        system = [message["content"] for message in self.messages if message["role"] == "system"]
        messages = [message for message in self.messages if message["role"] != "system"]
        functions = [dict(tool["function"]) for tool in self.tools]
        tools = [{"input_schema": each.pop("parameters"), **each} for each in functions]
        more = ({"system": "\n".join(system)} if system else {}) | ({"tools": tools} if tools else {})
        return {"model": model, "max_tokens": 500, "messages": messages, **more}


@attrs.frozen(kw_only=True)
class Got:
    """What a caller has in hands when the client says that the answer is complete."""

    text: str
    tool_arguments: tuple[str, ...] = ()
    finish_reason: str | None = None

    @classmethod
    def of_chat(cls, body: Mapping) -> Got:
        """What a whole answer in OpenAI's shape says."""
        choice = body["choices"][0]
        calls = tuple(call["function"]["arguments"] for call in choice["message"].get("tool_calls") or ())
        text = choice["message"]["content"] or ""
        return cls(text=text, tool_arguments=calls, finish_reason=choice["finish_reason"])


@attrs.define
class Pieces:
    """Puts a stream together, for clients that leave that to their callers."""

    question: Question
    texts: list[str] = attrs.field(factory=list)
    calls: dict[int, str] = attrs.field(factory=dict)
    finish_reason: str | None = None

    def add(self, text: str | None, finish_reason: str | None = None) -> None:
        """A piece of text, or none, and the reason to end, or none."""
        if text:
            self.texts.append(text)
        self.finish_reason = finish_reason or self.finish_reason

    def call(self, index: int, arguments: str | None) -> None:
        """A piece of a tool call's arguments."""
        self.calls[index] = self.calls.get(index, "") + (arguments or "")

    def chunk(self, body: Mapping) -> None:
        """A chunk in OpenAI's shape."""
        for choice in body["choices"]:
            self.add(choice["delta"].get("content"), choice["finish_reason"])
            for call in choice["delta"].get("tool_calls") or ():
                self.call(call["index"], call["function"]["arguments"])

    async def read(self, texts: AsyncIterable[str | None]) -> Got:
        """Pieces of text, until there are no more or the reader leaves."""
        async for text in texts:
            self.add(text)
            if self.enough:
                break
        return self.got()

    @property
    def enough(self) -> bool:
        """Is this where the reader leaves?"""
        return self.question.leave_after is not None and len(self.texts) >= self.question.leave_after

    def got(self) -> Got:
        """All of it."""
        calls = tuple(self.calls.values())
        return Got(text="".join(self.texts), tool_arguments=calls, finish_reason=self.finish_reason)


Ask = Callable[[Question], Awaitable[Got]]


def names() -> list[str]:
    """The adapters there are, ours first, the others in the order of their names; `_` begins what they share."""
    found = [info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")]
    return sorted(found, key=lambda name: (not name.startswith("ours"), name))


def find(wanted: list[str] | None = None) -> tuple[list[ModuleType], dict[str, str]]:
    """The adapters, all or those named, in this process; and why others are missing."""
    found, missing = [], {}
    for name in names() if wanted is None else wanted:
        try:
            found.append(importlib.import_module(f"{__name__}.{name}"))
        except ImportError as exc:
            missing[name] = str(exc)
    return found, missing


def versions(adapter: ModuleType) -> str:
    """The versions of what an adapter drives."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in adapter.PACKAGES)
