"""A GGUF file run by llama.cpp inside this process, through xllamacpp.

xllamacpp embeds llama.cpp's server: chats, embeddings and their cancellation go by plain function calls. The server
cannot be had without its listener, which is bound to the loopback address with a random port and a random key;
the tokenizer is asked through it.

The interpreter's lock is held by xllamacpp while it loads, whatever thread that is: the file is read beforehand, so
that loading finds it in memory.
"""

from __future__ import annotations

import importlib
import os
import secrets
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import attrs
from msgspec import json

from resilient_llm.errors import BackendFailure, ModelInvalidRequestError, ModelUnavailableError
from resilient_llm.events import Finish, Result, UsageEvent
from resilient_llm.models import Embeddings, Usage
from resilient_llm.wire.openai import ChatStreamDecoder, as_tools, decode_embeddings, encode_chat, is_legacy
from resilient_llm.wire.payload import int_of, load_object, object_of, text_of

from .engine import not_installed, unusable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resilient_llm.models import Message, Request

    from .engine import Emit, ModelFile

WINDOW: Final = 8192
"""The window without `context_length`: its memory is taken when the model is loaded."""

BATCH: Final = 512
"""How many tokens of a prompt are evaluated at once: between batches a call can be stopped."""

CHUNK: Final = 1 << 22
SECONDS: Final = 60.0


class GGUFEngine:
    """llama.cpp with one slot.

    Args:
        file: What to load.

    Raises:
        ModelNotFoundError: xllamacpp is not installed, or does not load the file.
    """

    def __init__(self, file: ModelFile) -> None:
        try:
            xllamacpp: Any = importlib.import_module("xllamacpp")
        except ImportError as exc:
            raise not_installed(file.path, "xllamacpp", "gguf") from exc
        self._key = secrets.token_urlsafe()
        with file.path.open("rb", buffering=0) as content:
            while content.read(CHUNK):
                pass
        try:
            self._server = xllamacpp.Server(self._params(xllamacpp, file))
        except (RuntimeError, ValueError) as exc:
            step = "Check that the file is whole and not newer than xllamacpp (pip install -U xllamacpp)"
            raise unusable(file.path, "llama.cpp does not load it", step) from exc
        parts = urlsplit(self._server.listening_address)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port
        settings = object_of(self._ask("/props").get("default_generation_settings"))
        self.window = int_of(settings.get("n_ctx")) or WINDOW

    def chat(self, request: Request, emit: Emit) -> None:
        """Answer; what comes is read as a server's stream would be."""
        decoder = ChatStreamDecoder(legacy=is_legacy(request))

        def take(chunk: bytes) -> bool:
            return emit(decoder.feed(b"data: " + chunk + b"\n\n"))

        body = self._body(request)
        try:
            self._server.handle_chat_completions(body, take)
        except (ValueError, RuntimeError) as exc:
            msg = f"llama.cpp refuses the request: {exc}"
            raise ModelInvalidRequestError(msg) from exc
        if decoder.failure is None:
            emit(decoder.feed(b"data: [DONE]\n\n"))
        if decoder.failure is not None:
            raise decoder.failure

    def embed(self, texts: Sequence[str], emit: Emit) -> None:
        """One text after the other, so that a call can be stopped in between; an empty one as a space."""
        vectors, tokens, model = [], 0, ""
        for text in texts:
            one = decode_embeddings(self._server.handle_embeddings(json.encode({"input": [text or " "]})))
            vectors += one.vectors
            tokens += one.usage.prompt_tokens or 0
            if emit(()):
                return
        usage = Usage(prompt_tokens=tokens, total_tokens=tokens)
        emit([Result(Embeddings(vectors, model, usage)), UsageEvent(usage), Finish("stop")])

    def count(self, prompt: str | Sequence[Message], tools: Sequence[Mapping[str, Any]] | None) -> int:
        """By llama.cpp's own tokenizer and the file's own template."""
        if isinstance(prompt, str):
            body: dict[str, Any] = {"content": prompt, "add_special": False, "parse_special": False}
            tokens = self._ask("/tokenize", body).get("tokens")
            return len(tokens) if isinstance(tokens, list) else 0
        body = {"messages": prompt} | ({"tools": tools} if tools else {})
        return int_of(self._ask("/v1/chat/completions/input_tokens", body).get("input_tokens")) or 0

    def _body(self, request: Request) -> bytes:
        """The request as llama.cpp takes it, always streamed; one with a beginning only if it is gone on with.

        A seed asks for the same answer again, which a prompt that was partly evaluated before would not give.
        """
        extensions = request.extensions.copy()
        body = dict(extensions.get("body") or {})
        body["return_progress"] = True  # a piece after each batch of the prompt: a chance to stop
        if "seed" in request.params:
            body.setdefault("cache_prompt", False)
        text = extensions.get("resume_from")
        if text:
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        extensions["body"] = body
        asked = attrs.evolve(request, messages=request.begun, extensions=extensions, stream=True)
        written = encode_chat(as_tools(asked))  # llama.cpp would drop functions without a word
        if text and not (text_of(self._ask("/apply-template", written).get("prompt")) or "").endswith(text):
            msg = "the model's template does not go on with an answer that was begun"
            raise ModelInvalidRequestError(msg)
        return written

    def _params(self, xllamacpp: Any, file: ModelFile) -> Any:
        params = xllamacpp.CommonParams()
        params.model.path = str(file.path)
        params.model_alias = {file.path.stem}
        params.n_ctx = file.context_length or WINDOW
        params.n_parallel = 1
        params.n_batch = params.n_ubatch = BATCH
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        params.fit_params = params.warmup = params.ui = False  # each would prolong the loading
        params.verbosity = -1
        params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [self._key]
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = file.threads or _half_the_cores()
        return params

    def _ask(self, path: str, body: object = None) -> dict[str, Any]:
        """What the listener answers.

        Raises:
            BackendFailure: It refuses.
            ModelUnavailableError: It does not answer.
        """
        connection = HTTPConnection(self._host, self._port, timeout=SECONDS)
        data = body if isinstance(body, bytes) else None if body is None else json.encode(body)
        try:
            method = "GET" if data is None else "POST"
            connection.request(method, path, data, {"Authorization": f"Bearer {self._key}"})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, HTTPException) as exc:
            msg = f"llama.cpp's listener does not answer: {exc}"
            raise ModelUnavailableError(msg) from exc
        finally:
            connection.close()
        if answer.status != 200:
            raise BackendFailure(answer.status, {}, content)
        return load_object(content)


def _half_the_cores() -> int:
    """Of those that this process may use; llama.cpp's threads wait in loops, and starve when others need a core."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, cores // 2)
