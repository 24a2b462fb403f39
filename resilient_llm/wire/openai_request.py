"""Requests in OpenAI's dialect: what the caller gave goes into the body untouched."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from resilient_llm.errors import ModelInvalidRequestError

from .messages import for_others

if TYPE_CHECKING:
    from resilient_llm.models import Request

UNWRITABLE: Final = (TypeError, ValueError, OverflowError, RecursionError)


def chat_body(request: Request) -> dict[str, Any]:
    """The body of a chat request, before it is encoded.

    A stream asks for its usage unless the caller set `stream_options`; the extension `body` is merged last.

    Raises:
        ModelInvalidRequestError: There are no messages, or more than one choice is asked for.
    """
    body: dict[str, Any] = {"model": request.model} if request.model else {}
    body["messages"] = for_others(request.messages)
    body.update(request.params)
    body["stream"] = request.stream
    if request.stream:
        body.setdefault("stream_options", {"include_usage": True})
    body.update(request.extensions.get("body") or {})
    check_chat(body["messages"], body.get("n"))
    return body


def check_chat(messages: object, choices: object) -> None:
    """Refuse what no backend could answer, or nobody could read.

    Raises:
        ModelInvalidRequestError: There are no messages, or more than one choice is asked for.
    """
    if not messages:
        msg = "messages is empty; a chat needs at least one message"
        raise ModelInvalidRequestError(msg)
    if isinstance(choices, int) and choices > 1:
        msg = f"n is {choices!r}; one choice a call is supported, call again for another"
        raise ModelInvalidRequestError(msg)


def encode_chat(request: Request) -> bytes:
    """The body of a chat request; see `chat_body`.

    Raises:
        ModelInvalidRequestError: There are no messages, more than one choice is asked for, or a parameter
            cannot be written as JSON: it is named.
    """
    return encode_body(chat_body(request))


def encode_embeddings(request: Request) -> bytes:
    """The body of a request for embeddings.

    Raises:
        ModelInvalidRequestError: There is no input, or a parameter cannot be written as JSON: it is named.
    """
    body: dict[str, Any] = {"model": request.model} if request.model else {}
    body.update(request.params)
    body.update(request.extensions.get("body") or {})
    if not body.get("input"):
        msg = "input is empty; embeddings need at least one text"
        raise ModelInvalidRequestError(msg)
    return encode_body(body)


def encode_body(body: Mapping[str, Any]) -> bytes:
    """Write a body as JSON.

    Beside plain data, mappings, sequences and pydantic models are taken, such as the messages of an SDK.

    Raises:
        ModelInvalidRequestError: A parameter cannot be written as JSON, or is NaN or infinite: it is named.
    """
    try:
        data = _encode(body)
        # msgspec writes NaN as null: where there is no null, there was no NaN, and no need to look for one
        if b"null" not in data or _is_finite(body):
            return data
        reason = "it holds NaN or an infinite number, which JSON cannot express"
    except UNWRITABLE as error:
        reason = str(error)
    msg = f"{_culprit(body)} cannot be sent: {reason}"
    raise ModelInvalidRequestError(msg)


def _plain(value: object) -> object:
    """What msgspec does not write by itself, as something that it does."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    if isinstance(value, Sequence):
        return list(cast("Sequence[object]", value))
    if hasattr(value, "model_dump"):
        return cast("Any", value).model_dump(mode="json", exclude_none=True)
    msg = f"a value of type {type(value).__name__} is no JSON"
    raise TypeError(msg)


_encode = msgspec.json.Encoder(enc_hook=_plain).encode


def _is_finite(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(map(_is_finite, cast("Mapping[object, object]", value).values()))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return all(map(_is_finite, cast("Sequence[object]", value)))
    return True


def _culprit(body: Mapping[str, Any]) -> str:
    """The name of the first parameter that cannot be written; of messages, which one."""
    return next((name for name, value in _parameters(body) if not _is_writable(value)), "the body")


def _parameters(body: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in body.items():
        if name == "messages" and isinstance(value, Sequence):
            for index, message in enumerate(cast("Sequence[object]", value)):
                yield f"messages[{index}]", message
        else:
            yield str(name), value


def _is_writable(value: object) -> bool:
    try:
        _encode(value)
        return _is_finite(value)
    except UNWRITABLE:
        return False
