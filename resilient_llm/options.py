"""From a call's arguments to a request: which keywords are options of a stage and which belong to the body."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, get_args

from .errors import ModelInvalidRequestError
from .models import Extensions, Message, Request
from .request import Recovery

if TYPE_CHECKING:
    from .clock import Clock


def conversation(prompt: str | Sequence[Message], system: str | None = None) -> Sequence[Message]:
    """The messages of a prompt: a text becomes one user message; those of a conversation are taken as they are.

    The list is another one, so that what a caller appends to its own later does not change what was sent.

    Raises:
        ModelInvalidRequestError: There is no message, or one that is none; its index is named.
    """
    if isinstance(prompt, str):
        messages: Sequence[Message] = [{"role": "user", "content": prompt}]
    else:
        _check(prompt)
        messages = list(prompt)
    return messages if system is None else [{"role": "system", "content": system}, *messages]


def _check(messages: Sequence[Message]) -> None:
    if type(messages) is not list and (
        isinstance(messages, bytes | Mapping) or not isinstance(messages, Sequence)
    ):
        msg = f"messages must be a text or a list of messages, not {type(messages).__name__}"
        raise ModelInvalidRequestError(msg)
    if not messages:
        msg = "messages is empty: there is nothing to answer"
        raise ModelInvalidRequestError(msg)
    for place, message in enumerate(messages):
        if type(message) is not dict and not isinstance(message, Mapping):
            msg = f"messages[{place}] must be a mapping with a role, not {type(message).__name__}"
            raise ModelInvalidRequestError(msg)
        if not isinstance(message.get("role"), str):
            msg = f"messages[{place}] has no role; accepted are system, developer, user, assistant, tool, function"
            raise ModelInvalidRequestError(msg)


def inputs(texts: str | Sequence[str]) -> list[str]:
    """The texts to embed.

    Raises:
        ModelInvalidRequestError: There are none, or one that is none; its index is named.
    """
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, bytes | Mapping):
        msg = f"texts must be a text or a list of texts, not {type(texts).__name__}"
        raise ModelInvalidRequestError(msg)
    found = list(texts)
    if not found:
        msg = "nothing to embed: give at least one text"
        raise ModelInvalidRequestError(msg)
    for place, text in enumerate(found):
        if not isinstance(text, str):
            msg = f"texts[{place}] must be a text, not {type(text).__name__}"
            raise ModelInvalidRequestError(msg)
    return found


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"{name} must be a number of seconds, not {value!r}"
        raise ModelInvalidRequestError(msg)
    if not value > 0 or not math.isfinite(value):
        msg = f"{name} must be a finite number of seconds above 0, not {value!r}"
        raise ModelInvalidRequestError(msg)
    return value


def _limit(name: str, value: object) -> float | None:
    return None if value is None else _seconds(name, value)


def _retries(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        msg = f"{name} must be a whole number of 0 or more, not {value!r}"
        raise ModelInvalidRequestError(msg)
    return value


def _mapping(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        msg = f"{name} must be a mapping, not {type(value).__name__}"
        raise ModelInvalidRequestError(msg)
    return value


def _headers(name: str, value: object) -> Mapping[Any, Any]:
    headers: Mapping[Any, Any] = _mapping(name, value)
    for key, text in headers.items():
        if not (isinstance(key, str) and isinstance(text, str)) or _CONTROL.search(key + text):
            msg = f"{name} must hold texts of a single line, and that of {key!r} is none"
            raise ModelInvalidRequestError(msg)
    return headers


def _boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        msg = f"{name} must be True or False, not {value!r}"
        raise ModelInvalidRequestError(msg)
    return value


RECOVERIES: Final = get_args(Recovery)

_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""What ends a header, or may not stand in one (RFC 9110, 5.5)."""


def _recovery(name: str, value: object) -> object:
    if value not in RECOVERIES:
        msg = f"{name} must be one of {', '.join(map(repr, RECOVERIES))}, not {value!r}"
        raise ModelInvalidRequestError(msg)
    return value


_EXTENSIONS: Mapping[str, tuple[str, Callable[[str, object], object]]] = {
    "attempt_timeout": ("attempt_timeout", _limit),
    "first_token_timeout": ("first_token_timeout", _limit),
    "idle_timeout": ("idle_timeout", _limit),
    "initial_backoff": ("initial_backoff", _seconds),
    "max_retries": ("max_retries", _retries),
    "tool_deltas": ("tool_deltas", _boolean),
    "cache": ("cache", _boolean),
    "recovery": ("recovery", _recovery),
    "extra_headers": ("headers", _headers),
    "extra_query": ("query", _mapping),
    "extra_body": ("body", _mapping),
}


def build_request(
    messages: Sequence[Message], stream: bool, options: Mapping[str, object], *, model: str, clock: Clock
) -> Request:
    """A chat request from a call's keywords.

    An option that is None is not given; but None as one of the time limits of an attempt means that there is none.

    Raises:
        ModelInvalidRequestError: An option of the wrong type or out of range.
    """
    if not options:
        return Request("chat", messages, model, stream)
    extensions: dict[str, object] = {}
    params: dict[str, Any] = {}
    deadline = None
    for name, value in options.items():
        if name in _EXTENSIONS:
            key, check = _EXTENSIONS[name]
            if value is not None or check is _limit:
                extensions[key] = check(name, value)
        elif name == "deadline":
            deadline = None if value is None else clock.monotonic() + _seconds(name, value)
        elif name == "model":
            model = _model(value) or model
        elif name in _INSTEAD:
            _refuse(name, value, stream)
        elif value is not None:
            params[name] = value
    return Request("chat", messages, model, stream, params, deadline, 1, Extensions(**extensions))  # type: ignore[typeddict-item]


_INSTEAD: Final = {
    "stream": "complete() gives whole answers, stream() streams",
    "messages": "a conversation is the first argument",
}


def _refuse(name: str, value: object, stream: bool) -> None:
    """Say how it is said here; but that a stream is one may be said twice."""
    if value is not None and value is not stream:
        msg = f"{name} is no option of a call: {_INSTEAD[name]}"
        raise ModelInvalidRequestError(msg)


def _model(value: object) -> str:
    if value is not None and not isinstance(value, str):
        msg = f"model must be a string, not {value!r}"
        raise ModelInvalidRequestError(msg)
    return value or ""
