"""`rl.resilient` around real clients, whose exceptions come from a real server's answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import anthropic
import httpx
import httpx2
import openai
import pytest
import requests

import resilient_llm as rl
from resilient_llm.testing import Answer, Cut, Fault, Garbage, Reset, Status, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

MESSAGES: Any = [{"role": "user", "content": "Hello"}]
CHAT = {"model": "fault-model", "messages": MESSAGES}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """LiteLLM fetches a table of prices when it is imported, unless told not to."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")


def soon() -> Iterator[float]:
    while True:
        yield 0.01


def guard(function: Any, **options: Any) -> Any:
    return rl.resilient(wait=soon, jitter=None, **options)(function)


async def by_openai(url: str) -> Any:
    async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as client:
        return (await client.chat.completions.create(**CHAT)).choices[0].message.content


async def by_anthropic(url: str) -> Any:
    root = url.removesuffix("/v1")
    async with anthropic.AsyncAnthropic(base_url=root, api_key="k", max_retries=0) as client:
        return (await client.messages.create(**CHAT, max_tokens=20)).content[0].text


async def by_httpx(url: str) -> Any:
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{url}/chat/completions", json=CHAT)
        return answer.raise_for_status().json()["choices"][0]["message"]["content"]


async def by_httpx2(url: str) -> Any:
    async with httpx2.AsyncClient() as client:
        answer = await client.post(f"{url}/chat/completions", json=CHAT)
        return answer.raise_for_status().json()["choices"][0]["message"]["content"]


async def by_aiohttp(url: str) -> Any:
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        session.post(f"{url}/chat/completions", json=CHAT) as answer,
    ):
        return (await answer.json())["choices"][0]["message"]["content"]


def blocking_openai(url: str) -> Any:
    with openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client:
        return client.chat.completions.create(**CHAT).choices[0].message.content


def blocking_anthropic(url: str) -> Any:
    with anthropic.Anthropic(base_url=url.removesuffix("/v1"), api_key="k", max_retries=0) as client:
        return client.messages.create(**CHAT, max_tokens=20).content[0].text


def blocking_requests(url: str) -> Any:
    answer = requests.post(f"{url}/chat/completions", json=CHAT, timeout=10)
    answer.raise_for_status()
    return answer.json()["choices"][0]["message"]["content"]


def by_litellm(url: str) -> Any:
    litellm = pytest.importorskip("litellm", reason="LiteLLM is not installed")
    answer = litellm.completion(
        "openai/fault-model", messages=MESSAGES, api_base=url, api_key="k", max_retries=0
    )
    return answer.choices[0].message.content


ASYNC = [by_openai, by_anthropic, by_httpx, by_httpx2, by_aiohttp]
BLOCKING = [blocking_openai, blocking_anthropic, blocking_requests, by_litellm]
CALLS: list[Callable[..., Any]] = [*ASYNC, *BLOCKING]

FAILURES: dict[str, tuple[Fault, type[rl.LLMError], int | None]] = {
    "rate limit": (Status.rate_limited(0.2), rl.ModelRateLimitedError, 429),
    "busy": (Status(503), rl.ModelOverloadedError, 503),
    "reset": (Reset(), rl.ModelUnavailableError, None),
}


async def result_of(function: Callable[..., Any], url: str, **options: Any) -> Any:
    answer = guard(function, **options)(url)
    return await answer if function in ASYNC else answer


@pytest.mark.parametrize("call", CALLS)
async def test_a_clients_failures_are_retried(call: Callable[..., Any]) -> None:
    """A refusal with its delay, a busy server, a broken connection: and then the answer."""
    with serving(*(fault for fault, _, _ in FAILURES.values()), Answer(), reply="Hello") as server:
        assert await result_of(call, server.base_url) == "Hello"
    times = [seen.at for seen in server.requests]
    assert len(times) == 4
    assert times[1] - times[0] >= 0.2


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_clients_failures_are_typed(call: Callable[..., Any], failure: str) -> None:
    """Whatever the client calls them; its own exception is the cause, and the server's delay is known."""
    fault, kind, status = FAILURES[failure]
    with serving(fault) as server, pytest.raises(kind) as caught:
        await result_of(call, server.base_url, max_retries=0)
    error = caught.value
    assert isinstance(error.__cause__, Exception)
    assert not isinstance(error.__cause__, rl.LLMError)
    assert error.backend == call.__name__
    assert error.retry_after == (0.2 if failure == "rate limit" else None)
    assert error.status == status or call is by_litellm


@pytest.mark.parametrize("call", [by_openai, by_httpx, blocking_openai, blocking_requests])
async def test_an_overlong_prompt_is_told_with_its_numbers(call: Callable[..., Any]) -> None:
    """The window that the backend names is on the error."""
    with serving(window=1) as server, pytest.raises(rl.ModelContextLengthError) as caught:
        await result_of(call, server.base_url)
    assert caught.value.context_limit == 1
    assert len(server.requests) == 1


@pytest.mark.parametrize("call", [by_openai, by_anthropic, by_httpx, by_aiohttp])
async def test_a_connection_that_is_refused_is_typed(call: Callable[..., Any]) -> None:
    """Nobody listens."""
    with serving() as server:
        url = server.base_url
    with pytest.raises(rl.ModelUnavailableError) as caught:
        await result_of(call, url, max_retries=0)
    assert caught.value.backend_fault


async def test_an_sdks_own_method_can_be_decorated() -> None:
    """`create` of the async client is awaited, although the SDK hides that it is async."""
    with serving(Status(503), Answer(), reply="Hello") as server:
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as client:
            create = guard(client.chat.completions.create)
            assert (await create(**CHAT)).choices[0].message.content == "Hello"


async def test_an_sdks_stream_breaks_as_ours_does() -> None:
    """Retried before the first piece, typed after it; the SDK's stream is closed with the generator."""

    async def ask(url: str) -> AsyncIterator[str]:
        async with (
            openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as client,
            await client.chat.completions.create(**CHAT, stream=True) as stream,
        ):
            async for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    yield chunk.choices[0].delta.content

    with serving(Status(503), Answer(), reply="one two three four") as server:
        assert "".join([piece async for piece in guard(ask)(server.base_url)]) == "one two three four"
    with serving(Reset(), Cut(after=2), reply="one two three four") as server:
        items = guard(ask)(server.base_url)
        assert await anext(items)
        with pytest.raises((rl.ModelResponseInvalidError, rl.ModelUnavailableError)) as caught:
            [piece async for piece in items]
    assert len(server.requests) == 2
    assert caught.value.__cause__ is not None


def test_an_answer_that_is_no_json_is_retried() -> None:
    """A complaint by requests of a body is the backend's fault, a program's `json.loads` is not."""
    with serving(Garbage(), Answer(), reply="Hello") as server:
        assert guard(blocking_requests)(server.base_url) == "Hello"
