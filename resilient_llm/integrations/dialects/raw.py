"""Everything else: files, batches, audio, lists of models. Only the bytes are known.

Repeated is what changes nothing at the backend, by its method (RFC 9110, 9.2.2) or by what it is for, and what the
backend can tell from its first time by an `Idempotency-Key`; the rest only if nothing was sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .dialect import Spoken, besides, model_of, openai_refusal
from .whole import OpaqueDecoder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resilient_llm.errors import LLMError
    from resilient_llm.http_call import Decoder
    from resilient_llm.request import Message

    from .dialect import Head

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})
ANSWERS_ONLY: Final = (
    *(
        "/completions",
        "/count_tokens",
        "/input_tokens",
        "/moderations",
        "/rerank",
        "/tokenize",
        "/detokenize",
    ),
    *("/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/show", "/embeddings", "/messages"),
)
"""Ends of paths where a POST is a question and nothing else."""


class Raw:
    """What no dialect knows."""

    def ask(self, head: Head, body: Mapping[str, Any]) -> Spoken:
        """Of a JSON body the model and whether it asks for a stream; other answers are handed on as they come."""
        return Spoken(
            dialect=self,
            body=body,
            model=model_of(body),
            stream=body.get("stream") is True or "application/json" not in head.headers.get("accept", ""),
            params=besides(body),
            repeatable=_repeatable(head),
            understood=False,
        )

    def said(self, spoken: Spoken, messages: Sequence[Message]) -> Mapping[str, Any]:  # noqa: ARG002
        """There are no messages that anybody knows of."""
        return {}

    def decoder(self, spoken: Spoken) -> Decoder:  # noqa: ARG002
        """Bytes, and their end."""
        return OpaqueDecoder()

    def script(self) -> None:
        """Nothing here is told again."""

    def refused(self, error: LLMError) -> tuple[int | None, bytes]:
        """In OpenAI's words, for want of others."""
        return openai_refusal(error)


def _repeatable(head: Head) -> bool:
    return (
        head.method in IDEMPOTENT
        or "idempotency-key" in head.headers
        or (head.method == "POST" and head.path.endswith(ANSWERS_ONLY))
    )


RAW = Raw()
