"""Any server that speaks OpenAI's dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Unpack

from msgspec import json

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError
from resilient_llm.wire.openai import (
    ChatAnswer,
    ChatStreamDecoder,
    as_function,
    as_tools,
    decode_chat,
    decode_embeddings,
    decode_models,
    encode_chat,
    encode_embeddings,
    is_legacy,
)
from resilient_llm.wire.payload import int_of, load_object

from .backend import BackendTransport
from .http import LOCAL_KEEPALIVE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resilient_llm.models import Extensions, Message, ModelInfo, Request
    from resilient_llm.response import Response, ResponseInfo

    from .credentials import ApiKey
    from .http import HTTPOptions

NO_TOKENIZER: Final = 501
"""Not implemented: what a server without a tokenizer would answer if it knew the question."""


class OpenAICompatibleTransport(BackendTransport):
    """Calls a server that speaks OpenAI's dialect: vLLM, llama-cpp-python, a gateway, a hosted service.

    Operations: `chat` (whole and streamed), `embed`, `models`, and `raw` (`params` hold a `path` below the
    base URL and the `body`, or none for a GET; the result is the decoded answer); and `count_tokens` where the
    server has vLLM's route for it.

    Args:
        base_url: The address with `/v1`, as the official SDKs take it; a missing `/v1` is added if there is
            no path at all.
        model: The model of requests that name none; if empty, one is chosen from the backend's list.
        auto_select: Choose a model if none is named; False sends the request as it is.

    The other options are those of `HTTPTransport`.
    """

    label = "OpenAI-compatible"
    default_path = "/v1"
    keepalive = LOCAL_KEEPALIVE
    may_tokenize: ClassVar[bool] = True
    """Is it worth asking whether the server has a tokenizer?"""
    knows_functions: ClassVar[bool] = False
    """Does the server take `functions` and `function_call`? If not, they are said as tools."""

    def __init__(
        self,
        base_url: str,
        *,
        model: str = "",
        api_key: ApiKey | None = None,
        name: str = "openai-compatible",
        auto_select: bool = True,
        **options: Unpack[HTTPOptions],
    ) -> None:
        super().__init__(
            base_url, model=model, api_key=api_key, name=name, auto_select=auto_select, **options
        )
        self._chat_url = self._address.join("chat/completions")
        self._embeddings_url = self._address.join("embeddings")
        self._models_url = self._address.join("models")
        self._tokenize_url = self._address.join("tokenize", root=True)
        self._tokenizes = self.may_tokenize

    async def list_models(self, extensions: Extensions | None = None) -> list[ModelInfo]:
        """The models that the backend offers."""
        return await self.fetch(self._models_url, decode_models, extensions=extensions)

    async def count_tokens(
        self,
        prompt: str | Sequence[Message],
        *,
        model: str = "",
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> int:
        """Count with vLLM's own tokenizer; a conversation with the model's chat template and its tools.

        A server that turns out to have no such route is not asked again.

        Raises:
            BackendFailure: The server has no tokenizer (status 501), or failed.
        """
        if not self._tokenizes:
            raise BackendFailure(NO_TOKENIZER, {}, "")
        model = model or self.model or self._selection.known("chat")
        body: dict[str, Any] = {"model": model} if model else {}
        if isinstance(prompt, str):
            body |= {"prompt": prompt, "add_special_tokens": False}
        else:
            body |= {"messages": prompt, "add_generation_prompt": True} | ({"tools": tools} if tools else {})
        try:
            count, window = await self.fetch(self._tokenize_url, _count, json.encode(body))
        except (BackendFailure, ModelResponseInvalidError) as error:
            if isinstance(error, BackendFailure) and error.status >= 500:
                raise
            self._tokenizes = False
            raise BackendFailure(NO_TOKENIZER, {}, "") from error
        if window:
            self._windows[model] = window
        return count

    def _encode_chat(self, request: Request) -> bytes:
        return encode_chat(request if self.knows_functions else as_tools(request))

    def _decode_chat(self, request: Request, body: bytes) -> ChatAnswer:
        answer = decode_chat(body)
        return as_function(answer) if is_legacy(request) else answer

    def _stream_decoder(self, request: Request, info: ResponseInfo) -> ChatStreamDecoder:
        del info
        return ChatStreamDecoder(legacy=is_legacy(request))

    async def _embed(self, request: Request) -> Response:
        return await self._embed_at(self._embeddings_url, request, encode_embeddings, decode_embeddings)


def _count(body: bytes) -> tuple[int, int | None]:
    """The count, and the model's window, from an answer of vLLM's `/tokenize`."""
    answer = load_object(body)
    count = int_of(answer.get("count"))
    if count is None:
        msg = "the answer of /tokenize holds no count"
        raise ModelResponseInvalidError(msg)
    return count, int_of(answer.get("max_model_len"))
