"""Ollama, in its own dialect."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final, Unpack

import attrs
from msgspec import json

from resilient_llm.errors import BackendFailure, ModelInvalidRequestError, ModelResponseInvalidError
from resilient_llm.wire.ollama import (
    ChatStreamDecoder,
    decode_chat,
    decode_embeddings,
    decode_ps,
    decode_rendered,
    decode_show,
    decode_tags,
    encode_chat,
    encode_embeddings,
    full_name,
    is_legacy,
    with_details,
    with_state,
)

from .backend import BackendTransport
from .ollama_host import ollama_url
from .selection import LISTING_FAILED

if TYPE_CHECKING:
    from resilient_llm.models import Extensions, ModelInfo, Request
    from resilient_llm.response import Response, ResponseInfo
    from resilient_llm.wire.openai_response import ChatAnswer

    from .credentials import ApiKey
    from .http import HTTPOptions

SHOWN_AT_ONCE: Final = 8


class OllamaTransport(BackendTransport):
    """Calls Ollama's server over its own routes, which know more than those below `/v1`.

    Operations: `chat` (whole and streamed), `embed`, `models`, and `raw` (`params` hold a `path` below the base URL,
    such as `api/show`, and the `body`). Without a model's name the first loaded chat model is used, else the first
    that there is.

    Options in OpenAI's shape are translated; Ollama's own (`num_ctx`, `keep_alive`, `think`, ...) are taken as they
    are. Unless a call says `truncate=True`, a prompt that is too long is refused (`ModelContextLengthError`) instead of
    being cut silently, as far as the server's version can (0.12.6 and newer).

    Args:
        base_url: The server's address in any spelling of `OLLAMA_HOST`; a `/v1` at its end does not matter.
            Default: `OLLAMA_HOST`, else `http://localhost:11434`.
        api_key: Default: `OLLAMA_API_KEY`, for Ollama's cloud; none is needed elsewhere.

    The other options are those of `OpenAICompatibleTransport`.
    """

    label = "Ollama"
    start_hint = "ollama serve"

    def __init__(
        self,
        base_url: str | None = None,
        *,
        model: str = "",
        api_key: ApiKey | None = None,
        name: str = "ollama",
        auto_select: bool = True,
        **options: Unpack[HTTPOptions],
    ) -> None:
        super().__init__(
            ollama_url(base_url or os.environ.get("OLLAMA_HOST", "")),
            model=model,
            api_key=api_key or os.environ.get("OLLAMA_API_KEY"),
            name=name,
            auto_select=auto_select,
            **options,
        )
        self._chat_url = self._address.join("api/chat")

    async def list_models(self, extensions: Extensions | None = None) -> list[ModelInfo]:
        """The models: which are loaded, with what window, and what each is for.

        The window of a loaded model is the one in use; of another the one that its Modelfile asks for, within what it
        was trained for, and else unknown: it depends on the server's memory.
        """
        gate = asyncio.Semaphore(SHOWN_AT_ONCE)

        async def described(model: ModelInfo) -> ModelInfo:
            if model.context_length is not None:
                return model
            async with gate:
                return await self._described(model, extensions)

        models = await self._with_state(extensions)
        return list(await asyncio.gather(*map(described, models)))

    async def offered(self, extensions: Extensions | None = None) -> list[ModelInfo]:
        """The models, and which are loaded with what window: two requests, however many models there are."""
        return self._noted(await self._with_state(extensions))

    async def recognised(self) -> list[ModelInfo] | None:
        """The models, if the server lists them as Ollama does."""
        try:
            return await self.offered()
        except LISTING_FAILED:
            return None

    def context_window(self, model: str) -> int | None:
        """The window of a model in tokens, if the server has told it; asks nobody."""
        return self._windows.get(full_name(model or self.model or self._selection.known("chat")))

    def resumes(self, request: Request) -> bool:
        """Yes, though not with every model's template: see `resumed`."""
        del request
        return True

    async def resumed(self, request: Request) -> Request:
        """The request with its answer begun, if the prompt that the server would make of it ends in that beginning.

        Raises:
            BackendFailure: The server refuses.
            ModelInvalidRequestError: It would begin a new answer, or cannot show its prompt.
        """
        params = {"think": False, **request.params}  # what is being said has been thought
        asked = attrs.evolve(request, messages=request.begun, params=params)
        # a version that does not know the first option answers instead: with a single token, then
        shown = {**params, "_debug_render_only": True, "max_tokens": 1}
        body = encode_chat(attrs.evolve(asked, stream=False, params=shown))
        prompt = await self.fetch(self._chat_url, decode_rendered, body, extensions=request.extensions)
        if not prompt.endswith(request.extensions.get("resume_from", "")):
            msg = "the server cannot be seen to go on with an answer that was begun"
            raise ModelInvalidRequestError(msg, backend=self.name)
        return asked

    # Operations ...

    async def _chat(self, request: Request) -> Response:
        try:
            return await super()._chat(request)
        except BackendFailure as failure:
            if failure.status == 400 and self.context_window(request.model) is None:
                await self._learn_windows(request.extensions)
            raise

    def _encode_chat(self, request: Request) -> bytes:
        return encode_chat(request)

    def _decode_chat(self, request: Request, body: bytes) -> ChatAnswer:
        return decode_chat(body, legacy=is_legacy(request))

    def _stream_decoder(self, request: Request, info: ResponseInfo) -> ChatStreamDecoder:
        del info
        return ChatStreamDecoder(legacy=is_legacy(request))

    async def _embed(self, request: Request) -> Response:
        url = self._address.join("api/embed")
        return await self._embed_at(url, request, encode_embeddings, decode_embeddings)

    # Models ...

    async def _with_state(self, extensions: Extensions | None) -> list[ModelInfo]:
        url = self._address.join("api/tags")
        models = await self.fetch(url, decode_tags, extensions=extensions)
        loaded = await self._loaded(extensions)
        return models if loaded is None else with_state(models, loaded)

    async def _loaded(self, extensions: Extensions | None) -> dict[str, int | None] | None:
        """The loaded models and their windows; None if the server is too old to tell."""
        try:
            return await self.fetch(self._address.join("api/ps"), decode_ps, extensions=extensions)
        except (BackendFailure, ModelResponseInvalidError):
            return None

    async def _described(self, model: ModelInfo, extensions: Extensions | None) -> ModelInfo:
        body: dict[str, Any] = {"model": model.id}
        try:
            url = self._address.join("api/show")
            details = await self.fetch(url, decode_show, json.encode(body), extensions=extensions)
        except LISTING_FAILED:
            return model
        return with_details(model, details)

    async def _learn_windows(self, extensions: Extensions | None) -> None:
        """Note the loaded models' windows: some versions refuse a prompt without saying what would fit."""
        try:
            loaded = await self._loaded(extensions)
        except LISTING_FAILED:
            return
        self._windows |= {model: window for model, window in (loaded or {}).items() if window}
