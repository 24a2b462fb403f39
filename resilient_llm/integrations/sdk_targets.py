"""Fallback of a wrapped client: other clients of its SDK, which may answer in its place.

The rules of this file:

- A target's client writes its request itself, from the body alone: so address, key and headers are its own.
- Of the first client's request only headers travel that hold no secret, see `TRAVELS`; not its query, not its cookies.
- What sends is the wrapped client's sender, by the target's own transport.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from resilient_llm.pipeline import name_of
from resilient_llm.targets import Target

from .dialects.anthropic_messages import MESSAGES
from .dialects.bedrock_messages import BEDROCK
from .dialects.dialect import model_in
from .dialects.openai_chat import CHAT
from .dialects.openai_responses import RESPONSES
from .generated_sdks import label_of, package_of, recognises
from .http_backend import call_of, request_of
from .httpx_clients import SENT_BY, is_async, original_of
from .httpx_family import family_of
from .worker import Worker

if TYPE_CHECKING:
    from resilient_llm.http_call import HTTPCall
    from resilient_llm.pipeline import Handler
    from resilient_llm.request import Extensions, Request
    from resilient_llm.response import Response

    from .dialects import Dialect, Spoken
    from .httpx_family import HTTPRequest

TRAVELS: Final = (
    *("accept", "anthropic-beta", "idempotency-key", "openai-beta"),
    *("traceparent", "tracestate"),
)
"""Headers of the first client's request that a target's has, too."""

ENDPOINTS: Final[dict[Dialect, str]] = {
    BEDROCK: "/v1/messages",
    CHAT: "/chat/completions",
    MESSAGES: "/v1/messages",
    RESPONSES: "/responses",
}
"""What an SDK asks for where the first client's path does not tell."""


FRAMED: Final = frozenset({"AnthropicBedrock", "AsyncAnthropicBedrock"})
"""Clients that read streams in AWS's frames, which no other understands."""


@attrs.frozen(eq=False)
class ClientTarget(Target):
    """A target that is a client of the same SDK: without a model of its own it is asked for the call's."""

    def model_for(self, model: str, backend: str | None) -> str:  # noqa: ARG002
        """What to ask this target for."""
        return model if self.model is None else self.model


class ClientBackend:
    """A client as the transport of a target.

    Args:
        client: A client of an SDK.
        name: What errors and traces call it.
        options: The class of its SDK for what a request is made of.
        prefix: The path of the first client's base URL.
    """

    def __init__(self, client: Any, name: str, options: Any, prefix: str) -> None:
        self.client = client
        self.http = original_of(client._client)  # noqa: SLF001 - the SDK has no other way to it
        self.name = name
        self.base_url = str(client.base_url)
        self._options = options
        self._prefix = prefix
        self._send: Handler = _unbound

    def __repr__(self) -> str:
        """The name."""
        return f"<ClientBackend {self.name}>"

    def behind(self, send: Handler) -> ClientBackend:
        """The same, sending as the wrapped client does."""
        twin = ClientBackend(self.client, self.name, self._options, self._prefix)
        twin._send = send
        return twin

    async def __call__(self, request: Request) -> Response:
        """Have the client write the request, and send it."""
        call = call_of(request)
        built = await self._built(self._asked(call, request))
        built.extensions[SENT_BY] = self.http
        again = request_of(
            built.method,
            str(built.url),
            built.url.path,
            built.headers,
            b"".join(built.stream),
            original=built,
            read_timeout=None,
        )
        request = attrs.evolve(
            request,
            messages=again.messages,
            model=again.model,
            params=again.params,
            extensions=cast("Extensions", {**request.extensions, "http_call": call_of(again)}),
        )
        response = await self._send(request)
        response.info.backend = self.name
        return response

    async def aclose(self) -> None:
        """Nothing: its connections end with the wrapped client's."""

    def _asked(self, call: HTTPCall, request: Request) -> Any:
        """The call in the SDK's words."""
        fields: dict[str, Any] = json.loads(cast("bytes", call.asked.edited(request) or call.body))
        if request.model:
            fields["model"] = request.model
        if call.asked.stream:
            fields["stream"] = True  # which Bedrock has in its path
        fields.pop("anthropic_version", None)  # of Vertex AI and Bedrock, whose clients add it
        return self._options.construct(
            method="post",
            url=_endpoint(call, self._prefix),
            json_data=fields,
            headers={name: call.headers[name] for name in TRAVELS if name in call.headers},
            timeout=family_of(self.http).module.Timeout(**call.original.extensions["timeout"]),
        )

    async def _built(self, options: Any) -> HTTPRequest:
        """The request that the client would send; a sync client may take its time for a key, so in a thread."""
        if not is_async(self.http):
            worker = Worker()
            try:
                return await worker.begin(lambda: self._build(options))
            finally:
                worker.end()
        client = self.client
        options = await client._prepare_options(options)  # noqa: SLF001 - as it does itself
        request = client._build_request(options)  # noqa: SLF001
        await client._prepare_request(request)  # noqa: SLF001
        for hook in self.http.event_hooks["request"]:
            await hook(request)
        return request

    def _build(self, options: Any) -> HTTPRequest:
        client = self.client
        request = client._build_request(client._prepare_options(options))  # noqa: SLF001
        client._prepare_request(request)  # noqa: SLF001
        for hook in self.http.event_hooks["request"]:
            hook(request)
        return request


async def _unbound(_request: Request) -> Response:
    msg = "this target belongs to the client that was wrapped with it"
    raise TypeError(msg)


def _is_framed(client: object) -> bool:
    return any(kind.__name__ in FRAMED for kind in type(client).__mro__)


def _endpoint(call: HTTPCall, prefix: str) -> str:
    """What the SDK was asked for: the path below its base URL."""
    if call.path.startswith(prefix) and not model_in(call.path):
        path = "/" + call.path[len(prefix) :].lstrip("/")
    else:
        path = ENDPOINTS[cast("Spoken", call.asked).dialect]
    return f"{path}?beta=true" if "beta=true" in call.url.partition("?")[2].split("&") else path


class SDKTargets:
    """Makes targets of what was given beside a client that is wrapped.

    Args:
        first: The client.
    """

    def __init__(self, first: Any) -> None:
        self._first = first
        self.http: list[Any] = []
        """The HTTP clients of the targets."""

    def __call__(self, target: Target, place: int) -> Target:
        """A target that a client answers.

        Raises:
            TypeError: It is none of the same SDK, or one that cannot answer in place of the first.
            RuntimeError: It is closed.
        """
        client: Any = target.transport
        self._check(client)
        own = target.name != name_of(client)
        name = target.name if own else f"{label_of(client)}-{place}"
        made = ClientBackend(
            client,
            name,
            package_of(client)._models.FinalRequestOptions,  # noqa: SLF001 - it is what its clients take
            self._first.base_url.path,
        )
        self.http.append(made.http)
        return ClientTarget(made, target.model, target.stack, name)

    def _check(self, client: Any) -> None:
        first, kind = type(self._first).__name__, type(client).__name__
        package = package_of(self._first)
        if not recognises(client) or package_of(client) is not package:
            msg = (
                f"a {first} falls back to clients of {package.__name__} alone, which speak its dialect, or to "
                f"Target(client, model=...), not to a {kind}: for other backends use AsyncClient(fallback=...)"
            )
            raise TypeError(msg)
        if _is_framed(client) != _is_framed(self._first):
            msg = f"a {first} does not fall back to a {kind}: streams of Amazon Bedrock come in frames of its own"
            raise TypeError(msg)
        http = original_of(client._client)  # noqa: SLF001
        if is_async(http) != is_async(self._first._client):  # noqa: SLF001
            msg = f"a {first} cannot fall back to a {kind}: both async, or neither"
            raise TypeError(msg)
        if http.is_closed:
            msg = f"the {kind} to fall back to is closed: give one that is open"
            raise RuntimeError(msg)
        if http.auth is not None or getattr(client, "custom_auth", None) is not None:
            msg = f"the auth of the {kind}'s HTTP client is not used for a target: set api_key or default_headers"
            raise TypeError(msg)
