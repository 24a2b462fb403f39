"""The official SDKs as the oracle: bare and wrapped clients get equal objects from a healthy server."""

from __future__ import annotations

import inspect
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anthropic
import httpx
import httpx2
import openai
import pydantic
import pytest

import resilient_llm as rl
from resilient_llm.testing import Call, FaultServer, Reply, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

MESSAGES: Any = [{"role": "user", "content": "Name three rivers."}]
PARAMETERS: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]
FLAT: Any = [{"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": False}]
BLOCKS: Any = [{"name": "weather", "input_schema": PARAMETERS}]
THINKING = Reply("The Rhine, the Elbe.", reasoning="Rivers, three of them.")
CALLING = Reply("Let me see.", calls=[Call("weather", {"city": "Bonn"}), Call("weather", {"city": "Köln"})])


class City(pydantic.BaseModel):
    city: str


def numbers_apart(value: Any) -> Any:
    """An object of an SDK as plain data, without what counts the server's answers."""
    if isinstance(value, list | tuple):
        return [numbers_apart(item) for item in value]
    if isinstance(value, dict):
        return {key: numbers_apart(item) for key, item in value.items() if not _counts(key)}
    if isinstance(value, pydantic.BaseModel):
        return type(value).__name__, numbers_apart(value.model_dump(warnings=False))
    return value


def _counts(key: str) -> bool:
    return key in {"id", "item_id", "created", "created_at", "completed_at"} or key.endswith("_id")


# What follows does the same to async and to sync clients; the server is in another thread.


async def settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


@asynccontextmanager
async def entered(manager: Any) -> AsyncIterator[Any]:
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value


async def listed(values: Any) -> list[Any]:
    return [value async for value in values] if hasattr(values, "__aiter__") else list(values)


async def items(stream: Any) -> list[Any]:
    return await listed(await settled(stream))


async def same(server: FaultServer, bare: Any, call: Any) -> None:
    """The call through the bare client, and through a wrapped one: equal requests, equal results."""
    async with entered(rl.wrap(bare)) as wrapped:
        assert type(wrapped) is type(bare)
        expected = numbers_apart(await settled(call(bare)))
        assert numbers_apart(await settled(call(wrapped))) == expected
    seen = server.requests
    half = len(seen) // 2
    assert [one.body for one in seen[:half]] == [one.body for one in seen[half:]]
    for one, two in zip(seen[:half], seen[half:], strict=True):
        assert one.headers == two.headers
    assert len(seen) % 2 == 0


def openai_client(server: FaultServer, kind: str) -> Any:
    made = openai.AsyncOpenAI if kind == "async" else openai.OpenAI
    return made(base_url=server.base_url, api_key="sk-test", max_retries=0)


def anthropic_client(server: FaultServer, kind: str) -> Any:
    made = anthropic.AsyncAnthropic if kind == "async" else anthropic.Anthropic
    return made(base_url=server.url, api_key="sk-test", max_retries=0)


async def raw(call: Any) -> Any:
    """Status, headers and object of a raw response."""
    response = await settled(call)
    headers = {
        name: value
        for name, value in response.headers.items()
        if name not in {"date", "request-id", "x-request-id"}
    }
    return response.status_code, headers, await settled(response.parse())


async def lines(manager: Any) -> Any:
    """What `with_streaming_response` reads line by line."""
    async with entered(manager) as response:
        lines = await listed(response.iter_lines())
        return response.status_code, [line for line in lines if '"id"' not in line]


async def helped(manager: Any) -> Any:
    """The events of a helper's stream, by type, and what it made of them."""
    async with entered(manager) as stream:
        events = [event.type for event in await listed(stream)]
        final = getattr(stream, "get_final_completion", None) or getattr(stream, "get_final_response", None)
        return events, await settled((final or stream.get_final_message)())


CHAT: dict[str, Any] = {
    "chat": lambda c: c.chat.completions.create(model="m", messages=MESSAGES),
    "chat, streamed": lambda c: items(
        c.chat.completions.create(
            model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
    ),
    "chat, choices": lambda c: items(
        c.chat.completions.create(model="m", messages=MESSAGES, n=2, stream=True)
    ),
    "chat, helper": lambda c: helped(c.chat.completions.stream(model="m", messages=MESSAGES)),
    "chat, raw": lambda c: raw(c.chat.completions.with_raw_response.create(model="m", messages=MESSAGES)),
    "chat, lines": lambda c: lines(
        c.chat.completions.with_streaming_response.create(model="m", messages=MESSAGES, stream=True)
    ),
    "responses": lambda c: c.responses.create(model="m", input="Name three rivers.", instructions="Terse."),
    "responses, items": lambda c: c.responses.create(model="m", input=MESSAGES),
    "responses, streamed": lambda c: items(c.responses.create(model="m", input="Hello", stream=True)),
    "responses, helper": lambda c: helped(c.responses.stream(model="m", input="Hello")),
    "responses, raw": lambda c: raw(c.responses.with_raw_response.create(model="m", input="Hello")),
    "embeddings": lambda c: c.embeddings.create(model="m", input=["a", "b"]),
    "embeddings, lists": lambda c: c.embeddings.create(model="m", input="a", encoding_format="float"),
    "models": lambda c: items(c.models.list()),
}

TOOLED: dict[str, Any] = {
    "chat": lambda c: c.chat.completions.create(model="m", messages=MESSAGES, tools=TOOLS),
    "chat, streamed": lambda c: items(
        c.chat.completions.create(model="m", messages=MESSAGES, tools=TOOLS, stream=True)
    ),
    "responses": lambda c: c.responses.create(model="m", input="Weather?", tools=FLAT),
    "responses, streamed": lambda c: items(
        c.responses.create(model="m", input="Weather?", tools=FLAT, stream=True)
    ),
}

ANTHROPIC: dict[str, Any] = {
    "messages": lambda c: c.messages.create(model="m", max_tokens=99, messages=MESSAGES, system="Terse."),
    "messages, streamed": lambda c: items(
        c.messages.create(model="m", max_tokens=99, messages=MESSAGES, stream=True)
    ),
    "messages, helper": lambda c: helped(c.messages.stream(model="m", max_tokens=99, messages=MESSAGES)),
    "messages, raw": lambda c: raw(
        c.messages.with_raw_response.create(model="m", max_tokens=99, messages=MESSAGES)
    ),
    "messages, lines": lambda c: lines(
        c.messages.with_streaming_response.create(model="m", max_tokens=99, messages=MESSAGES, stream=True)
    ),
    "messages, tools": lambda c: c.messages.create(model="m", max_tokens=99, messages=MESSAGES, tools=BLOCKS),
    "messages, tools streamed": lambda c: items(
        c.messages.create(model="m", max_tokens=99, messages=MESSAGES, tools=BLOCKS, stream=True)
    ),
    "beta": lambda c: c.beta.messages.create(model="m", max_tokens=99, messages=MESSAGES),
    "beta, helper": lambda c: helped(c.beta.messages.stream(model="m", max_tokens=99, messages=MESSAGES)),
    "count": lambda c: c.messages.count_tokens(model="m", messages=MESSAGES),
}


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with serving(reply=THINKING) as server:
        yield server


@pytest.fixture
def calling() -> Iterator[FaultServer]:
    with serving(reply=CALLING) as server:
        yield server


@pytest.mark.parametrize("call", CHAT.values(), ids=CHAT)
async def test_openai_objects_are_equal(server, call, kind):
    """Whatever is asked of OpenAI's SDK, the wrapped client answers as the bare one."""
    await same(server, openai_client(server, kind), call)


@pytest.mark.parametrize("call", TOOLED.values(), ids=TOOLED)
async def test_openai_tool_calls_are_equal(calling, call, kind):
    """So are answers with tool calls, whole and in fragments."""
    await same(calling, openai_client(calling, kind), call)


@pytest.mark.parametrize("call", ANTHROPIC.values(), ids=ANTHROPIC)
async def test_anthropic_objects_are_equal(server, call, kind):
    """Whatever is asked of Anthropic's SDK, the wrapped client answers as the bare one."""
    await same(server, anthropic_client(server, kind), call)


@pytest.mark.parametrize("name", ["messages, tools", "messages, tools streamed"])
async def test_anthropic_tool_calls_are_equal(calling, name, kind):
    """So are answers with tool calls."""
    await same(calling, anthropic_client(calling, kind), ANTHROPIC[name])


async def test_parsed_objects_are_equal(kind):
    """The helpers that parse an answer into a model of one's own give the same model."""
    with serving(reply='{"city": "Bonn"}') as server:
        await same(
            server,
            openai_client(server, kind),
            lambda c: c.chat.completions.parse(model="m", messages=MESSAGES, response_format=City),
        )
        server.begin()
        await same(
            server,
            openai_client(server, kind),
            lambda c: c.responses.parse(model="m", input="Where?", text_format=City),
        )


@pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_plain_clients_get_equal_bytes(server, module, stream, kind):
    """Clients of httpx and httpx2 get the same status, headers and bytes."""
    body = {"model": "m", "messages": MESSAGES, "stream": stream}

    async def ask(client: Any) -> Any:
        async with entered(client.stream("POST", "/chat/completions", json=body)) as response:
            content = await settled(response.aread() if kind == "async" else response.read())
            return response.status_code, len(content), response.headers.get("content-type")

    made = module.AsyncClient if kind == "async" else module.Client
    bare = made(base_url=server.base_url)
    async with entered(rl.wrap(bare)) as wrapped:
        assert await ask(bare) == await ask(wrapped)
    server.begin()
    async with entered(made(base_url=server.base_url, transport=rl.ResilientTransport())) as alone:
        assert (await ask(alone))[0] == 200
