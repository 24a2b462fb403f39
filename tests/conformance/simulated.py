"""A model that the fault server plays: it calls tools, fits schemas, keeps lengths and tells endless stories."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import attrs
from conformance.questions import CLOCK, ENDLESS, FUNCTION, RESULT
from conformance.subject import Subject, at_once

import resilient_llm as rl
from resilient_llm.testing import Answer, Call, FaultServer, Reply, Stall
from resilient_llm.testing.fault_server.asked import asked_for, newest

if TYPE_CHECKING:
    from resilient_llm.testing.fault_server.exchange import Exchange
    from resilient_llm.testing.fault_server.words import Backend as Words

MODEL: Final = "fault-model"
WINDOW: Final = 4500
CALLS: Final = (
    Call(FUNCTION["name"], {"town": "Ulm"}, id="call_1"),
    Call(FUNCTION["name"], {"town": "Århus"}, id="call_2"),
    Call(CLOCK["name"], {"town": "Ulm"}, id="call_3"),
)
Body = Mapping[str, Any]


def reply(body: Body) -> str | Reply:
    """What the model says."""
    if newest(body).startswith(RESULT):
        return "It is 4 degrees in both."
    if body.get("tools") or body.get("functions"):
        legacy = "functions" in body or len(body["tools"]) == 1
        return Reply("Let me look.", calls=CALLS[:1] if legacy else CALLS)
    if "output_config" in body or "format" in body or "response_format" in body:
        return '{"river": "Rhine", "long": true}'
    if asked_for(body) == 2:
        return Reply("The Rhine", finish_reason="length", usage=rl.Usage(9, 2, 11))
    return f"The Rhine, the Danube and the Elbe; you said: {newest(body)[:60]}"


@attrs.frozen
class Played:
    """Answers, but to a wish for a long story with its beginning."""

    answers = True

    async def play(self, exchange: Exchange, /) -> None:
        """Answer."""
        story = newest(exchange.request.body) == ENDLESS
        await exchange.play(Stall(after=2) if story else Answer())


@attrs.frozen
class Backend:
    """A backend as the fault server plays it.

    Args:
        name: What `AsyncClient` calls it.
        dialect: In whose shape its requests are.
        words: In whose words it refuses.
        lacks: The rows that it cannot pass, and why.
        options: More options of the client.
        root: Is it addressed by its root?
    """

    name: str
    dialect: str = "openai"
    words: Words = "openai"
    lacks: Mapping[str, str] = attrs.field(factory=dict)
    options: Mapping[str, Any] = attrs.field(factory=dict)

    def __str__(self) -> str:
        """The name."""
        return self.name

    def client(self, server: FaultServer, **options: Any) -> rl.AsyncClient:
        """A client of the server."""
        url = server.url if self.dialect in {"anthropic", "ollama"} else server.base_url
        return rl.AsyncClient(
            self.name, model=MODEL, base_url=url, token_budget=None, **{**self.options, **options}
        )


KEY: Final = {"api_key": "k"}
NO_CALLS: Final = "it calls no tools"
OFFLINE: Final = {
    "tools_called": NO_CALLS,
    "tools_called_in_a_stream": NO_CALLS,
    "fragments_of_calls": NO_CALLS,
    "results_sent_back": NO_CALLS,
    "functions_of_the_old_kind": NO_CALLS,
    "a_json_schema": "it knows no schemas",
    "a_prompt_too_long": "it has no window",
    "a_call_cancelled": "it answers at once",
}

BACKENDS: Final = (
    Backend("openai", options=KEY),
    Backend("openai-compatible", words="vllm"),
    Backend("lmstudio", words="lmstudio"),
    Backend("llamacpp", words="llamacpp"),
    Backend("llamafile", words="llamacpp"),
    Backend("ollama", "ollama", "ollama"),
    Backend(
        "anthropic",
        "anthropic",
        "anthropic",
        options=KEY,
        lacks={"embeddings": "Anthropic offers no embeddings"},
    ),
)


@asynccontextmanager
async def played(backend: Backend) -> AsyncIterator[Subject]:
    """The backend as a subject."""
    async with (
        FaultServer(Played(), reply=reply, model=MODEL, window=WINDOW, backend=backend.words) as server,
        backend.client(server) as llm,
    ):
        listed = f"{MODEL}:latest" if backend.dialect == "ollama" else MODEL

        async def busy() -> None:
            await _until(lambda: bool(server.requests) and server.requests[-1].ending is None)

        async def idle() -> None:
            await _until(lambda: all(seen.ending for seen in server.requests))
            assert server.requests[-1].ending == "left"

        yield Subject(llm, listed, window=WINDOW, calls=len(CALLS), busy=busy, idle=idle)


@asynccontextmanager
async def offline() -> AsyncIterator[Subject]:
    """The deterministic backend, which needs no server."""
    async with rl.AsyncClient("offline", token_budget=None) as llm:
        yield Subject(llm, "offline", busy=at_once, idle=at_once)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in the kernel
            await asyncio.sleep(0.005)
