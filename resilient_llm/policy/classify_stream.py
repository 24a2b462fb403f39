"""Failures inside a stream whose status was 200: find the event that tells of them.

Understands server-sent events (also llama.cpp's own field `error:`), newline-delimited JSON, and a payload that
stands alone, such as that of a Bedrock frame. Of a long stream the end is examined, for that is where it failed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .classify_answer import finish_failure, says_error
from .classify_body import EXAMINED, Reading, is_html, read_body, read_text, read_value
from .classify_json import decode, scrape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient_llm.errors import ErrorCode

_EVENTS: Final = frozenset({"error", "response.failed", "exception"})


class StreamFailure(NamedTuple):
    """What was found: an error to be judged, or a verdict with its reason, or neither for a stream cut short."""

    reading: Reading | None = None
    code: ErrorCode | None = None
    message: str = ""


def _payloads(text: str) -> Iterator[tuple[bool, str]]:
    """The payloads of a stream, each with whether its event or field is named an error."""
    event = ""
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        value = value.strip()
        if line[:1] in {"{", "["}:
            yield False, line
        elif not line.strip():
            event = ""
        elif colon and name == "event":
            event = value
        elif colon and name == "data" and value:
            yield event in _EVENTS, value
        elif colon and name == "error" and value:
            yield True, value


def _error_in(named: bool, payload: str) -> Reading | None:
    if not named and not any(f'"{name}"' in payload for name in ("error", "message", "detail", "base_resp")):
        return None
    value: Any = decode(payload)
    if isinstance(value, dict | list):
        return read_value(value) if named or says_error(value) else None
    if named:
        return read_text(payload)
    if payload.startswith(('{"error"', '{"type":"error"')):
        return read_value(scrape(payload), form="broken")
    return None


def read_stream(text: str) -> StreamFailure:
    """Find out why a stream failed; the first error that it tells of decides, then its finish reason."""
    text = text[-EXAMINED:].strip("\ufeff\0 \t\r\n")
    if not text:
        return StreamFailure(message="the stream was empty")
    if is_html(text):
        return StreamFailure(read_body(text), message="a web page instead of a stream")
    whole = decode(text)
    if isinstance(whole, dict | list):
        return _judge_whole(whole)
    payloads = list(_payloads(text))
    return _judge_events(payloads, text) if payloads else _judge_text(text)


def _judge_text(text: str) -> StreamFailure:
    text = "\n".join(
        line for line in text.splitlines() if not line.startswith((":", "id:", "retry:", "event:", "data:"))
    )
    if not text.strip():
        return StreamFailure(message="the stream was empty")
    if len(text) < 2_000:
        return StreamFailure(read_text(text))
    return StreamFailure(message="no stream")


def _trailing_error(text: str) -> Reading | None:
    """Google breaks off its events with an error that is printed over several lines, without `data:`."""
    match = re.search(r"^\[?\{\s*$", text, re.MULTILINE)
    value = decode(text[match.start() :].strip()) if match else None
    return read_value(value) if says_error(value) else None


def _judge_events(payloads: list[tuple[bool, str]], text: str) -> StreamFailure:
    for named, payload in payloads:
        if reading := _error_in(named, payload):
            return StreamFailure(reading)
    if reading := _trailing_error(text):
        return StreamFailure(reading)
    for _, payload in reversed(payloads[-200:]):
        if found := finish_failure(decode(payload)):
            return StreamFailure(code=found[0], message=found[1])
    return StreamFailure(message="the stream ended before its answer was complete")


def _judge_whole(value: Any) -> StreamFailure:
    """A payload that stands alone."""
    if says_error(value):
        return StreamFailure(read_value(value))
    if found := finish_failure(value):
        return StreamFailure(code=found[0], message=found[1])
    return StreamFailure(message="no answer in the stream")
