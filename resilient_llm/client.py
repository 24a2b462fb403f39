"""AsyncClient: the pipeline behind the calls that people make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, Unpack, cast

import attrs

from .calls import Calls, Streaming
from .clock import SYSTEM_CLOCK, Clock
from .composition import role_of
from .embedding import embed, limits_of
from .errors import ModelInvalidRequestError
from .models import Completion, Embeddings, Message, ModelInfo, Observer, Request
from .options import build_request, conversation
from .pipeline import Middleware, Pipeline, Transport, name_of
from .presets import create_transport, standard_stack
from .stages import told_by
from .token_counts import count_tokens

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence
    from types import TracebackType

    import aiohttp

    from .response import Response
    from .settings import Source
    from .stages import StackOptions
    from .transports import ApiKey

GRACE = 5.0


class AsyncClient:
    """Calls a backend through a stack of stages.

    Args:
        backend: A name: `"auto"` (whichever local server answers), `"lmstudio"`, `"ollama"`, `"llamacpp"`,
            `"llamafile"`, `"openai"`, `"anthropic"`, `"openai-compatible"` (which needs a `base_url`) or `"offline"`.
        model: The model to ask for; empty lets the backend choose.
        base_url: Where the backend is, as its own users write it; default: where it usually is.
        api_key: A string, or a function (sync or async) asked before each attempt; default: the environment's.
        headers: Sent with each request.
        query: Added to each URL.
        connector: An aiohttp connector to use.
        session: An aiohttp session to use; it is not closed.
        transport: A transport of one's own, instead of `backend` and the options above.
        middleware: Stages of one's own, outermost first; default: `standard_stack(**options)`.
        defaults: Options of each chat call (see below) that does not bring its own; a call's None leaves one out.
        observers: Plain functions told of each call's attempts, waits and pruning (see `Notice`).
        options: The options of `standard_stack`: `deadline`, `max_retries`, `fallback`, ...; see `StackOptions`.

    Each call takes `system`, `model`, `deadline`, `max_retries`, `initial_backoff`, `first_token_timeout`,
    `idle_timeout`, `attempt_timeout`, `recovery`, `cache`, `tool_deltas`, `extra_headers`, `extra_query`, `extra_body`
    (times in seconds). All other keywords (`temperature`, `max_tokens`, `top_p`, `stop`, `seed`, `tools`,
    `tool_choice`, `functions`, `function_call`, `response_format`, ...) go into the body untouched.

    Raises:
        LLMError: From every call, see the error codes; and here for an unknown backend or wrong `defaults`.
    """

    def __init__(
        self,
        backend: str | None = None,
        *,
        model: str = "",
        base_url: str | None = None,
        api_key: ApiKey | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        connector: aiohttp.BaseConnector | None = None,
        session: aiohttp.ClientSession | None = None,
        transport: Transport | None = None,
        middleware: Sequence[Middleware] | None = None,
        defaults: Mapping[str, object] | None = None,
        observers: Sequence[Observer] = (),
        **options: Unpack[StackOptions],
    ) -> None:
        connection = {
            "base_url": base_url,
            "api_key": api_key,
            "headers": headers,
            "query": query,
            "connector": connector,
            "session": session,
        }
        transport = _transport(transport, backend, model, connection)
        self.transport = transport
        self.model = model or ""
        self.pipeline = Pipeline(_stack(middleware, transport, options), transport)
        self._recovers = any(role_of(stage) == "recovery" for stage in self.pipeline.middleware)
        self._clock: Clock = options.get("clock", SYSTEM_CLOCK)
        self._defaults = dict(defaults or {})
        self._observers = tuple(observers)
        self._calls = Calls()
        self._request("", None, stream=False, options={})  # wrong defaults are refused now

    @classmethod
    def from_settings(cls, source: Source | None = None, **overrides: object) -> Self:
        """A client as arguments, environment and TOML files say, or a configuration of one's own.

        Args:
            source: A mapping, or a function of a key, instead of environment and files; see `load_settings`.
            overrides: Settings (`llm_model`) and options of the client (`deadline`), which win.
        """
        from .settings import client_options  # noqa: PLC0415 - only who has settings needs it

        return cls(**client_options(source, overrides))

    def __repr__(self) -> str:
        """The backend and the model; never the key."""
        return f"<AsyncClient {name_of(self.transport)} model={self.model!r}>"

    # Calling ...

    async def complete(
        self, prompt: str | Sequence[Message], *, system: str | None = None, **options: object
    ) -> Completion:
        """Ask, and wait for the whole answer.

        Args:
            prompt: A text, or a conversation in OpenAI's shape.
            system: A system message to put first.
            options: See the class.
        """
        response = await self.send(self._request(prompt, system, stream=False, options=options))
        return await response.completion()

    def stream(
        self, prompt: str | Sequence[Message], *, system: str | None = None, **options: object
    ) -> Streaming:
        """Ask, and read the answer while it is written: `async with llm.stream(...) as response: async for ...`."""
        return Streaming(self.send, self._request(prompt, system, stream=True, options=options))

    async def generate(self, prompt: str, **options: object) -> str:
        """The answer's text to a prompt."""
        return (await self.complete(prompt, **options)).text  # type: ignore[arg-type] # `system` may be among them

    async def generate_with_context(self, prompt: str, context: Sequence[Message], **options: object) -> str:
        """The answer's text to a prompt that follows a conversation."""
        messages = [*context, {"role": "user", "content": prompt}]
        return (await self.complete(messages, **options)).text  # type: ignore[arg-type]

    async def embed(
        self, texts: str | Sequence[str], *, batch_size: int | None = None, **options: object
    ) -> Embeddings:
        """Vectors for one text or many; a long list goes in batches, four at once, and the first failure ends it.

        Args:
            texts: What to embed.
            batch_size: The most texts in a request. Default: OpenAI's 2048 (and 300,000 tokens), 32 elsewhere.
            options: See the class; times are for each batch, but the deadline, which is for all.
        """
        request = build_request((), False, options, model=self.model, clock=self._clock)
        return await embed(self.send, request, texts, limits_of(self.transport, batch_size))

    async def models(self) -> list[ModelInfo]:
        """The models that the backend offers."""
        return cast("list[ModelInfo]", await (await self.send(Request("models"))).result())

    async def count_tokens(
        self,
        prompt: str | Sequence[Message],
        *,
        model: str | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> int:
        """The tokens of a text or a conversation: by the backend's own tokenizer, else the best local one.

        Raises:
            LLMError: The backend has a tokenizer, but did not answer; it is asked once.
        """
        return await count_tokens(self.transport, prompt, asked=model, usual=self.model, tools=tools)

    def send(self, request: Request) -> Coroutine[Any, Any, Response]:
        """Send a request through the pipeline; the caller closes the response.

        Raises:
            LLMError: What went wrong.
            RuntimeError: The client is closed.
        """
        if self._observers:
            request = attrs.evolve(request, observers=(*request.observers, *self._observers))
        return self._calls.run(self.pipeline, request)

    def _request(
        self,
        prompt: str | Sequence[Message],
        system: str | None,
        *,
        stream: bool,
        options: Mapping[str, object],
    ) -> Request:
        if self._defaults:
            options = {**self._defaults, **({} if system is None else {"system": system}), **options}
            system = cast("str | None", options.pop("system", None))
        messages = conversation(prompt, system)
        request = build_request(messages, stream, options, model=self.model, clock=self._clock)
        if not self._recovers and request.extensions.get("recovery", "raise") != "raise":
            msg = f"no stage recovers streams for recovery={options['recovery']!r}: add a StreamRecovery"
            raise ModelInvalidRequestError(msg)
        return request

    # Lifecycle ...

    async def aclose(self, *, grace: float = GRACE) -> None:
        """Refuse new calls, let the running ones finish for `grace` seconds, end the rest, then close all else."""
        try:
            await self._calls.drain(grace)
        finally:
            await self.pipeline.aclose()

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close it."""
        await self.aclose()


def _transport(
    transport: Transport | None, backend: str | None, model: str, connection: Mapping[str, object]
) -> Transport:
    if transport is None:
        if backend is None:
            msg = 'name a backend (AsyncClient("lmstudio")) or give a transport'
            raise TypeError(msg)
        return create_transport(backend, model=model or None, **connection)
    if backend is not None or any(value is not None for value in connection.values()):
        msg = f"a transport brings its own backend, {', '.join(connection)}: give it or them, not both"
        raise TypeError(msg)
    return transport


def _stack(
    middleware: Sequence[Middleware] | None, transport: Transport, options: StackOptions
) -> Sequence[Middleware]:
    if options.get("recovery") == "replay":
        msg = "recovery='replay' is for clients that `wrap` wraps; here 'restart' and 'resume' do more"
        raise ValueError(msg)
    if middleware is None:
        return standard_stack(backend=name_of(transport), **(told_by(transport) | options))
    if options:
        msg = f"{min(options)} is an option of the standard stack: set it on the stages in `middleware`"
        raise TypeError(msg)
    return middleware
