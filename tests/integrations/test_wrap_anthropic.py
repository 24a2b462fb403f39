"""`rl.wrap` around `anthropic.AsyncAnthropic`: typed exceptions, one loop of retries, pruning, what is signed."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx2
import pytest

import resilient_llm as rl
from resilient_llm.testing import Answer, Cut, ErrorEvent, FaultServer, Reset, Stall, Status

HELLO: Any = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
RESULT: Any = {"type": "tool_result", "tool_use_id": "t1", "content": "sunny " * 20}
USE: Any = {"type": "tool_use", "id": "t1", "name": "weather", "input": {}}


def _at_once() -> Any:
    while True:
        yield 0.01


def wrapped(server: FaultServer, *, http_client: Any = None, **options: Any) -> anthropic.AsyncAnthropic:
    client = anthropic.AsyncAnthropic(base_url=server.url, api_key="sk-test", http_client=http_client)
    return rl.wrap(client, **{"wait": _at_once, "jitter": None, **options})


async def streamed(client: anthropic.AsyncAnthropic) -> str:
    async with client.messages.stream(**HELLO) as stream:
        return "".join([text async for text in stream.text_stream])


@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [
        (Status("rate_limited"), anthropic.RateLimitError, 429),
        (Status("overloaded"), anthropic.OverloadedError, 529),
        (Status(401), anthropic.AuthenticationError, 401),
    ],
)
async def test_typed_exceptions_come_with_our_error(fault, kind, status):
    """The SDK's own exception for the backend's own answer, our error on it, and only our retries."""
    async with FaultServer(fault) as server, wrapped(server, max_retries=1) as client:
        with pytest.raises(kind) as caught:
            await client.messages.create(**HELLO)
        assert caught.value.status_code == status
        assert caught.value.llm_error.attempts == len(server.requests)
        assert len(server.requests) == (1 if status == 401 else 2)


@pytest.mark.parametrize("fault", [Status("overloaded"), Reset()], ids=["status", "no answer"])
async def test_the_sdks_own_retries_make_no_product(fault, monkeypatch):
    """A copy whose SDK retries were switched on again makes as many calls as before."""
    monkeypatch.setattr(anthropic.AsyncAnthropic, "_calculate_retry_timeout", lambda *_: 0.001)
    async with FaultServer(fault) as server, wrapped(server, max_retries=2, breaker=None) as client:
        for _ in range(2):
            server.begin()
            with pytest.raises(anthropic.APIError) as caught:
                await client.with_options(max_retries=2).messages.create(**HELLO)
            assert caught.value.llm_error.attempts == len(server.requests) == 3


async def test_an_error_before_content_is_retried():
    """An error event after `message_start` is nobody's business but ours."""
    async with FaultServer([ErrorEvent(after=0), Answer()], reply="One two") as server:
        async with wrapped(server) as client:
            assert await streamed(client) == "One two"
        assert len(server.requests) == 2


async def test_an_overload_in_a_stream_is_the_sdks_overload():
    """An error inside a 200 that stays is raised with the status that Anthropic has for it."""
    async with FaultServer(ErrorEvent(reason="overloaded", after=0)) as server:
        async with wrapped(server, max_retries=0) as client:
            with pytest.raises(anthropic.OverloadedError) as caught:
                await streamed(client)
        assert caught.value.llm_error.code == rl.ErrorCode.MODEL_OVERLOADED


async def test_a_break_after_content_is_the_sdks_connection_error():
    """A stream that is cut after its first words raises the SDK's connection error, with what had come on ours."""
    async with FaultServer(Cut(after=2), reply="One two three") as server, wrapped(server) as client:
        with pytest.raises(anthropic.APIConnectionError) as caught:
            await streamed(client)
    assert caught.value.llm_error.partial.text == "One two"


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [({"context_window": 10}, 400, "TOKEN_BUDGET_EXCEEDED"), ({"breaker": "open"}, 503, "CIRCUIT_OPEN")],
)
async def test_local_rejections_are_in_the_dialect(options, status, code):
    """What is rejected here reads like an answer of Anthropic's, and nothing was sent."""
    breaker = rl.CircuitBreaker()
    breaker.isolate()
    if "breaker" in options:
        options = {"breaker": breaker}
    async with FaultServer() as server, wrapped(server, **options) as client:
        with pytest.raises(anthropic.APIStatusError) as caught:
            await client.messages.create(**{**HELLO, "messages": [{"role": "user", "content": "word " * 50}]})
        assert (caught.value.status_code, caught.value.llm_error.code) == (status, code)
        assert caught.value.body["type"] == "error"
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert server.requests == []


async def test_a_deadline_is_the_sdks_timeout():
    """A deadline that passes is `APITimeoutError`."""
    async with FaultServer(Stall()) as server, wrapped(server, deadline=0.2) as client:
        with pytest.raises(anthropic.APITimeoutError) as caught:
            await client.messages.create(**HELLO)
    assert caught.value.llm_error.code == rl.ErrorCode.DEADLINE_EXCEEDED


async def test_whole_turns_are_pruned_and_the_rest_stays_as_it_was():
    """A turn goes with its tool's use and result; what is kept is what the caller wrote, block by block."""
    cached = {"type": "text", "text": "Thanks. " * 3, "cache_control": {"type": "ephemeral"}}
    messages: Any = [
        {"role": "user", "content": "Weather? " * 20},
        {"role": "assistant", "content": [USE]},
        {"role": "user", "content": [RESULT, cached]},
        {"role": "assistant", "content": "You are welcome."},
        {"role": "user", "content": [{"type": "text", "text": "Bye"}]},
    ]
    async with FaultServer() as server, wrapped(server, context_window=100) as client:
        await client.messages.create(model="m", max_tokens=9, system="Terse.", messages=messages)
    body = server.requests[0].body
    assert body["system"] == "Terse."
    assert body["messages"] == [{"role": "user", "content": [cached]}, *messages[3:]]


async def test_what_is_signed_is_never_edited():
    """A body under a SigV4 signature goes out byte for byte, though it is too long, and is retried all the same."""

    async def sign(request: httpx2.Request) -> None:
        request.headers["authorization"] = "AWS4-HMAC-SHA256 Credential=..., Signature=..."

    long = {**HELLO, "messages": [*[{"role": "user", "content": "word " * 99}] * 3, *HELLO["messages"]]}
    http = httpx2.AsyncClient(event_hooks={"request": [sign]})
    server = FaultServer([Status("overloaded"), Answer()])
    async with server, wrapped(server, http_client=http, context_window=50) as client:
        await client.messages.create(**long)
    assert [seen.body["messages"] for seen in server.requests] == [long["messages"]] * 2


async def test_a_batch_is_not_sent_twice():
    """What has an effect is not repeated once it was sent; the refusal is classified all the same."""
    sent = []

    async def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.url.path)
        return httpx2.Response(
            529, json={"type": "error", "error": {"type": "overloaded_error", "message": "x"}}
        )

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    bare = anthropic.AsyncAnthropic(api_key="sk-test", http_client=http)
    bare._idempotency_header = None
    async with rl.wrap(bare, wait=_at_once) as client:
        with pytest.raises(anthropic.OverloadedError) as caught:
            await client.messages.batches.create(requests=[])
    assert sent == ["/v1/messages/batches"]
    assert caught.value.llm_error.code == rl.ErrorCode.MODEL_OVERLOADED
