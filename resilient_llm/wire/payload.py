"""Reading JSON that others wrote: fast where it is sound, lenient where it is not, never an untyped error.

msgspec refuses what some backends send: bytes that are no UTF-8, half of a surrogate pair, `NaN`. The parser of the
standard library takes them; what cannot be text becomes U+FFFD, as the event-stream standard has it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias, cast

import msgspec

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError
from resilient_llm.models import Usage

EXCERPT: Final = 40
MAX_FAILURE_TEXT: Final = 64 * 1024
MAX_VALUES: Final = 2_000_000
"""A listing of 400 models has 20,000."""

Object: TypeAlias = Mapping[str, Any]
"""A JSON object."""

PAGE_HEAD: Final = 4096
"""Bytes in which a page's title is looked for."""
_PAGE: Final = re.compile(
    rb"\s*(?:\xef\xbb\xbf)?<(?:!doctype html|html)\b(?:.*?<title[^<>]{0,200}>(?P<title>[^<>]{1,300}))?",
    re.IGNORECASE | re.DOTALL,
)

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def loads(payload: bytes, most: int = MAX_VALUES) -> object:
    """Parse JSON.

    Args:
        payload: What a backend sent.
        most: How many values it may have: each takes up to a hundred bytes of memory.

    Raises:
        ModelResponseInvalidError: It is none. The message describes the payload without quoting an answer.
    """
    refuse_bushy(payload, most, (b",", b"[", b"{"))
    try:
        return _decode(payload)
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(payload.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError) as error:
        msg = f"the backend sent {describe(payload)} where JSON was due"
        raise ModelResponseInvalidError(msg) from error


def load_object(payload: bytes) -> dict[str, Any]:
    """Parse JSON that must be an object.

    Raises:
        ModelResponseInvalidError: It is not.
    """
    value = loads(payload)
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    msg = f"the backend sent JSON of type {type(value).__name__} where an object was due"
    raise ModelResponseInvalidError(msg)


def refuse_bushy(payload: bytes, most: int, marks: tuple[bytes, ...]) -> None:
    """Refuse JSON of so many values that they would take many times as much memory as their text.

    Args:
        payload: What a backend sent.
        most: How many marks may be in it; a shorter payload is not looked at.
        marks: What each value brings with it.

    Raises:
        ModelResponseInvalidError: There are more.
    """
    if len(payload) > most and sum(map(payload.count, marks)) > most:
        msg = f"the backend sent JSON of more than {most} values"
        raise ModelResponseInvalidError(msg)


def describe(payload: bytes) -> str:
    """Say what garbage looks like. What begins like JSON may hold an answer, so only its size is told."""
    start = payload[: 4 * EXCERPT].strip()
    if not start:
        return "an empty body"
    if start[:1] in b"{[":
        return f"broken or truncated JSON of {len(payload)} bytes"
    if page := _PAGE.match(payload, 0, PAGE_HEAD):
        title = " ".join((page["title"] or b"").decode("utf-8", "replace").split())[:EXCERPT]
        return f"a web page{f' ({title})' if title else ''}, as another server or a proxy would,"
    text = start.decode("utf-8", "replace")[:EXCERPT]
    return f"{len(payload)} bytes beginning {text!r}"


def reject_error(body: Object, payload: bytes) -> None:
    """Hand an error that came with status 200 to the classifier.

    Raises:
        BackendFailure: The body has an `error`, an object or a string, or is the flat error of old vLLM.
    """
    if says_error(body):
        raise body_failure(payload)


def body_failure(payload: bytes) -> BackendFailure:
    """The failure that the body of an answer tells of, though its status was 200."""
    return BackendFailure(200, {}, payload[:MAX_FAILURE_TEXT].decode("utf-8", "replace"))


def says_error(body: Object) -> bool:
    """Is this an error instead of an answer?"""
    return bool(body.get("error")) or body.get("object") == "error" or body.get("type") == "error"


def stream_failure(payload: bytes) -> BackendFailure:
    """The failure that an error event of a stream tells of."""
    text = payload[:MAX_FAILURE_TEXT].decode("utf-8", "replace")
    return BackendFailure(200, {}, text, surface="stream")


def text_of(value: object) -> str | None:
    """Text, also where a backend sent a number; None for anything else."""
    if isinstance(value, str):
        if value.isascii():
            return value
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None


def json_text(value: object) -> str:
    """A value that was read as JSON, as JSON text again; also half a surrogate pair and NaN, which msgspec refuses.

    Raises:
        ModelResponseInvalidError: It is nested too deeply to be written.
    """
    try:
        try:
            return _encode(value).decode()
        except ValueError:
            return json.dumps(value)
    except RecursionError as error:
        msg = "the backend sent JSON that is nested too deeply"
        raise ModelResponseInvalidError(msg) from error


def int_of(value: object) -> int | None:
    """A whole number that is not negative, also where a backend sent it as text or as a float; else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return None
    return number if number >= 0 else None


def object_of(value: object) -> Object:
    """The object, or an empty one."""
    return cast("Object", value) if isinstance(value, Mapping) else {}


def objects_of(value: object) -> list[Object]:
    """The objects of a list, or an empty list."""
    if not isinstance(value, list):
        return []
    return [cast("Object", item) for item in cast("list[object]", value) if isinstance(item, Mapping)]


def usage_of(value: object) -> Usage | None:
    """Usage in OpenAI's shape; None if it tells nothing."""
    body = object_of(value)
    cached = int_of(object_of(body.get("prompt_tokens_details")).get("cached_tokens"))
    usage = Usage(
        prompt_tokens=int_of(body.get("prompt_tokens")),
        completion_tokens=int_of(body.get("completion_tokens")),
        total_tokens=int_of(body.get("total_tokens")),
        cached_tokens=int_of(body.get("prompt_cache_hit_tokens")) if cached is None else cached,
        reasoning_tokens=int_of(object_of(body.get("completion_tokens_details")).get("reasoning_tokens")),
    )
    return None if usage == Usage() else usage
