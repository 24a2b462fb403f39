"""A wrapped client's HTTP request as the stages see it, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import attrs
import httpx2
import msgspec

from resilient_llm.errors import BackendAnswer, BackendFailure
from resilient_llm.models import Extensions, Request

if TYPE_CHECKING:
    from collections.abc import Mapping

CHAT_PATH: Final = "/chat/completions"
DEFAULT_READ_SECONDS: Final = 600.0
"""What the SDK sets where its user set nothing; then the stack's own limits hold."""


class RefusedByStatus(BackendFailure):
    """A backend's refusal that still has the bytes of its body."""

    def __init__(self, status: int, headers: httpx2.Headers, content: bytes) -> None:
        super().__init__(status, dict(headers), content.decode("utf-8", "replace"))
        self.head = headers
        self.content = content

    @property
    def answer(self) -> BackendAnswer:
        """With the bytes as they came."""
        return BackendAnswer(self.status, dict(self.head), self.content)


@attrs.define
class HTTPCall:
    """A call that came over HTTP; it travels in the request's extensions, shared by all copies of the request.

    Args:
        http: The request as the client built it.
        body: Its JSON, of a chat.
        failure: How the backend refused the last attempt, if it did.
    """

    http: httpx2.Request
    body: Mapping[str, Any] = attrs.field(factory=dict)
    failure: BackendFailure | None = None

    def encode(self, request: Request) -> httpx2.Request:
        """The client's own request, or one with another body if a stage changed messages, model or parameters."""
        if request.operation != "chat":
            return self.http
        fields = {**request.params, "messages": list(request.messages)}
        if request.model:
            fields["model"] = request.model
        if fields == self.body:
            return self.http
        headers = self.http.headers.copy()
        headers.pop("content-length", None)
        return httpx2.Request(
            self.http.method,
            self.http.url,
            headers=headers,
            content=msgspec.json.encode(fields),
            extensions=self.http.extensions,
        )


class HTTPExtensions(Extensions, total=False):
    """The options of a call that came over HTTP."""

    http_call: HTTPCall


def call_of(request: Request) -> HTTPCall:
    """The call that a request came from.

    Raises:
        TypeError: A stage made up a request, which nobody knows how to send.
    """
    call = cast("HTTPExtensions", request.extensions).get("http_call")
    if call is None:
        msg = "a stage passed on a request of its own: change the one it was given with attrs.evolve"
        raise TypeError(msg)
    return call


def parse_request(http: httpx2.Request) -> Request:
    """What a request asks for: a chat, or anything else (`"raw"`), of which only the bytes are known."""
    timeout: Mapping[str, float | None] = http.extensions.get("timeout") or {}
    read = timeout.get("read")
    call = HTTPCall(http)
    extensions = HTTPExtensions(http_call=call)
    body = _body(http)
    chat = body is not None and _is_chat(http, body)
    if not chat or read not in {None, DEFAULT_READ_SECONDS}:
        extensions["attempt_timeout"] = extensions["first_token_timeout"] = extensions["idle_timeout"] = read
    if body is None or not chat:
        stream = bool(body and body.get("stream") is True) or not _accepts_json(http)
        return Request("raw", stream=stream, extensions=extensions)
    call.body = body
    extensions["tool_deltas"] = True
    return Request(
        "chat",
        body["messages"],
        body.get("model", ""),
        stream=body.get("stream") is True,
        params={name: value for name, value in body.items() if name not in {"messages", "model"}},
        extensions=extensions,
    )


def _accepts_json(http: httpx2.Request) -> bool:
    return "application/json" in http.headers.get("accept", "application/json")


def _body(http: httpx2.Request) -> dict[str, Any] | None:
    if http.method != "POST" or "json" not in http.headers.get("content-type", ""):
        return None
    try:
        return msgspec.json.decode(http.content, type=dict[str, Any])
    except (ValueError, RecursionError):
        return None


def _is_chat(http: httpx2.Request, body: Mapping[str, Any]) -> bool:
    return (
        http.url.path.endswith(CHAT_PATH)
        and isinstance(body.get("messages"), list)
        and isinstance(body.get("model", ""), str)
    )
