"""llama.cpp's server, and llamafile, which holds one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Unpack

import attrs
from aiohttp import hdrs
from msgspec import json

from resilient_llm.errors import BackendFailure, ModelInvalidRequestError, ModelResponseInvalidError
from resilient_llm.wire.payload import int_of, load_object, object_of, text_of

from .openai_compatible import OpenAICompatibleTransport
from .selection import LISTING_FAILED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resilient_llm.models import Extensions, Message, ModelInfo, Request
    from resilient_llm.response import Response

    from .credentials import ApiKey
    from .http import HTTPOptions

DEFAULT_URL = "http://127.0.0.1:8080"
SERVERS: Final = ("llama.cpp", "llamafile")
"""How the servers call themselves in the `Server` header."""


class LlamaCppTransport(OpenAICompatibleTransport):
    """Calls a llama.cpp server (`llama-server`) or a llamafile.

    Operations: `chat` (whole and streamed), `embed`, `models`, `raw`; and `count_tokens` and `health`.

    Args:
        base_url: The server's address, with or without `/v1`. Newer builds listen on port 9931.

    The other options are those of `OpenAICompatibleTransport`.
    """

    label = "llama.cpp"
    start_hint = "llama-server -m model.gguf"
    usual_name: ClassVar[str] = "llamacpp"
    """The backend's name where the caller gives none."""

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        model: str = "",
        api_key: ApiKey | None = None,
        name: str | None = None,
        auto_select: bool = True,
        **options: Unpack[HTTPOptions],
    ) -> None:
        super().__init__(
            base_url,
            model=model,
            api_key=api_key,
            name=name or self.usual_name,
            auto_select=auto_select,
            **options,
        )
        self._props_url = self._address.join("props", root=True)
        self._only_model = ""
        self._template_url = self._address.join("apply-template", root=True)

    async def list_models(self, extensions: Extensions | None = None) -> list[ModelInfo]:
        """The models; of those that are loaded with the window in use, where the server tells."""
        models = await super().list_models(extensions)
        if len(models) == 1:
            return [
                await self._with_window(
                    attrs.evolve(models[0], loaded=models[0].loaded is not False), "", extensions
                )
            ]
        return [await self._with_window(model, model.id, extensions) for model in models]

    async def recognised(self) -> list[ModelInfo] | None:
        """The models, if the server has llama.cpp's properties, carries its name, or is loading as it does."""
        try:
            if "default_generation_settings" not in await self.fetch(self._props_url, load_object):
                return None
        except BackendFailure as failure:
            loading = failure.status == 503 and "loading model" in str(failure.body).lower()
            if not loading and not failure.headers.get("server", "").lower().startswith(SERVERS):
                return None
        except LISTING_FAILED:
            return None
        try:
            return await self._listed(None)
        except LISTING_FAILED:
            return []

    def context_window(self, model: str) -> int | None:
        """The window as a listing told it; of a server with a single model, whatever that is called."""
        return super().context_window(self._only_model or model)

    async def count_tokens(
        self,
        prompt: str | Sequence[Message],
        *,
        model: str = "",
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> int:
        """Count with the server's own tokenizer; a conversation with the model's own chat template.

        Images are not counted.

        Raises:
            BackendFailure: The server has no such route (llamafile has no template route).
        """
        model = model or self.model or self._selection.known("chat")
        whose = {"model": model} if model else {}  # several models behind one server
        if isinstance(prompt, str):
            return await self._tokens(prompt, whose, special=False)
        body: dict[str, Any] = {"messages": prompt, **whose} | ({"tools": tools} if tools else {})
        text = await self.fetch(self._template_url, _prompt, json.encode(body))
        return await self._tokens(text, whose, special=True)

    async def health(self) -> bool:
        """Is the server up with its model loaded? False while it loads.

        Raises:
            ModelUnavailableError: Nothing listens at the address.
            BackendFailure: The server is broken.
        """
        try:
            await self.fetch(self._address.join("health", root=True), bytes)
        except BackendFailure as failure:
            if failure.status == 503:
                return False
            if failure.status != 404:  # a llamafile of the newer kind has no such route
                raise
        return True

    def resumes(self, request: Request) -> bool:
        """Yes, though not in every version, nor with every option and template: see `resumed`."""
        del request
        return True

    async def resumed(self, request: Request) -> Request:
        """The request with its answer begun, if the server's own template shows that it will go on with it.

        Old servers begin a new answer instead, and so do those started with `--no-prefill-assistant`, unless they are
        new enough to understand vLLM's words for it. Thinking models refuse. No version number tells all that.

        Raises:
            BackendFailure: The server refuses.
            ModelInvalidRequestError: It would begin a new answer, or has no route to ask (llamafile).
        """
        body = dict(request.extensions.get("body") or {})
        body |= {"continue_final_message": True, "add_generation_prompt": False}
        extensions = request.extensions.copy()
        extensions["body"] = body
        asked = attrs.evolve(request, messages=request.begun, extensions=extensions)
        try:
            prompt = await self.fetch(
                self._template_url, _prompt, self._encode_chat(asked), extensions=extensions
            )
        except BackendFailure as failure:
            if failure.status != 404:
                raise
            prompt = ""
        if not prompt.endswith(request.extensions.get("resume_from", "")):
            msg = "the server cannot be seen to go on with an answer that was begun"
            raise ModelInvalidRequestError(msg, backend=self.name)
        return asked

    async def _chat(self, request: Request) -> Response:
        """Send the request, a streamed one on a connection that is not used again.

        The server closes a connection after each stream, and announces it only if asked to: otherwise the next
        call would be written to a socket that is being closed, and fail.
        """
        if request.stream:
            extensions = request.extensions.copy()
            extensions["headers"] = {hdrs.CONNECTION: "close", **(extensions.get("headers") or {})}
            request = attrs.evolve(request, extensions=extensions)
        return await super()._chat(request)

    async def _with_window(self, model: ModelInfo, name: str, extensions: Extensions | None) -> ModelInfo:
        """The model, with its window if it is loaded and the server tells; a router is asked by the model's name."""
        if model.context_length or not model.loaded:
            return model
        url = self._props_url.update_query(model=name) if name else self._props_url
        try:
            props = await self.fetch(url, load_object, extensions=extensions)
        except (BackendFailure, ModelResponseInvalidError):
            return model
        window = int_of(object_of(props.get("default_generation_settings")).get("n_ctx")) or None
        return attrs.evolve(model, context_length=window)

    def _noted(self, models: list[ModelInfo]) -> list[ModelInfo]:
        self._only_model = models[0].id if len(models) == 1 else ""
        return super()._noted(models)

    async def _tokens(self, text: str, whose: Mapping[str, str], *, special: bool) -> int:
        body = {"content": text, "prompt": text, "add_special": special, "parse_special": special, **whose}
        # "prompt" is what the newer llamafile calls "content"
        return await self.fetch(self._address.join("tokenize", root=True), _count, json.encode(body))


class LlamafileTransport(LlamaCppTransport):
    """Calls a llamafile; what differs from llama.cpp's own server is its name."""

    label = "llamafile"
    start_hint = "./model.llamafile --server"
    usual_name = "llamafile"


def _prompt(body: bytes) -> str:
    prompt = text_of(load_object(body).get("prompt"))
    if prompt is None:
        msg = "the answer of /apply-template holds no prompt"
        raise ModelResponseInvalidError(msg)
    return prompt


def _count(body: bytes) -> int:
    tokens = load_object(body).get("tokens")
    if not isinstance(tokens, list):
        msg = "the answer of /tokenize holds no tokens"
        raise ModelResponseInvalidError(msg)
    return len(tokens)
