"""Decoders of answers that only come whole, and of answers that nobody understands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError
from resilient_llm.events import Finish, Result

from .dialect import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_llm.events import Event
    from resilient_llm.wire.openai_response import ChatAnswer

RECEIVED: Final = Result(None)
"""The event that stands for bytes of which nothing else is known."""


class WholeDecoder:
    """Reads an answer once all of it is there.

    Args:
        decode: Raises what is wrong with it.
        limit: The longest answer, in bytes.
    """

    def __init__(self, decode: Callable[[bytes], ChatAnswer], *, limit: int = MAX_ANSWER_BYTES) -> None:
        self.failure: Exception | None = None
        self.done = False
        self.model = ""
        self.id: str | None = None
        self.finish_reason: str | None = None
        self._decode = decode
        self._limit = limit
        self._body = bytearray()

    def feed(self, data: bytes) -> list[Event]:
        """Keep it."""
        self._body += data
        if len(self._body) > self._limit:
            self.failure = ModelResponseInvalidError(f"the answer is longer than {self._limit} bytes")
        return []

    def eof(self) -> list[Event]:
        """Judge it."""
        try:
            answer = self._decode(bytes(self._body))
        except (BackendFailure, ModelResponseInvalidError) as failure:
            self.failure = failure
            return []
        self.model, self.id, self.done = answer.model, answer.id, True
        return answer.events


class OpaqueDecoder:
    """Knows that bytes come and that they end."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.done = False
        self.model = ""
        self.id: str | None = None
        self.finish_reason: str | None = None

    def feed(self, _data: bytes) -> list[Event]:
        """Something came."""
        return [RECEIVED]

    def eof(self) -> list[Event]:
        """That was all."""
        self.done = True
        return [Finish("stop")]
