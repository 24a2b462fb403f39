"""LiteLLM over wrapped clients."""

from __future__ import annotations

import os
from typing import Any

import pytest
from frameworks.cases import BONN, QUESTION, RIVERS, Weather, kept, needed, wrapped

import resilient_llm as rl
from resilient_llm.testing import Answer, Cut, FaultServer, Status, serving

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it fetches a table of prices
httpx = needed("httpx")
litellm = needed("litellm")
AsyncHTTPHandler = needed("litellm.llms.custom_httpx.http_handler").AsyncHTTPHandler
openai = needed("openai")

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("default")]

ASKED: Any = {"model": "openai/m", "messages": [{"role": "user", "content": QUESTION}]}
TOOLS: Any = [
    {"type": "function", "function": {"name": "Weather", "parameters": Weather.model_json_schema()}}
]


async def test_a_limit_is_waited_for():
    """A 429 is nobody's business but ours."""
    async with FaultServer([Status.rate_limited(0.05), Answer()], reply=RIVERS) as server:
        answer = await litellm.acompletion(**ASKED, client=wrapped(openai.AsyncOpenAI, server))
        assert (answer.choices[0].message.content, len(server.requests)) == (RIVERS, 2)


def test_a_thread_is_served_alike():
    """`completion`: a limit, then a stream that is cut."""
    with serving(Status.rate_limited(0.05), Answer(), Cut(after=3), Answer(), reply=RIVERS) as server:
        client = wrapped(openai.OpenAI, server, recovery="replay")
        assert litellm.completion(**ASKED, client=client).choices[0].message.content == RIVERS
        assert text_of(litellm.completion(**ASKED, client=client, stream=True)) == RIVERS
        assert len(server.requests) == 4


async def test_a_stream_that_is_cut_goes_on():
    """A streamed answer brings the text once, though its first attempt breaks in its midst."""
    async with FaultServer([Cut(after=3), Answer()], reply=RIVERS) as server:
        client = wrapped(openai.AsyncOpenAI, server, recovery="replay")
        stream = await litellm.acompletion(**ASKED, client=client, stream=True)
        assert text_of([chunk async for chunk in stream]) == RIVERS
        assert len(server.requests) == 2


async def test_tool_calls_arrive_after_a_failure():
    """A tool call comes whole, streamed too."""
    async with FaultServer([Status(503), Answer(), Cut(after=1), Answer()], reply=BONN) as server:
        client = wrapped(openai.AsyncOpenAI, server, recovery="replay")
        whole = await litellm.acompletion(**ASKED, client=client, tools=TOOLS)
        stream = await litellm.acompletion(**ASKED, client=client, tools=TOOLS, stream=True)
        built = litellm.stream_chunk_builder([chunk async for chunk in stream])
        for answer in (whole, built):
            (call,) = answer.choices[0].message.tool_calls
            assert Weather.model_validate_json(call.function.arguments) == Weather(city="Bonn")
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("fault", "kind", "code", "requests"),
    [
        (Status(401), "AuthenticationError", "MODEL_AUTH", 1),
        (Status.rate_limited(0.05), "RateLimitError", "MODEL_RATE_LIMITED", 3),
        (Status("overloaded"), "ServiceUnavailableError", "MODEL_OVERLOADED", 3),
    ],
)
async def test_errors_are_the_frameworks(fault, kind, code, requests):
    """LiteLLM's own exception, and no retries but ours, though it sets its default on the client it was given."""
    async with FaultServer(fault) as server:
        client = wrapped(openai.AsyncOpenAI, server, max_retries=2)
        with pytest.raises(getattr(litellm, kind)) as caught:
            await litellm.acompletion(**ASKED, client=client)
        assert len(server.requests) == requests
    assert rl.classify_exception(caught.value).code == code


async def test_a_client_that_is_switched_to_retries_makes_no_product():
    """`max_retries` is LiteLLM's word to the SDK: what was given up stays given up."""
    async with FaultServer(Status.rate_limited(0.05)) as server:
        client = wrapped(openai.AsyncOpenAI, server, max_retries=1)
        with pytest.raises(litellm.RateLimitError):
            await litellm.acompletion(**ASKED, client=client, max_retries=3)
        assert len(server.requests) == 2


async def test_a_session_for_all_calls_is_wrapped_alike(monkeypatch):
    """`litellm.aclient_session` takes a wrapped client of httpx."""
    async with FaultServer([Status.rate_limited(0.05), Answer()], reply=RIVERS) as server:
        monkeypatch.setattr(litellm, "aclient_session", kept(httpx.AsyncClient()))
        answer = await litellm.acompletion(**ASKED, api_base=server.base_url, api_key="k", max_retries=0)
        assert (answer.choices[0].message.content, len(server.requests)) == (RIVERS, 2)


async def test_other_providers_go_through_a_handler():
    """Anthropic's API: LiteLLM's own handler of HTTP, with a wrapped client in it."""
    faults = [Status("overloaded"), Answer(), Cut(after=3), Answer()]
    async with FaultServer(faults, reply=RIVERS) as server:
        handler = AsyncHTTPHandler()
        handler.client = kept(handler.client, recovery="replay")
        asked = {**ASKED, "model": "anthropic/m", "api_base": server.url, "api_key": "k", "client": handler}
        answer = await litellm.acompletion(**asked)
        assert answer.choices[0].message.content == RIVERS
        stream = await litellm.acompletion(**asked, stream=True)
        assert text_of([chunk async for chunk in stream]) == RIVERS
        assert len(server.requests) == 4


def text_of(chunks: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
