"""Client: the blocking twin of AsyncClient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, Unpack

from .calls import Calls, Streaming
from .client import GRACE, AsyncClient
from .sync_loop import LoopThread
from .sync_response import SyncResponse, SyncStreaming, open_response

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    import aiohttp

    from .models import Completion, Embeddings, Message, ModelInfo, Observer, Request
    from .pipeline import Middleware, Transport
    from .settings import Source
    from .stages import StackOptions
    from .transports import ApiKey


class Client:
    """Calls a backend through a stack of stages, and waits: the blocking twin of `AsyncClient`.

    An `AsyncClient` on an event loop of its own, in a thread that the first call starts. May be used by many threads at
    a time, whose calls then run side by side; inside a running loop, such as a notebook's; and after a fork, where
    the child gets a thread and connections of its own. Ctrl-C ends the call that the main thread waits for. Stages,
    observers and key functions run in the client's thread, with the context variables of the caller's.

    Args:
        backend: See `AsyncClient`, as for all that is not said here.
        model: The model to ask for; empty lets the backend choose.
        base_url: Where the backend is.
        api_key: A string, or a function asked before each attempt.
        headers: Sent with each request.
        query: Added to each URL.
        connector: Not accepted: aiohttp's connectors belong to the loop on which they were made.
        session: Not accepted, for the same reason.
        transport: A transport of one's own.
        middleware: Stages of one's own, outermost first.
        defaults: Options of each chat call that does not bring its own.
        observers: Plain functions told of each call's attempts, waits and pruning.
        options: The options of `standard_stack`.

    Raises:
        LLMError: From every call; see the error codes.
        RuntimeError: From every call of a client that is closed, or from one in its own event loop.
        TypeError: A connector or a session is given; and what `AsyncClient` raises of its options.
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
        if connector is not None or session is not None:
            msg = "connector and session belong to the event loop that made them: use AsyncClient, which runs on it"
            raise TypeError(msg)
        self._client = client = AsyncClient(
            backend,
            model=model,
            base_url=base_url,
            api_key=api_key,
            headers=headers,
            query=query,
            transport=transport,
            middleware=middleware,
            defaults=defaults,
            observers=observers,
            **options,
        )
        self.transport = client.transport
        self.model = client.model
        self.pipeline = client.pipeline
        self._thread = LoopThread(client, lambda: _renew(client))

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
        return repr(self._client).replace("AsyncClient", "Client", 1)

    # Calling ...

    def complete(
        self, prompt: str | Sequence[Message], *, system: str | None = None, **options: object
    ) -> Completion:
        """Ask, and wait for the whole answer.

        Args:
            prompt: A text, or a conversation in OpenAI's shape.
            system: A system message to put first.
            options: See the class.
        """
        return self._thread.run(lambda _: self._client.complete(prompt, system=system, **options))

    def stream(
        self, prompt: str | Sequence[Message], *, system: str | None = None, **options: object
    ) -> SyncStreaming:
        """Ask, and read the answer while it is written: `with llm.stream(...) as response: for ...`."""
        return SyncStreaming(self._thread, self._client.stream(prompt, system=system, **options))

    def generate(self, prompt: str, **options: object) -> str:
        """The answer's text to a prompt."""
        return self._thread.run(lambda _: self._client.generate(prompt, **options))

    def generate_with_context(self, prompt: str, context: Sequence[Message], **options: object) -> str:
        """The answer's text to a prompt that follows a conversation."""
        return self._thread.run(lambda _: self._client.generate_with_context(prompt, context, **options))

    def embed(
        self, texts: str | Sequence[str], *, batch_size: int | None = None, **options: object
    ) -> Embeddings:
        """Vectors for one text or many; a long list goes in batches, four at once, and the first failure ends it.

        Args:
            texts: What to embed.
            batch_size: The most texts in a request. Default: OpenAI's 2048 (and 300,000 tokens), 32 elsewhere.
            options: See the class; times are for each batch, but the deadline, which is for all.
        """
        return self._thread.run(lambda _: self._client.embed(texts, batch_size=batch_size, **options))

    def models(self) -> list[ModelInfo]:
        """The models that the backend offers."""
        return self._thread.run(lambda _: self._client.models())

    def count_tokens(
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
        return self._thread.run(lambda _: self._client.count_tokens(prompt, model=model, tools=tools))

    def send(self, request: Request) -> SyncResponse:
        """Send a request through the pipeline; the caller closes the response.

        Raises:
            LLMError: What went wrong.
            RuntimeError: The client is closed.
        """
        return open_response(self._thread, Streaming(self._client.send, request))

    # Lifecycle ...

    def close(self, *, grace: float = GRACE) -> None:
        """Refuse new calls, let the running ones finish for `grace` seconds, end the rest, then close all else."""
        self._thread.close(lambda _: self._client.aclose(grace=grace))

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


def _renew(client: AsyncClient) -> None:
    """In a forked child: the calls that the parent has running are not the child's to wait for."""
    client._calls = Calls()  # noqa: SLF001 - one client in two classes
