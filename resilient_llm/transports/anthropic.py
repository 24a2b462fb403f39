"""Anthropic, and servers that speak its dialect."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, Unpack

import attrs
from aiohttp import hdrs
from multidict import istr

from resilient_llm.errors import ModelAuthError, ModelInvalidRequestError
from resilient_llm.models import Request
from resilient_llm.wire.anthropic import (
    DEFAULT_MAX_TOKENS,
    VERSION,
    ChatStreamDecoder,
    decode_chat,
    decode_count,
    decode_page,
    encode_chat,
    encode_count,
    honours_prefill,
    is_legacy,
)

from .backend import BackendTransport
from .http import LOCAL_KEEPALIVE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resilient_llm.models import Extensions, Message, ModelInfo
    from resilient_llm.response import Response, ResponseInfo
    from resilient_llm.wire.openai_response import ChatAnswer

    from .credentials import ApiKey
    from .http import HTTPOptions
    from .selection import Kind

DEFAULT_URL: Final = "https://api.anthropic.com"
HOST: Final = "api.anthropic.com"
PAGE: Final = "1000"
MAX_PAGES: Final = 20
NO_PREFILL: Final = frozenset({"thinking", "reasoning_effort", "response_format", "output_config"})
"""Options with which the API goes on with no answer that was begun."""


class AnthropicTransport(BackendTransport):
    """Calls Anthropic's Messages API, or a server with an endpoint like it: llama.cpp, Ollama, a gateway.

    Operations: `chat` (whole and streamed), `models`, `raw`; and `count_tokens`. There are no embeddings.
    Messages and options are OpenAI's, as everywhere; Anthropic's own (`thinking`, `top_k`, `cache_control`, its
    tools, its content blocks) pass untouched. `docs/reference/backends.md` has the table.

    Args:
        model: The model of requests that name none. A server elsewhere than at Anthropic may choose one itself.
        api_key: The key, or a function (sync or async) that is asked for it before each attempt. Default:
            `ANTHROPIC_API_KEY`. Servers without keys take any.
        auth_token: A token to be sent as `Authorization: Bearer` instead of a key. Default:
            `ANTHROPIC_AUTH_TOKEN`, if there is no key either.
        base_url: The server's root; a `/v1` at its end is tolerated. Default: `ANTHROPIC_BASE_URL`, else
            `https://api.anthropic.com`.
        version: The version of the API, sent as `anthropic-version`. From `2026-10-21` on there is no sampling:
            `temperature` and its kin are left out.
        beta: Names of beta features, sent as `anthropic-beta`.
        auto_select: Choose a model from the list if none is named; at Anthropic itself one must be.

    The other options are those of `HTTPTransport`.

    Raises:
        ModelAuthError: There is neither a key nor a token.
        TypeError: Both are given: the API refuses requests with both.
    """

    label = "Anthropic"
    key_header = "x-api-key"
    key_format = "{}"
    id_header = istr("request-id")
    default_max_tokens = DEFAULT_MAX_TOKENS

    def __init__(
        self,
        *,
        model: str = "",
        api_key: ApiKey | None = None,
        auth_token: ApiKey | None = None,
        base_url: str | None = None,
        version: str = VERSION,
        beta: Sequence[str] = (),
        name: str = "anthropic",
        auto_select: bool = True,
        **options: Unpack[HTTPOptions],
    ) -> None:
        key, token = _credentials(api_key, auth_token, name)
        if token:
            self.key_header, self.key_format = hdrs.AUTHORIZATION, "Bearer {}"
        own = {"anthropic-version": version}
        if beta:
            own["anthropic-beta"] = beta if isinstance(beta, str) else ",".join(beta)
        options["headers"] = own | dict(options.get("headers") or {})
        base_url = base_url or os.environ.get("ANTHROPIC_BASE_URL") or DEFAULT_URL
        if HOST not in base_url:
            self.keepalive = LOCAL_KEEPALIVE
        super().__init__(
            base_url,
            name=name,
            model=model,
            api_key=key or token,
            auto_select=auto_select,
            **options,
        )
        self._version = version
        self._address = attrs.evolve(self._address, base=self._address.root)
        self._chat_url = self._address.join("v1/messages")
        self._count_url = self._address.join("v1/messages/count_tokens")
        self._models_url = self._address.join("v1/models")

    async def list_models(self, extensions: Extensions | None = None) -> list[ModelInfo]:
        """All models, however many pages they fill; with their windows, where the listing tells."""
        models: list[ModelInfo] = []
        url = self._models_url.update_query(limit=PAGE)
        for _ in range(MAX_PAGES):
            page, after = await self.fetch(url, decode_page, extensions=extensions)
            models += page
            if after is None:
                break
            url = url.update_query(after_id=after)
        return models

    async def count_tokens(
        self,
        prompt: str | Sequence[Message],
        *,
        model: str = "",
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> int:
        """Count with the API's own tokenizer, which is free of charge; it calls its figure an estimate.

        Raises:
            BackendFailure: The API refused, or the server has no such route (Ollama).
        """
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        request = Request(messages=messages, model=model, params={"tools": tools} if tools else {})
        body = encode_count(request if model else await self._with_model(request, "chat"))
        return await self.fetch(self._count_url, decode_count, body)

    def resumes(self, request: Request) -> bool:
        """Models before Claude 4.6 do, unless they think first or their answer must fit a schema."""
        return honours_prefill(request.model) and NO_PREFILL.isdisjoint(request.params)

    # Operations ...

    async def _embed(self, request: Request) -> Response:
        msg = f"{self.label} offers no embeddings: ask another backend for them"
        raise ModelInvalidRequestError(msg, backend=self.name, model=request.model or None)

    def _encode_chat(self, request: Request) -> bytes:
        return encode_chat(request, self._version)

    def _decode_chat(self, request: Request, body: bytes) -> ChatAnswer:
        return decode_chat(body, legacy=is_legacy(request))

    def _stream_decoder(self, request: Request, info: ResponseInfo) -> ChatStreamDecoder:
        decoder = ChatStreamDecoder(legacy=is_legacy(request))
        info.extra = decoder.extra
        return decoder

    async def _with_model(self, request: Request, kind: Kind) -> Request:
        if not self.model and self._address.base.host == HOST:
            msg = f"{self.name} needs a model's name: pass model="
            raise ModelInvalidRequestError(msg, backend=self.name)
        return await super()._with_model(request, kind)


def _credentials(key: ApiKey | None, token: ApiKey | None, name: str) -> tuple[ApiKey | None, ApiKey | None]:
    """The key or the token, whichever is given, else found in the environment; never both."""
    if key and token:
        msg = "api_key and auth_token exclude each other: give one"
        raise TypeError(msg)
    if not token:
        key = key or os.environ.get("ANTHROPIC_API_KEY", "").strip()
    if not key:
        token = token or os.environ.get("ANTHROPIC_AUTH_TOKEN", "").strip()
    if not key and not token:
        msg = "no API key: pass api_key= or set ANTHROPIC_API_KEY"
        raise ModelAuthError(msg, backend=name)
    return key, token
