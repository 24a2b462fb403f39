"""An engine made for tests: what it says is scripted, and it can be made to wait."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from resilient_llm.events import Finish, Result, TextDelta, UsageEvent
from resilient_llm.models import Embeddings, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable

SECONDS = 10.0
"""The longest that anything waits before a test fails."""


class FakeEngine:
    """Says words one by one; `gate` is a semaphore that each word needs, or None."""

    window = 64

    def __init__(self, words: Iterable[str] = ("one", "two", "three"), *, gated: bool = False) -> None:
        self.words = list(words)
        self.gate = threading.Semaphore(0) if gated else None
        self.asked: list[str] = []
        self.said: list[str] = []
        self.threads: set[int] = set()
        self.running = self.most_running = 0
        self.ended = threading.Semaphore(0)
        self.failure: BaseException | None = None
        self.finishes = True

    def chat(self, request: Any, emit: Any) -> None:
        self._begin(request.messages[-1]["content"])
        try:
            for word in self.words:
                if self.gate is not None:
                    assert self.gate.acquire(timeout=SECONDS)
                self.said.append(word)
                if emit([TextDelta(word)]):
                    return
            if self.failure is not None:
                raise self.failure
            if self.finishes:
                emit([UsageEvent(Usage(1, len(self.words), 1 + len(self.words))), Finish("stop")])
        finally:
            self._end()

    def embed(self, texts: Any, emit: Any) -> None:
        self._begin("embed")
        try:
            for text in texts:
                if self.gate is not None:
                    assert self.gate.acquire(timeout=SECONDS)
                self.said.append(text)
                if emit(()):
                    return
            emit([Result(Embeddings([[1.0] for _ in texts])), Finish("stop")])
        finally:
            self._end()

    def count(self, prompt: Any, tools: Any) -> int:
        return len(prompt.split()) if isinstance(prompt, str) else len(prompt) + len(tools or ())

    def _begin(self, what: str) -> None:
        self.asked.append(what)
        self.threads.add(threading.get_ident())
        self.running += 1
        self.most_running = max(self.running, self.most_running)

    def _end(self) -> None:
        self.running -= 1
        self.ended.release()
