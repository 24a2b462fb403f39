"""SDKs of the same make as openai's, known by their shape alone: on httpx, with the older loop of retries."""

from __future__ import annotations

import json
from typing import Any

import pytest

import resilient_llm as rl
from resilient_llm.testing import Answer, Call, Cut, FaultServer, Reply, Reset, Stall, Status

pytestmark = pytest.mark.frameworks
httpx = pytest.importorskip("httpx")

HELLO: Any = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
SDKS = {"groq": "AsyncGroq", "cerebras.cloud.sdk": "AsyncCerebras", "together": "AsyncTogether"}


def _at_once() -> Any:
    while True:
        yield 0.01


class Below(httpx.AsyncHTTPTransport):
    """Sends what is meant for `/openai/v1/...` to `/v1/...`, where the fault server is."""

    async def handle_async_request(self, request: Any) -> Any:
        request.url = request.url.copy_with(path=request.url.path.removeprefix("/openai"))
        return await super().handle_async_request(request)


@pytest.fixture(params=SDKS, ids=str)
def sdk(request: pytest.FixtureRequest) -> Any:
    return pytest.importorskip(request.param, reason=f"{request.param} is not installed")


def bare_client(sdk: Any, server: FaultServer) -> Any:
    more = {"warm_tcp_connection": False} if "cerebras" in sdk.__name__ else {}
    http = httpx.AsyncClient(transport=Below())
    return getattr(sdk, SDKS[sdk.__name__])(base_url=server.url, api_key="k", http_client=http, **more)


def wrapped(sdk: Any, server: FaultServer, **options: Any) -> Any:
    return rl.wrap(bare_client(sdk, server), **{"wait": _at_once, "jitter": None, **options})


async def text_of(client: Any) -> str:
    stream = await client.chat.completions.create(**HELLO, stream=True)
    chunks = [item.model_dump() async for item in stream]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])


async def test_answers_are_those_of_the_bare_client(sdk):
    """Whole and streamed answers, behind a failure that nobody sees."""
    async with FaultServer([Answer(), Answer(), Reset(), Answer(), Status.overloaded(), Answer()]) as server:
        bare = bare_client(sdk, server)
        whole, text = await bare.chat.completions.create(**HELLO), await text_of(bare)
        async with wrapped(sdk, server) as client:
            assert type(client) is type(bare)
            again = await client.chat.completions.create(**HELLO)
            assert await text_of(client) == text
        await bare.close()
    assert type(again) is type(whole)
    assert again.choices == whole.choices
    assert len(server.requests) == 6


async def test_a_limit_is_waited_for_and_a_cut_stream_goes_on(sdk):
    """As with OpenAI's own SDK: the reader of the stream notices nothing."""
    reply = "The Rhine, the Elbe, the Danube and some more."
    faults = [Status.rate_limited(0.05), Answer(), Cut(after=3), Answer()]
    async with FaultServer(faults, reply=reply) as server, wrapped(sdk, server, recovery="replay") as client:
        assert (await client.chat.completions.create(**HELLO)).choices[0].message.content == reply
        assert await text_of(client) == reply
    assert len(server.requests) == 4


async def test_calls_of_tools_arrive_after_a_failure(sdk):
    """Whole and streamed, as the SDK hands them over."""
    reply = Reply(calls=[Call("weather", {"city": "Bonn"})])
    faults = [Status(503), Answer(), Cut(after=1), Answer()]
    async with FaultServer(faults, reply=reply) as server, wrapped(sdk, server, recovery="replay") as client:
        whole = await client.chat.completions.create(**HELLO, tools=TOOLS)
        stream = await client.chat.completions.create(**HELLO, tools=TOOLS, stream=True)
        chunks = [item.model_dump() async for item in stream]
    (call,) = whole.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Bonn"})
    deltas = [chunk["choices"][0]["delta"].get("tool_calls") or () for chunk in chunks if chunk["choices"]]
    told = [call["function"] for calls in deltas for call in calls]
    assert [function["name"] for function in told if function.get("name")] == ["weather"]
    assert json.loads("".join(function.get("arguments") or "" for function in told)) == {"city": "Bonn"}
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("fault", "options", "kind"),
    [
        (Status("rate_limited"), {"max_retries": 0}, "RateLimitError"),
        (Reset(), {"max_retries": 1}, "APIConnectionError"),
        (Stall(), {"deadline": 0.2}, "APITimeoutError"),
    ],
    ids=["status", "no answer", "deadline"],
)
async def test_typed_exceptions_come_with_our_error(sdk, fault, options, kind):
    """The SDK's own exceptions, our error on them, and no product of retries when its own are on again."""
    async with FaultServer(fault) as server, wrapped(sdk, server, **options) as client:
        with pytest.raises(getattr(sdk, kind)) as caught:
            await client.with_options(max_retries=2).chat.completions.create(**HELLO)
    assert isinstance(caught.value.llm_error, rl.LLMError)
    assert len(server.requests) == options.get("max_retries", 0) + 1


async def test_another_client_of_the_sdk_answers(sdk):
    """Where the first one's backend cannot: whole and streamed, with the target's own key and model."""
    async with FaultServer(Status.failed()) as first, FaultServer() as second:
        target = rl.Target(bare_client(sdk, second).with_options(api_key="k2"), model="large")
        async with wrapped(sdk, first, fallback=[target], max_retries=0) as client:
            assert (await client.chat.completions.create(**HELLO)).choices[0].message.content
            assert await text_of(client)
    assert len(first.requests) == 2
    assert [(seen.headers["authorization"], seen.body["model"]) for seen in second.requests] == [
        ("Bearer k2", "large")
    ] * 2
