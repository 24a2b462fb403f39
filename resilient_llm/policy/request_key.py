"""What tells requests apart: whether they have the same answer, and whether they are the same call.

A key is the SHA-256 of canonical JSON, so it can be stored and shared between processes, and shows nothing of what it
was made from. What JSON cannot say has no key: it is neither remembered nor shared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from resilient_llm.request import Request

FORM: Final = 1
"""Counted up when keys, or what is stored under them, change their meaning."""

OPERATIONS: Final = frozenset({"chat", "embed"})

INDIFFERENT: Final = frozenset(
    """
    cache recovery max_wait attempt_timeout first_token_timeout idle_timeout max_retries initial_backoff tool_deltas
    headers sending
    """.split()  # noqa: SIM905 - a list of quoted strings is no easier to read
)
"""Extensions that leave the answer as it is. Whatever else a request carries decides it, known here or not."""


def answer_key(request: Request, namespace: str = "") -> str | None:
    """The same for requests that have the same answer, streamed or whole; None if nobody can tell.

    Headers are left out: they hold keys and trace ids.

    Args:
        request: A chat or a request for embeddings; others have no key.
        namespace: What else tells answers apart.
    """
    return _key(request, INDIFFERENT, namespace)


def call_key(request: Request) -> str | None:
    """The same for requests that are the same call: same answer, same headers, same limits; None if nobody can tell.

    Deadlines are left out, and so is how long a stage may wait for a target.
    """
    return _key(request, frozenset({"max_wait", "sending"}), "")


def repeatable(request: Request) -> bool:
    """Is the answer meant to be the same each time: a chat at temperature 0, or embeddings?"""
    if request.operation == "embed":
        return True
    body = request.extensions.get("body") or {}
    return bool(body.get("temperature", request.params.get("temperature")) == 0)


def _key(request: Request, without: frozenset[str], namespace: str) -> str | None:
    extensions = request.extensions
    if request.operation not in OPERATIONS or "recovers" in extensions:
        return None
    what = [
        FORM,
        namespace,
        request.operation,
        request.model,
        list(request.messages),
        request.params,
        {name: value for name, value in extensions.items() if name not in without},
    ]
    try:
        text = json.dumps(what, sort_keys=True, allow_nan=False, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError, RecursionError):
        return None
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> dict[object, object]:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    msg = f"a value of type {type(value).__name__} is no JSON"
    raise TypeError(msg)
