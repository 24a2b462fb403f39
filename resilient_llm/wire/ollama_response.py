"""Ollama's whole answers: chat and embeddings."""

from __future__ import annotations

from typing import Annotated

import msgspec

from resilient_llm.errors import ModelResponseInvalidError
from resilient_llm.events import Event, Finish, UsageEvent
from resilient_llm.models import Embeddings, Usage

from .ollama_shapes import Answer, Calls, read_answer, said
from .openai_response import ChatAnswer
from .payload import body_failure, int_of, load_object, object_of, reject_error, text_of

_decode = msgspec.json.Decoder(Answer).decode


def decode_chat(body: bytes, *, legacy: bool = False) -> ChatAnswer:
    """Decode the body of a chat whose status was 200 and which was not streamed.

    Args:
        body: The bytes.
        legacy: Give tool calls as a function call: the caller asked with `functions`.

    Raises:
        BackendFailure: The body says an error, which the classifier judges.
        ModelResponseInvalidError: No JSON object, or one that is no answer.
    """
    try:
        answer = _decode(body)
    except (ValueError, RecursionError):
        answer = read_answer(body)
    if answer.error:
        raise body_failure(body)
    if answer.message is None:
        msg = "the answer holds no message"
        raise ModelResponseInvalidError(msg)
    events: list[Event] = []
    calls = Calls(legacy=legacy)
    said(answer.message, calls, answer.created_at, events)
    if not events and not answer.done:
        msg = "the answer is empty and gives no finish reason"
        raise ModelResponseInvalidError(msg)
    if (usage := answer.usage()) is not None:
        events.append(UsageEvent(usage))
    events.append(Finish(calls.reason(answer.done_reason)))
    return ChatAnswer(events, answer.model, None, body)


def decode_rendered(body: bytes) -> str:
    """The prompt that a server shows instead of answering; empty if it shows none.

    Raises:
        BackendFailure: The body says an error, which the classifier judges.
        ModelResponseInvalidError: It is no JSON object.
    """
    answer = load_object(body)
    reject_error(answer, body)
    return text_of(object_of(answer.get("_debug_info")).get("rendered_template")) or ""


class _Vectors(msgspec.Struct, gc=False):
    embeddings: Annotated[list[list[float]], msgspec.Meta(min_length=1)]
    model: object = None
    prompt_eval_count: object = None


_decode_vectors = msgspec.json.Decoder(_Vectors).decode


def decode_embeddings(body: bytes) -> Embeddings:
    """Decode vectors, in the order of the texts.

    Raises:
        BackendFailure: The body says an error, which the classifier judges.
        ModelResponseInvalidError: It is no list of vectors.
    """
    try:
        answer = _decode_vectors(body)
    except (ValueError, RecursionError) as error:
        reject_error(load_object(body), body)
        msg = "the answer holds no usable embeddings"
        raise ModelResponseInvalidError(msg) from error
    tokens = int_of(answer.prompt_eval_count)
    return Embeddings(
        answer.embeddings, text_of(answer.model) or "", Usage(prompt_tokens=tokens, total_tokens=tokens)
    )
