"""A backend that needs no network: a model in this process, or none at all."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from resilient_llm.commit import commit, whole
from resilient_llm.errors import BackendFailure, LLMError, ModelInvalidRequestError
from resilient_llm.events import Finish, Result
from resilient_llm.models import ModelInfo
from resilient_llm.response import Response, ResponseInfo
from resilient_llm.wire.openai_request import check_chat

from .engine import ModelFile
from .in_process import Call, shared
from .offline_words import WordByWord, chat_by_hash, digest, embed_by_hash, texts_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resilient_llm.events import Event
    from resilient_llm.models import Message, Request

    from .engine import Emit, Engine
    from .in_process import SharedModel

MODEL: Final = "offline"
NOT_IMPLEMENTED: Final = 501


class OfflineTransport:
    """Answers without a network: with a model that runs in this process, or with text made from the prompt by hashing.

    Operations: `chat` (whole and streamed), `embed` (vectors of unit length), `models`; and `count_tokens`.

    With a model it is loaded at the first call, by a thread, once for all transports with the same options, and freed
    when the last of them has been closed. Its calls are made one after the other, first come, first served; one that
    is cancelled or closed stops at the next token. Without a model the same prompt gets the same answer in every
    process; a word counts as a token.

    Args:
        model: The name that answers carry. A path (it has a separator, or ends with `.gguf`) stands for `model_path`.
        model_path: A GGUF file (extra `gguf`) or a directory in Hugging Face's layout (extra `hf`). Nothing is
            downloaded. Default: no model.
        context_length: The window in tokens. Default: 8192 for a GGUF file, else the model's own.
        threads: How many threads compute a GGUF model. Default: half of the cores.
        name: The backend's name in results, errors and logs.
        options: Options of other backends (`base_url`, `api_key`, ...); accepted and ignored, so that going
            offline takes a single change.
    """

    def __init__(
        self,
        *,
        model: str = MODEL,
        model_path: str | os.PathLike[str] | None = None,
        context_length: int | None = None,
        threads: int | None = None,
        name: str = "offline",
        **options: object,
    ) -> None:
        del options
        if not model_path and _is_path(model):
            model, model_path = "", model
        path = Path(model_path).expanduser() if model_path else None
        self._file = ModelFile(path.absolute(), context_length, threads) if path else None
        self._shared: SharedModel | None = None
        self.name = name
        if path and model in {"", MODEL}:
            model = path.stem if path.suffix == ".gguf" else path.name
        self.model = model or MODEL

    def __repr__(self) -> str:
        """The name."""
        return f"<OfflineTransport {self.name}>"

    async def __call__(self, request: Request) -> Response:
        """Answer the request.

        Raises:
            ModelInvalidRequestError: There are no messages, more than one choice is asked for, or this is `raw`.
            ModelNotFoundError: There is no model at `model_path`, or its extra is not installed.
            ModelContextLengthError: The prompt does not fit the model's window.
            BackendFailure: llama.cpp refused.
        """
        if request.operation == "raw":
            msg = "the offline backend has no routes for raw requests"
            raise ModelInvalidRequestError(msg, backend=self.name)
        if request.operation == "models":
            return whole([Result([self._listed()]), Finish("stop")], self._info(), request)
        try:
            if request.operation == "chat":
                check_chat(request.messages, request.params.get("n"))
            if self._file is None:
                return await self._by_hash(request)
            return await commit(self._call(self._file, request), request)
        except LLMError as error:
            raise self._named(error) from error.__cause__

    async def count_tokens(
        self,
        prompt: str | Sequence[Message],
        *,
        model: str = "",
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> int:
        """Count with the model's own tokenizer; a conversation with its own chat template. Loads the model.

        Raises:
            BackendFailure: There is no model, so no tokenizer.
            ModelNotFoundError: The model cannot be loaded.
        """
        del model
        if self._file is None:
            raise BackendFailure(NOT_IMPLEMENTED, {}, "")
        try:
            return await asyncio.to_thread(self._loads(self._file).count, prompt, tools)
        except LLMError as error:
            raise self._named(error) from error.__cause__

    def context_window(self, model: str) -> int | None:
        """The model's window in tokens, once it is loaded."""
        del model
        return self._shared.window if self._shared else None

    async def aclose(self) -> None:
        """Let go of the model; calls under way end as they would."""
        self._shared = None

    def _loads(self, file: ModelFile) -> SharedModel:
        if self._shared is None:
            self._shared = shared(file)
        return self._shared

    def _info(self) -> ResponseInfo:
        return ResponseInfo(backend=self.name, model=self.model)

    def _call(self, file: ModelFile, request: Request) -> Call:
        info = self._info()
        if request.operation == "embed":
            texts = texts_of(request)
            return Call(self._loads(file), lambda engine, emit: engine.embed(texts, emit), info)
        info.resumes = request.stream
        asked = attrs.evolve(request, model="")

        def chat(engine: Engine, emit: Emit) -> None:
            engine.chat(asked, emit)

        return Call(self._loads(file), chat, info)

    async def _by_hash(self, request: Request) -> Response:
        info = self._info()
        info.request_id, info.resumes = f"offline-{digest(request)[:16]}", True
        if request.operation == "embed":
            return whole(embed_by_hash(request, self.model), info, request)
        events: list[Event] = chat_by_hash(request)
        if request.stream:
            return await commit(WordByWord(events, info), request)
        return whole(events, info, request)

    def _listed(self) -> ModelInfo:
        """The one model.

        Raises:
            ModelNotFoundError: It is not there.
        """
        if self._file is None:
            return ModelInfo(self.model, owned_by="resilient_llm", loaded=True, kind="chat")
        try:
            self._file.check()
        except LLMError as error:
            raise self._named(error) from error.__cause__
        window = self.context_window("")
        return ModelInfo(self.model, context_length=window, loaded=window is not None, kind="chat")

    def _named(self, error: LLMError) -> LLMError:
        """The error, with what an engine does not know: the names of backend and model."""
        error.backend = error.backend or self.name
        error.model = error.model or self.model
        return error


def _is_path(model: str) -> bool:
    return model.endswith(".gguf") or "/" in model or os.sep in model
