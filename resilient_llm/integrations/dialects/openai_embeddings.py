"""OpenAI's embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from resilient_llm.errors import ModelResponseInvalidError
from resilient_llm.events import Finish, Result, UsageEvent
from resilient_llm.wire.openai_response import ChatAnswer
from resilient_llm.wire.payload import load_object, reject_error, usage_of

from .dialect import Spoken, besides, model_of, openai_refusal
from .whole import WholeDecoder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resilient_llm.errors import LLMError
    from resilient_llm.events import Event
    from resilient_llm.http_call import Decoder
    from resilient_llm.request import Message

    from .dialect import Head


class OpenAIEmbeddings:
    """`/embeddings`."""

    def ask(self, head: Head, body: Mapping[str, Any]) -> Spoken | None:
        """The input stays a parameter."""
        if not head.path.endswith("/embeddings") or "input" not in body:
            return None
        return Spoken(dialect=self, body=body, operation="embed", model=model_of(body), params=besides(body))

    def said(self, spoken: Spoken, messages: Sequence[Message]) -> Mapping[str, Any]:  # noqa: ARG002
        """There are no messages."""
        return {}

    def decoder(self, spoken: Spoken) -> Decoder:  # noqa: ARG002
        """Whole answers only."""
        return WholeDecoder(_decode)

    def script(self) -> None:
        """Nothing here is told again."""

    def refused(self, error: LLMError) -> tuple[int | None, bytes]:
        """In OpenAI's words."""
        return openai_refusal(error)


class _Vectors(msgspec.Struct, gc=False):
    """Vectors are not looked into: the client will."""

    data: list[msgspec.Raw]
    model: str | None = None
    usage: dict[str, Any] | None = None


_read = msgspec.json.Decoder(_Vectors).decode


def _decode(body: bytes) -> ChatAnswer:
    """Is there a list of vectors?

    Raises:
        BackendFailure: It is an error.
        ModelResponseInvalidError: There is none.
    """
    try:
        answer = _read(body)
    except (ValueError, RecursionError) as error:
        reject_error(load_object(body), body)
        msg = "the answer holds no usable embeddings"
        raise ModelResponseInvalidError(msg) from error
    if not answer.data:
        msg = "the answer holds no embeddings"
        raise ModelResponseInvalidError(msg)
    events: list[Event] = [Result(None)]
    if (usage := usage_of(answer.usage)) is not None:
        events.append(UsageEvent(usage))
    return ChatAnswer([*events, Finish("stop")], answer.model or "", None, body)


EMBEDDINGS = OpenAIEmbeddings()
