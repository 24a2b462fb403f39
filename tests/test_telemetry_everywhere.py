"""Telemetry where calls come from and go to: real sockets, wrapped clients, functions, threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import anthropic
import httpx
import openai
import pytest
from middleware.recorder import Recorder

import resilient_llm as rl
from resilient_llm.testing import Answer, FaultServer, ScriptedTransport, Status, serving

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_llm.testing import SeenRequest

ASK = [{"role": "user", "content": "Hello"}]


def quick(recorder: Recorder) -> list[rl.Middleware]:
    return [recorder.stage, rl.Retry(wait=nearly_at_once, jitter=None), rl.ErrorClassifier()]


def nearly_at_once():
    while True:
        yield 0.01


def ids_of(requests: Sequence[SeenRequest]) -> list[str]:
    return [request.headers["traceparent"].split("-")[2] for request in requests]


def check(recorder: Recorder, server: FaultServer, count: int = 2) -> None:
    """Each request carried the id of its attempt, and the spans say where it went."""
    attempts = recorder.attempts()
    assert ids_of(server.requests) == [f"{span.context.span_id:016x}" for span in attempts]
    assert len(attempts) == count
    for span in recorder.spans:
        assert span.attributes["server.address"] == "127.0.0.1"
        assert span.attributes["server.port"] > 1024
    assert recorder.call.attributes["gen_ai.usage.output_tokens"] > 0


@pytest.mark.parametrize("backend", ["openai", "anthropic", "ollama", "lmstudio", "llamacpp"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_every_backend_is_sent_the_attempts_ids(backend: str, stream: bool) -> None:
    """Whatever the dialect; a model that is looked up first is part of the attempt."""
    recorder = Recorder(rl.SYSTEM_CLOCK)
    async with FaultServer([Status(503), Answer()]) as server:
        url = server.url if backend in {"anthropic", "ollama"} else server.base_url
        stack = quick(recorder)
        async with rl.AsyncClient(backend, base_url=url, api_key="k", middleware=stack, model="m") as llm:
            if stream:
                async with llm.stream(ASK) as response:
                    await response.completion()
            else:
                await llm.complete(ASK)
    check(recorder, server)
    assert recorder.call.attributes["gen_ai.provider.name"] == backend
    assert backend == "ollama" or recorder.call.attributes["gen_ai.response.id"]
    start, end = recorder.call.start_time, recorder.call.end_time
    assert all(start <= span.start_time <= span.end_time <= end for span in recorder.attempts())


async def test_headers_of_ones_own_win() -> None:
    """Whoever sets `traceparent` for a call means it."""
    recorder = Recorder(rl.SYSTEM_CLOCK)
    async with (
        FaultServer([Answer()]) as server,
        rl.AsyncClient("openai", base_url=server.base_url, api_key="k", telemetry=recorder.stage) as llm,
    ):
        await llm.complete(ASK, model="m", extra_headers={"traceparent": "mine"})
    assert server.requests[0].headers["traceparent"] == "mine"


async def test_nothing_is_added_without_it() -> None:
    """A client without telemetry sends no trace ids."""
    async with (
        FaultServer([Answer()]) as server,
        rl.AsyncClient("openai", base_url=server.base_url, api_key="k") as llm,
    ):
        await llm.complete(ASK, model="m")
    assert "traceparent" not in server.requests[0].headers


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_wrapped_openai_client_is_told_of_too(stream: bool) -> None:
    """Its requests carry the ids, and its calls are spans like any other."""
    recorder = Recorder(rl.SYSTEM_CLOCK)
    async with FaultServer([Status(503), Answer()]) as server:
        client = rl.wrap(
            openai.AsyncOpenAI(api_key="k", base_url=server.base_url), middleware=quick(recorder)
        )
        async with client:
            options = {"stream_options": {"include_usage": True}} if stream else {}
            done = await client.chat.completions.create(model="m", messages=ASK, stream=stream, **options)
            if stream:
                async for _ in done:
                    pass
    check(recorder, server)
    assert recorder.call.name == "chat m"


async def test_headers_that_a_wrapped_clients_user_sets_win() -> None:
    """In every attempt."""
    recorder = Recorder(rl.SYSTEM_CLOCK)
    async with FaultServer([Status(503), Answer()]) as server:
        bare = openai.AsyncOpenAI(api_key="k", base_url=server.base_url)
        async with rl.wrap(bare, middleware=quick(recorder)) as client:
            mine = {"Traceparent": "mine"}
            await client.chat.completions.create(model="m", messages=ASK, extra_headers=mine)
    assert [request.headers["traceparent"] for request in server.requests] == ["mine", "mine"]


async def test_a_wrapped_anthropic_client_is_told_of_too() -> None:
    """By the option of the standard stack."""
    recorder = Recorder(rl.SYSTEM_CLOCK)
    async with FaultServer([Status(529), Answer()]) as server:
        bare = anthropic.AsyncAnthropic(api_key="k", base_url=server.url)
        async with rl.wrap(bare, telemetry=recorder.stage, wait=nearly_at_once, jitter=None) as client:
            await client.messages.create(model="m", messages=ASK, max_tokens=10)
    check(recorder, server)


async def test_a_wrapped_httpx_client_on_a_transport_of_its_own() -> None:
    """The headers reach what its user put there, too."""
    seen = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["traceparent"].split("-")[2])
        return httpx.Response(503 if len(seen) < 2 else 200, json={})

    recorder = Recorder(rl.SYSTEM_CLOCK)
    bare = httpx.AsyncClient(transport=httpx.MockTransport(handle))
    async with rl.wrap(bare, middleware=quick(recorder)) as client:
        await client.get("http://models.example/v1/models")
    assert seen == [f"{span.context.span_id:016x}" for span in recorder.attempts()]
    assert len(seen) == 2


async def test_a_wrapped_aiohttp_session_is_told_of_too() -> None:
    """Of each request that it sends."""
    recorder = Recorder(rl.SYSTEM_CLOCK)
    async with FaultServer([Status(503), Answer()]) as server, aiohttp.ClientSession() as bare:
        session = rl.wrap(bare, middleware=quick(recorder))
        body = {"model": "m", "messages": ASK}
        async with session.post(f"{server.base_url}/chat/completions", json=body) as response:
            await response.json()
    check(recorder, server)


def test_a_wrapped_blocking_client_is_told_of_too() -> None:
    """Its calls are children of their caller's span."""
    recorder = Recorder(rl.SYSTEM_CLOCK)
    tracer = recorder.tracers.get_tracer("application")
    with serving(Status(503), Answer()) as server:
        client = rl.wrap(openai.OpenAI(api_key="k", base_url=server.base_url), middleware=quick(recorder))
        with client, tracer.start_as_current_span("application") as span:
            client.chat.completions.create(model="m", messages=ASK)
        assert ids_of(server.requests) == [
            f"{each.context.span_id:016x}" for each in recorder.spans if each.name == "attempt"
        ]
    call = next(each for each in recorder.spans if each.name == "chat m")
    assert call.parent.span_id == span.get_span_context().span_id


async def test_functions_are_told_of_too() -> None:
    """Each call of a decorated function is a span, and what it calls belongs to its attempt."""
    recorder = Recorder(rl.SYSTEM_CLOCK)
    tracer = recorder.tracers.get_tracer("application")
    calls = []

    @rl.resilient(middleware=quick(recorder), model="m")
    async def ask(messages: list[dict[str, str]]) -> str:
        with tracer.start_as_current_span("inside"):
            calls.append(1)
            if len(calls) < 2:
                raise ConnectionResetError
            return "ok"

    assert await ask(ASK) == "ok"
    first, second = (span for span in recorder.spans if span.name == "attempt")
    inside = [span.parent.span_id for span in recorder.spans if span.name == "inside"]
    assert inside == [first.context.span_id, second.context.span_id]
    call = next(span for span in recorder.spans if span.name == "chat m")
    assert call.attributes["gen_ai.provider.name"] == "ask"


def test_the_blocking_client_is_a_child_of_its_callers_span() -> None:
    """Context crosses into the client's thread."""
    recorder = Recorder(rl.SYSTEM_CLOCK)
    tracer = recorder.tracers.get_tracer("application")
    with (
        rl.Client(transport=ScriptedTransport("ok"), telemetry=recorder.stage) as llm,
        tracer.start_as_current_span("application") as span,
    ):
        llm.generate("Hello")
    call = next(span for span in recorder.spans if span.name == "chat")
    assert call.parent.span_id == span.get_span_context().span_id
