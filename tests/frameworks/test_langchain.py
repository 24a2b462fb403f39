"""LangChain's chat models over wrapped clients."""

from __future__ import annotations

import asyncio
import gc
from functools import cached_property
from typing import Any

import pytest
from frameworks.cases import BONN, QUESTION, RIVERS, Weather, kept, needed, wrapped

import resilient_llm as rl
from resilient_llm.testing import Answer, Cut, FaultServer, Status, serving

langchain_openai = needed("langchain_openai")
langchain_anthropic = needed("langchain_anthropic")
core_exceptions = needed("langchain_core.exceptions")
openai = needed("openai")
anthropic = needed("anthropic")

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("default")]


def chat_openai(server: FaultServer, **options: Any) -> Any:
    client = wrapped(openai.OpenAI, server, **options)
    aclient = wrapped(openai.AsyncOpenAI, server, **options)
    return langchain_openai.ChatOpenAI(
        model="m",
        client=client.chat.completions,
        root_client=client,
        async_client=aclient.chat.completions,
        root_async_client=aclient,
    )


def chat_anthropic(server: FaultServer, **options: Any) -> Any:
    class ResilientChatAnthropic(langchain_anthropic.ChatAnthropic):
        @cached_property
        def _client(self) -> Any:
            return kept(super()._client, **options)

        @cached_property
        def _async_client(self) -> Any:
            return kept(super()._async_client, **options)

    return ResilientChatAnthropic(model="m", max_tokens=99, base_url=server.url, api_key="k")


MODELS = pytest.mark.parametrize("model_of", [chat_openai, chat_anthropic])


@MODELS
async def test_a_limit_is_waited_for(model_of):
    """A 429 is nobody's business but ours."""
    async with FaultServer([Status.rate_limited(0.05), Answer()], reply=RIVERS) as server:
        answer = await model_of(server).ainvoke(QUESTION)
        assert (answer.text, len(server.requests)) == (RIVERS, 2)


@MODELS
def test_a_limit_is_waited_for_by_a_thread(model_of):
    """The same for `invoke`."""
    with serving(Status.rate_limited(0.05), Answer(), reply=RIVERS) as server:
        answer = model_of(server).invoke(QUESTION)
        assert (answer.text, len(server.requests)) == (RIVERS, 2)


@MODELS
async def test_a_stream_that_is_cut_goes_on(model_of):
    """`astream` brings the text once, though its first answer breaks in its midst."""
    async with FaultServer([Cut(after=3), Answer()], reply=RIVERS) as server:
        chunks = [chunk async for chunk in model_of(server, recovery="replay").astream(QUESTION)]
        assert "".join(chunk.text for chunk in chunks) == RIVERS
        assert len(server.requests) == 2


@MODELS
def test_a_stream_that_is_cut_goes_on_in_a_thread(model_of):
    """The same for `stream`."""
    with serving(Cut(after=3), Answer(), reply=RIVERS) as server:
        chunks = list(model_of(server, recovery="replay").stream(QUESTION))
        assert "".join(chunk.text for chunk in chunks) == RIVERS
        assert len(server.requests) == 2


@MODELS
async def test_tools_and_structures_arrive_after_a_failure(model_of):
    """A tool call comes whole, streamed too, and so does what is made of it."""
    faults = [Status(503), Answer(), Cut(after=1), Answer(), Status(503), Answer()]
    async with FaultServer(faults, reply=BONN) as server:
        model = model_of(server, recovery="replay")
        bound = model.bind_tools([Weather])
        assert (await bound.ainvoke("Bonn?")).tool_calls[0]["args"] == {"city": "Bonn"}
        streamed = [chunk async for chunk in bound.astream("Bonn?")]
        whole = streamed[0]
        for chunk in streamed[1:]:
            whole += chunk
        assert [(call["name"], call["args"]) for call in whole.tool_calls] == [("Weather", {"city": "Bonn"})]
        structured = model.with_structured_output(Weather, method="function_calling")
        assert await structured.ainvoke("Bonn?") == Weather(city="Bonn")
        assert len(server.requests) == 6


async def test_a_schema_is_parsed_by_the_wrapped_client():
    """The way by `parse` of OpenAI's SDK, which is `with_structured_output`'s own choice."""
    async with FaultServer([Status(503), Answer()], reply='{"city": "Bonn"}') as server:
        structured = chat_openai(server).with_structured_output(Weather, method="json_schema")
        assert await structured.ainvoke("Bonn?") == Weather(city="Bonn")
        assert len(server.requests) == 2


@MODELS
@pytest.mark.parametrize(
    ("fault", "kind", "code", "requests"),
    [
        (Status(401), "ModelAuthenticationError", "MODEL_AUTH", 1),
        (Status.rate_limited(0.05), "ModelRateLimitError", "MODEL_RATE_LIMITED", 3),
        (Status("overloaded"), "ModelAPIError", "MODEL_OVERLOADED", 3),
    ],
)
async def test_errors_are_the_frameworks(model_of, fault, kind, code, requests):
    """LangChain's own exception, ours below it, and no retries but ours."""
    async with FaultServer(fault) as server:
        with pytest.raises(getattr(core_exceptions, kind)) as caught:
            await model_of(server, max_retries=2).ainvoke(QUESTION)
        assert len(server.requests) == requests
    assert caught.value.__cause__.llm_error.code == code
    error = rl.classify_exception(caught.value)
    assert (error.code, error.attempts) == (code, requests)


@MODELS
async def test_a_stream_that_stays_broken_is_a_connection_error(model_of):
    """What came before the break is the reader's; then comes LangChain's own exception."""
    async with FaultServer(Cut(after=3), reply=RIVERS) as server:
        said: list[str] = []

        async def read() -> None:
            async for chunk in model_of(server).astream(QUESTION):
                said.append(chunk.text)  # noqa: PERF401 - what came before the break counts

        with pytest.raises(core_exceptions.ModelConnectionError) as caught:
            await read()
        assert rl.classify_exception(caught.value).partial.text == "".join(said)
        assert len(server.requests) == 1


async def test_an_http_client_alone_will_do():
    """Wrapped clients of httpx2 as `http_client=` and `http_async_client=`: errors say less, the rest is the same."""
    httpx = needed("langchain_openai._compat").httpx
    async with FaultServer([Status.rate_limited(0.05), Answer(), Status(503)], reply=RIVERS) as server:
        model = langchain_openai.ChatOpenAI(
            model="m",
            api_key="k",
            base_url=server.base_url,
            max_retries=0,
            http_client=kept(httpx.Client()),
            http_async_client=kept(httpx.AsyncClient(), max_retries=1),
        )
        assert (await model.ainvoke(QUESTION)).text == RIVERS
        with pytest.raises(core_exceptions.ModelAPIError) as caught:
            await model.ainvoke(QUESTION)
        assert rl.classify_exception(caught.value).attempts == 2
        assert len(server.requests) == 4


@pytest.mark.parametrize("name", ["_client", "_async_client"])
async def test_connections_that_models_share_stay_open(name):
    """LangChain has one HTTP client for all models of an address: dropping a wrapped one takes it from nobody."""
    model = langchain_anthropic.ChatAnthropic(model="m", api_key="k")
    client = getattr(model, name)
    wrapped_client = rl.wrap(client)
    del wrapped_client
    gc.collect()
    await asyncio.sleep(0.01)
    assert not client.is_closed()
