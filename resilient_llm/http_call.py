"""A call that came over HTTP, from a client that somebody already has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .error_base import LLMError
    from .events import Event
    from .request import Message, Operation, Request
    from .wire.replay_parts import Script


class Decoder(Protocol):
    """Tells what the bytes of an answer mean, whole or streamed."""

    @property
    def done(self) -> bool:
        """Did the answer end?"""
        ...

    @property
    def model(self) -> str:
        """The model, once known."""
        ...

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped, once known."""
        ...

    @property
    def failure(self) -> Exception | None:
        """What broke the answer; it is not raised."""
        ...

    def feed(self, data: bytes, /) -> list[Event]:
        """Decode the next read."""
        ...

    def eof(self) -> list[Event]:
        """The bytes have ended: the last events, or a `failure`."""
        ...


class Asked(Protocol):
    """What a call asks for, in the stages' words; a dialect says so (see `resilient_llm.integrations.dialects`).

    Operation, messages, model, stream and params are those of the `Request` that is made of it.
    """

    @property
    def operation(self) -> Operation:
        """`"raw"` for what no stage need understand."""
        ...

    @property
    def messages(self) -> Sequence[Message]:
        """In OpenAI's shape."""
        ...

    @property
    def model(self) -> str:
        """Empty where the body names none."""
        ...

    @property
    def stream(self) -> bool:
        """Is the answer handed on while it is written?"""
        ...

    @property
    def params(self) -> Mapping[str, Any]:
        """What else the body says."""
        ...

    @property
    def repeatable(self) -> bool:
        """May the call be sent again though the backend may have acted on it?"""
        ...

    @property
    def understood(self) -> bool:
        """Is it more than bytes?"""
        ...

    @property
    def signed(self) -> bool:
        """Does the call carry a signature of all that it says?"""
        ...

    def edited(self, request: Request, /) -> bytes | None:
        """The body that a request asks for; None if no stage changed anything, and the bytes go out as they came."""
        ...

    def decoder(self) -> Decoder:
        """For one answer whose status is 200."""
        ...

    def script(self) -> Script | None:
        """What its streams say, for one that is told again; None if that cannot be compared."""
        ...

    def refused(self, error: LLMError, /) -> tuple[int | None, bytes]:
        """An error of ours as this dialect's backend would have said it; no status where no answer came."""
        ...


@attrs.frozen(eq=False)
class HTTPCall:
    """A call that came over HTTP; it travels in the request's extension `http_call`, shared by all its copies.

    Args:
        method: In capitals.
        url: All of it.
        path: The URL's path alone.
        headers: As the client set them; looked up in any case.
        body: None if it is no plain bytes, and can be sent once only.
        original: The request as the client's own library has it; its `headers` can be changed.
        asked: What it asks for.
    """

    method: str
    url: str = attrs.field(repr=False)  # whose query may hold a key
    path: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes | None = attrs.field(repr=False)
    original: Any = attrs.field(repr=False)
    asked: Asked = attrs.field(repr=False)
