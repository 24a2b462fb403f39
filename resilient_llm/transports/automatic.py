"""`auto`: whichever local server answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Unpack

import attrs

from resilient_llm.clock import SYSTEM_CLOCK
from resilient_llm.errors import BackendFailure, LLMError, ModelNotFoundError, ModelUnavailableError
from resilient_llm.models import Request

from .choice import Choice, choose, server_with, size_of
from .discovery import PLACES, Nobody, Place, Server, discover
from .http import LOCAL_KEEPALIVE
from .sessions import MAX_ANSWER_BYTES, Sessions
from .shared_work import SharedWork

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resilient_llm.models import Message
    from resilient_llm.response import Response

    from .backend import BackendTransport
    from .credentials import ApiKey
    from .http import HTTPOptions
    from .selection import Kind

NOT_IMPLEMENTED: Final = 501


class AutomaticTransport:
    """Hands requests to a local model server: LM Studio, Ollama, llama.cpp, vLLM, whichever is there.

    When the first request comes, all usual addresses are asked at once, for at most half a second (`discovery`).
    Preferred is a server that has the request's model, or if it names none, one with a model of the right kind that is
    loaded and whose window holds the prompt; of equals the first in the order above. Chats and embeddings keep their
    choice. When the chosen server can no longer be reached, or has lost the chosen model, the next attempt looks
    again. What was chosen stands on the answer: `Completion.backend` and `Completion.model`.

    Args:
        model: The model of requests that name none; if empty, one is chosen.
        api_key: Sent to every address that is asked, so give one only if all of them may see it.
        auto_select: Choose a model if none is named; False sends the request as it is.
        name: The backend's name while nothing is chosen.
        places: Where to look, the preferred server first.

    The other options are those of `HTTPTransport`, for all servers.

    Raises:
        ModelUnavailableError: From each call while no server is there; it names the addresses, what was found there,
            and what to start.
    """

    def __init__(
        self,
        *,
        model: str = "",
        api_key: ApiKey | None = None,
        auto_select: bool = True,
        name: str = "auto",
        places: Sequence[Place] = PLACES,
        **options: Unpack[HTTPOptions],
    ) -> None:
        self.name = name
        self.model = model
        self._auto_select = auto_select
        self._places = tuple(places)
        self._sessions = Sessions(
            session=options.get("session"),
            connector=options.get("connector"),
            keepalive=LOCAL_KEEPALIVE,
            max_answer_bytes=options.get("max_answer_bytes", MAX_ANSWER_BYTES),
        )
        self._options: dict[str, Any] = {
            **options,
            "sessions": self._sessions,
            "model": model,
            "api_key": api_key,
            "auto_select": auto_select,
        }
        self._looking: SharedWork[list[Server | Nobody]] = SharedWork()
        self._servers: list[Server] = []
        self._chosen: dict[Kind, Choice] = {}
        self._found_once = False

    def __repr__(self) -> str:
        """What was chosen, if anything."""
        chosen = ", ".join(repr(choice.server.transport) for choice in self._chosen.values())
        return f"<AutomaticTransport {chosen or 'not looked yet'}>"

    async def __call__(self, request: Request) -> Response:
        """Send the request to the server of choice; its errors carry that server's name."""
        choice = await self._choose(request)
        asked = attrs.evolve(request, model=choice.model) if choice.model else request
        goes_on = self._goes_on(request, choice)
        if not goes_on:
            asked = _from_the_start(asked)
        try:
            response = await choice.server.transport(asked)
        except Exception as exc:
            error = self._judge(exc, choice, asked)
            if error is exc:
                raise
            raise error from exc
        if not goes_on:
            response.info.resumes = False
        if response.outcome is None:
            response.on_error(lambda exc: self._judge(exc, choice, asked))
        response.target = response.target or choice
        return response

    async def count_tokens(
        self,
        prompt: str | Sequence[Message],
        *,
        model: str = "",
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> int:
        """Count with the chosen server's tokenizer.

        Raises:
            BackendFailure: It has none.
        """
        messages = () if isinstance(prompt, str) else prompt
        choice = await self._choose(Request(messages=messages, model=model))
        count = getattr(choice.server.transport, "count_tokens", None)
        if count is None:
            raise BackendFailure(NOT_IMPLEMENTED, {}, "")
        tokens: int = await count(prompt, model=model or choice.model, tools=tools)
        return tokens

    def context_window(self, model: str) -> int | None:
        """The window of a model in tokens, if its server has told it; asks nobody."""
        named = model or self.model
        if named and self._servers:
            return server_with(named, self._servers).transport.context_window(named)
        choice = self._chosen.get("chat")
        return choice.server.transport.context_window(choice.model) if choice and not named else None

    async def aclose(self) -> None:
        """Close the connections to all of them."""
        await self._sessions.aclose()

    # Choosing ...

    async def _choose(self, request: Request) -> Choice:
        kind: Kind = "embedding" if request.operation == "embed" else "chat"
        named = request.model or self.model
        if not named and kind in self._chosen:
            return self._chosen[kind]
        servers = self._servers or await self._look()
        if named:
            return Choice(server_with(named, servers))
        choice = choose(servers, kind, size_of(request))
        self._chosen[kind] = choice if self._auto_select else Choice(choice.server)
        return self._chosen[kind]

    async def _look(self) -> list[Server]:
        """The servers that are there; callers at the same time look together."""
        findings = await self._looking.join(lambda: discover(self._places, self._make))
        servers = [finding for finding in findings if isinstance(finding, Server)]
        if not servers:
            raise self._nobody([finding for finding in findings if isinstance(finding, Nobody)])
        self._servers, self._found_once = servers, True
        return servers

    def _make(self, kind: type[BackendTransport], name: str, url: str | None) -> BackendTransport:
        options = {**self._options, "name": name}
        if url is not None:
            options["base_url"] = url
        return kind(**options)

    def _goes_on(self, request: Request, choice: Choice) -> bool:
        """May an answer that was begun be continued? Only by the server and the model that began it."""
        extensions = request.extensions
        return "resume_from" not in extensions or choice.is_like(extensions.get("target"))

    # Failing ...

    def _judge(self, exc: Exception, choice: Choice, request: Request) -> LLMError:
        """The error in the chosen server's name; what shows that the choice holds no longer ends it."""
        from resilient_llm.policy.classify_exception import (  # noqa: PLC0415 - healthy calls never need it
            classify_exception,
        )

        backend = choice.server.transport.name
        error = classify_exception(exc, backend, model=request.model or None, now=SYSTEM_CLOCK.time())
        error.backend = error.backend or backend
        unreachable = isinstance(error, ModelUnavailableError) and error.status is None
        if unreachable or (isinstance(error, ModelNotFoundError) and choice.model):
            self._forget(choice)
        return error

    def _forget(self, choice: Choice) -> None:
        """Look again next time, unless somebody has done so already."""
        if any(server is choice.server for server in self._servers):
            self._servers = []
        self._chosen = {
            kind: other for kind, other in self._chosen.items() if other.server is not choice.server
        }

    def _nobody(self, findings: Sequence[Nobody]) -> ModelUnavailableError:
        tried = ", ".join(finding.told for finding in findings)
        hints = dict.fromkeys(finding.usual.start_hint for finding in findings if finding.usual.start_hint)
        start = f"start one ({'; '.join(hints)}), or " if hints else ""
        msg = f"no local model server answers; tried {tried}; {start}name another backend (setting llm_provider)"
        # one that was there may come back; else nobody has started one yet
        return ModelUnavailableError(msg, backend=self.name, retryable=self._found_once, backend_fault=False)


def _from_the_start(request: Request) -> Request:
    extensions = request.extensions.copy()
    extensions.pop("resume_from")
    return attrs.evolve(request, extensions=extensions)
