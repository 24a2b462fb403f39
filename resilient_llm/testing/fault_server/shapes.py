"""How the errors of each backend look."""

from __future__ import annotations

import json
from http.client import responses
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from .words import REFUSALS, Facts, Reason, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .words import Backend

_BY_STATUS: Final[Mapping[int, Reason]] = {
    400: "malformed",
    401: "unauthorized",
    404: "unknown_model",
    429: "rate_limited",
    500: "failed",
    503: "overloaded",
    529: "overloaded",
}


def refuse(backend: Backend, reason: Reason | int, facts: Facts) -> tuple[int, bytes]:
    """The status and the body with which a backend refuses.

    Args:
        backend: Which one.
        reason: Why; or a status, for the reason that it mostly has.
        facts: What it may tell.
    """
    if isinstance(reason, int):
        refusal = attrs.evolve(_generic(backend, reason), status=reason)
    else:
        refusal = _find(backend, reason)
    message = refusal.message.format(
        model=facts.model,
        tokens=facts.tokens,
        window=facts.window,
        size=facts.size,
        excess=facts.excess,
        detail=facts.detail,
    )
    body = _SHAPES[backend](refusal, message, facts)
    return refusal.status, json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def _find(backend: Backend, reason: Reason) -> Refusal:
    return REFUSALS[backend].get(reason) or REFUSALS["openai"][reason]


def _generic(backend: Backend, status: int) -> Refusal:
    if status in _BY_STATUS:
        return _find(backend, _BY_STATUS[status])
    return Refusal(
        status, responses.get(status, "Unknown"), "server_error" if status >= 500 else "invalid_request_error"
    )


Shape: TypeAlias = "Callable[[Refusal, str, Facts], Mapping[str, Any]]"


def _openai(refusal: Refusal, message: str, _facts: Facts) -> Mapping[str, Any]:
    return {"error": {"message": message, "type": refusal.kind, "param": None, "code": refusal.code}}


def _vllm(refusal: Refusal, message: str, _facts: Facts) -> Mapping[str, Any]:
    return {"error": {"message": message, "type": refusal.kind, "param": None, "code": refusal.status}}


def _anthropic(refusal: Refusal, message: str, facts: Facts) -> Mapping[str, Any]:
    error = {"type": refusal.kind or "api_error", "message": message}
    return {"type": "error", "error": error, "request_id": f"req_{facts.number}"}


def _llamacpp(refusal: Refusal, message: str, facts: Facts) -> Mapping[str, Any]:
    error: dict[str, Any] = {"code": refusal.status, "message": message, "type": refusal.kind}
    if refusal.kind == "exceed_context_size_error":
        error |= {"n_prompt_tokens": facts.tokens, "n_ctx": facts.window}
    return {"error": error}


def _text(_refusal: Refusal, message: str, _facts: Facts) -> Mapping[str, Any]:
    return {"error": message}


_SHAPES: Final[Mapping[str, Shape]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "ollama": _text,
    "llamacpp": _llamacpp,
    "lmstudio": _text,
    "vllm": _vllm,
}
