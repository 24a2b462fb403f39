"""What a raised exception means: our own, an HTTP client's, an SDK's.

Foreign exceptions are recognised by their names and attributes alone, so no SDK is imported. Cancellation is not a
failure and should not come here; if it does, the answer is one that is never retried and counts against nobody.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from resilient_llm.errors import ERROR_TYPES, BackendFailure, LLMError, ModelUnavailableError

from .classify import Surface, classify
from .classify_exception_rules import MISTAKES, ROWS, Row
from .classify_text import shorten, told_once

_STEPS: Final = 8
"""How many causes are followed."""


def classify_exception(
    exc: BaseException, backend: str | None = None, *, model: str | None = None, now: float | None = None
) -> LLMError:
    """Turn any exception of a call into the error that it means; an `LLMError` comes back as it is.

    Knows `BackendFailure`, everything that carries a status (the SDKs of OpenAI, Anthropic, Google, Mistral, Cohere
    and Ollama, LiteLLM, botocore, aiohttp, httpx, requests), and failures of the connection, also as causes.
    Cancellation and errors of the program come back as `ModelUnavailableError` that is not retryable and not the
    backend's fault.

    Args:
        exc: What was raised.
        backend: The transport's name, for the error.
        model: The model asked for, for the error.
        now: Wall time in epoch seconds, for dates in `Retry-After`.
    """
    if isinstance(exc, LLMError):
        return exc
    if not isinstance(exc, Exception):
        return _neutral(type(exc).__name__, "", backend, model)
    for link in _chain(exc, handled=False):  # a framework's own words for one of ours
        if (error := _ours(link)) is not None:
            return error
    chain = list(_chain(exc))
    for link in chain:
        if (error := _ours(link)) is not None:
            return error
        if (error := _from_answer(link, backend, model, now)) is not None:
            return error
    names = [name for link in chain for name in _names(link)]
    words = told_once(text for link in chain if (text := _text(link)))
    return _from_words(names, words, type(exc).__name__, backend, model)


def classify_exception_text(
    name: str, message: str, *, backend: str | None = None, model: str | None = None
) -> LLMError:
    """Judge an exception of which only the class and the message are known, as a log prints them.

    Args:
        name: The class, with or without its module.
        message: What it said, causes included.
        backend: The transport's name, for the error.
        model: The model asked for, for the error.
    """
    short = name.strip().rpartition(".")[2]
    if " " in short or "/" in name:  # no class at all: the message was split at its first colon
        return _from_words([], f"{name}: {message}", "", backend, model)
    mentioned = re.findall(
        r"\b[A-Za-z]{2,60}(?:Error|Exception|Timeout|Disconnected|IncompleteRead)\b", message[:4_000]
    )
    return _from_words([short, *mentioned], message or short, short, backend, model)


def _from_words(names: list[str], words: str, shown: str, backend: str | None, model: str | None) -> LLMError:
    words = words[:8_000]
    row = next((row for row in ROWS if _holds(row, names, words.lower())), None)
    if row is None:
        return _unknown(shown, words, backend, model)
    return ERROR_TYPES[row.code](_say(shown, words), retryable=row.retryable, backend=backend, model=model)


def _unknown(shown: str, words: str, backend: str | None, model: str | None) -> LLMError:
    """An SDK's or a framework's exception may still quote what the backend said; an error of the program does not."""
    if shown not in MISTAKES and re.search(r"\b[45]\d\d\b|[{]", words):
        return classify(body=f"{shown}: {words}", backend=backend, model=model)
    return _neutral(shown, words, backend, model)


def _neutral(shown: str, words: str, backend: str | None, model: str | None) -> LLMError:
    return ModelUnavailableError(
        _say(shown, words), retryable=False, backend_fault=False, backend=backend, model=model
    )


def _say(shown: str, words: str) -> str:
    told = words if words.startswith(shown) else f"{shown}: {words}"
    return shorten(told.strip(": ")) or "no answer"


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _holds(row: Row, names: list[str], words: str) -> bool:
    if row.names and any(_pattern(row.names).search(name) for name in names):
        return True
    return bool(row.words) and _pattern(row.words).search(words) is not None


def _chain(exc: BaseException, *, handled: bool = True) -> Iterator[BaseException]:
    """The exception and what caused it, at most `_STEPS` of them; also what was being `handled` when it was raised."""
    link: BaseException | None = exc
    seen: set[int] = set()
    while link is not None and id(link) not in seen and len(seen) < _STEPS:
        seen.add(id(link))
        yield link
        context = None if link.__suppress_context__ or not handled else link.__context__
        link = link.__cause__ or context


def _names(exc: BaseException) -> list[str]:
    """The class and its bases, as far as they say something."""
    return [
        kind.__name__ for kind in type(exc).__mro__ if kind not in {object, BaseException, Exception, OSError}
    ]


def _ours(exc: BaseException) -> LLMError | None:
    """The error itself, or the one that a wrapped client has put on its exception or the answer in it."""
    told = (exc, _attribute(exc, "llm_error"), _attribute(_attribute(exc, "response"), "llm_error"))
    return next((error for error in told if isinstance(error, LLMError)), None)


def _text(exc: BaseException) -> str:
    said = ""
    with contextlib.suppress(Exception):  # a foreign `__str__` may raise anything
        said = str(exc)[:4_000]
    return said


def _attribute(owner: object, name: str) -> Any:
    """An attribute of a foreign object, whose property may raise anything; None if there is none."""
    with contextlib.suppress(Exception):
        return getattr(owner, name, None)
    return None


def _from_answer(
    exc: BaseException, backend: str | None, model: str | None, now: float | None
) -> LLMError | None:
    """Classify what an exception carries of an answer; None if it carries none."""
    if isinstance(exc, BackendFailure):
        surface: Surface = "stream" if exc.surface == "stream" else "http"
        return classify(
            status=exc.status,
            headers=exc.headers,
            body=exc.body,
            backend=backend,
            surface=surface,
            model=model,
            now=now,
        )
    if _unreadable(exc):
        return None
    response = _attribute(exc, "response")
    status = _status(exc, response)
    body = _body(exc, response)
    if status is None and body is None:
        return None
    return classify(
        status=status,
        headers=_headers(exc, response),
        body=body or _text(exc),
        backend=backend,
        model=model,
        now=now,
    )


def _unreadable(exc: BaseException) -> bool:
    """Is the status the client's own? aiohttp's parser gives a 400 to every answer that it cannot read."""
    return any("HttpProcessingError" in _names(link) for link in (exc, exc.__cause__) if link is not None)


def _status(exc: BaseException, response: Any) -> int | None:
    metadata = response.get("ResponseMetadata") if isinstance(response, dict) else None  # botocore
    candidates = (
        _attribute(exc, "status_code"),
        _attribute(exc, "http_status"),
        _attribute(exc, "status"),
        _attribute(exc, "code"),
        _attribute(response, "status_code"),
        _attribute(response, "status"),
        metadata.get("HTTPStatusCode") if isinstance(metadata, dict) else None,
    )
    for candidate in candidates:
        number = candidate if isinstance(candidate, int) else _attribute(candidate, "value")
        if isinstance(number, int) and not isinstance(number, bool) and 400 <= number <= 599:
            return number
    return None


def _headers(exc: BaseException, response: Any) -> dict[str, str] | None:
    metadata = response.get("ResponseMetadata") if isinstance(response, dict) else None
    for source in (
        _attribute(exc, "headers"),
        _attribute(response, "headers"),
        _attribute(exc, "litellm_response_headers"),
        metadata.get("HTTPHeaders") if isinstance(metadata, dict) else None,
    ):
        if isinstance(source, Mapping) and source:
            with contextlib.suppress(Exception):
                return {str(name): str(value) for name, value in source.items()}
    return None


def _body(exc: BaseException, response: Any) -> str | bytes | None:
    """The answer's body: as the exception keeps it, or as its response does."""
    if isinstance(response, dict) and isinstance(response.get("Error"), dict):  # botocore
        return _dump(response["Error"])
    candidates = (
        _attribute(exc, "body"),
        _attribute(exc, "http_body"),
        _attribute(exc, "response_body"),
        _attribute(response, "text"),
        _attribute(response, "content"),
        _attribute(exc, "details"),
    )
    for candidate in candidates:
        if isinstance(candidate, str | bytes) and candidate:
            return candidate
        if isinstance(candidate, dict | list) and candidate:
            return _dump(candidate)
    return None


def _dump(value: Any) -> str | None:
    with contextlib.suppress(Exception):
        return json.dumps(value, default=str)
    return None
