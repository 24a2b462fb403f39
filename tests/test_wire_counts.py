"""How many requests reach each backend, under each failure, by each stack that the docs show; over real sockets."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import openai
import pytest

import resilient_llm as rl
from resilient_llm.testing import Answer, Cut, FaultServer, Garbage, Reset, Stall, Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

HOUR = 3600.0

FAILURES = {
    "down": Reset(),
    "500": Status.failed(),
    "503": Status.overloaded(),
    "429": Status.rate_limited(),
    "429, soon": Status.rate_limited(0.01),
    "429, in an hour": Status.rate_limited(HOUR),
    "no credit": Status("quota_exceeded"),
    "wrong key": Status("unauthorized"),
    "no such model": Status("unknown_model"),
    "malformed": Status("malformed"),
    "too long": Status("context_length"),
    "filtered": Status("content_filtered"),
    "garbage": Garbage(),
    "cut": Cut(),
    "breaks later": Cut(after=3),
    "hangs": Stall(),
    "late": Stall(),
    "sound": Answer(),
}

COUNTS = """
                  client  one_try    own  wrapped  fallback  no_retry  recovery  cached  limited   sync  claude  ollama
down                  4!       1!     3!       4!       4+1       1+1        4!      4!       4!     4!      4!      4!
500                   4!       1!     3!       4!       4+1       1+1        4!      4!       4!     4!      4!      4!
503                   4!       1!     3!       4!       4+1       1+1        4!      4!       4!     4!      4!      4!
429                   4!       1!     3!       4!       3+1       1+1        4!      4!       4!     4!      4!      4!
429, soon             4!       1!     3!       4!       4+1       1+1        4!      4!       4!     4!      4!      4!
429, in an hour       1!       1!     1!       1!       1+1       1+1        1!      1!       1!     1!      1!      1!
no credit             1!       1!     1!       1!       1+1       1+1        1!      1!       1!     1!      1!      1!
wrong key             1!       1!     1!       1!        1!        1!        1!      1!       1!     1!      1!      1!
no such model         1!       1!     1!       1!       1+1       1+1        1!      1!       1!     1!      1!      1!
malformed             1!       1!     1!       1!        1!        1!        1!      1!       1!     1!      1!      1!
too long              1!       1!     1!       1!       1+1       1+1        1!      1!       1!     1!      1!      1!
filtered              1!       1!     1!       1!        1!        1!        1!      1!       1!     1!      1!      1!
garbage               4!       1!     3!       4!       4+1       1+1        4!      4!       4!     4!      4!      4!
cut                   4!       1!     3!       4!       4+1       1+1        4!      4!       4!     4!      4!      4!
breaks later       4!|1!       1!  3!|1!    4!|1!    4+1|1!    1+1|1!        4!   4!|1!    4!|1!  4!|1!   4!|1!   4!|1!
hangs                 4!       1!     3!       4!       4+1       1+1        4!      4!       4!     4!      4!      4!
late                  1!       1!     1!       1!       1+1       1+1        1!      1!       1!     1!      1!      1!
sound                  1        1      1        1         1         1         1       1        1      1       1       1
"""
"""The stacks are functions below, each with the page that shows it; the backend behind a fallback is sound.

"3!" is three requests to the first backend and an error for the caller, "3+1" one more to the second; "3|1" three for
a whole call and one for a stream. `cut` has no content yet, `breaks later` has. `hangs` is ended by the limit of an
attempt, `late` is a hang that is ended by the deadline.
"""


Call: TypeAlias = "Callable[[bool], Awaitable[object]]"
HANGS, LATE = 1.5, 5.0
TIMED = ("429", "hangs", "late")


def options(failure: str) -> dict[str, float]:
    """The options of each call."""
    limits = {"hangs": {"attempt_timeout": HANGS}, "late": {"deadline": LATE}}
    return {"initial_backoff": 0.001, "temperature": 0, **limits.get(failure, {})}


def calls(llm: rl.AsyncClient, failure: str) -> Call:
    async def call(stream: bool) -> object:
        if not stream:
            return await llm.complete("Hello", **options(failure))
        async with llm.stream("Hello", **options(failure)) as response:
            return await response.completion()

    return call


@asynccontextmanager
async def client(first: str, second: str, failure: str, **more) -> AsyncIterator[Call]:
    """README, "Call a backend": `AsyncClient` with the standard stack."""
    async with rl.AsyncClient("openai-compatible", base_url=first, model="m", **more) as llm:
        yield calls(llm, failure)


def one_try(first: str, second: str, failure: str):
    """README, "Handle what goes wrong": the same without retries."""
    return client(first, second, failure, max_retries=0)


@asynccontextmanager
async def own(first: str, second: str, failure: str) -> AsyncIterator[Call]:
    """README, "Compose a stack"."""
    breaker = rl.CircuitBreaker(fail_max=5, timeout_duration=30.0)
    stack = [rl.Deadline(60), rl.Retry(max_retries=2), breaker, rl.AttemptTimeout(), rl.ErrorClassifier()]
    transport = rl.OpenAICompatibleTransport(first, model="m")
    async with rl.AsyncClient(transport=transport, middleware=stack) as llm:
        yield calls(llm, failure)


@asynccontextmanager
async def wrapped(first: str, second: str, failure: str) -> AsyncIterator[Call]:
    """README, "Wrap a client that you have"."""
    limits = {"hangs": {"attempt_timeout": HANGS, "first_token_timeout": HANGS}, "late": {"deadline": LATE}}
    sdk = openai.AsyncOpenAI(api_key="key", base_url=first)
    async with rl.wrap(
        sdk, wait=rl.decorrelated_jitter(0.001, 0.002), jitter=None, **limits.get(failure, {})
    ) as llm:

        async def call(stream: bool) -> object:
            messages = [{"role": "user", "content": "Hello"}]
            answer = await llm.chat.completions.create(model="m", messages=messages, stream=stream)
            return [chunk async for chunk in answer] if stream else answer

        yield call


def fallback(first: str, second: str, failure: str):
    """How-to, "Fall back to a local model"."""
    spare = rl.OpenAICompatibleTransport(second, model="spare", name="spare")
    return client(first, second, failure, fallback=[spare])


def no_retry(first: str, second: str, failure: str):
    """The same without retries: the fallback is asked at once."""
    spare = rl.OpenAICompatibleTransport(second, model="spare", name="spare")
    return client(first, second, failure, fallback=[spare], max_retries=0)


def recovery(first: str, second: str, failure: str):
    """How-to, "Stream to a screen, and recover"."""
    return client(first, second, failure, recovery="restart")


def cached(first: str, second: str, failure: str):
    """How-to, "Send equal calls once"; the first of them."""
    return client(first, second, failure, cache=rl.Cache(), coalesce=rl.Coalesce())


def limited(first: str, second: str, failure: str):
    """How-to, "Keep to rate limits"."""
    return client(first, second, failure, rate_limit=rl.RateLimit(requests_per_minute=600), concurrency=4)


@asynccontextmanager
async def sync(first: str, second: str, failure: str) -> AsyncIterator[Call]:
    """README, "Call a backend": `Client`, in a thread."""
    llm = rl.Client("openai-compatible", base_url=first, model="m")

    def ask(stream: bool) -> object:
        if not stream:
            return llm.complete("Hello", **options(failure))
        with llm.stream("Hello", **options(failure)) as response:
            return response.completion()

    yield lambda stream: asyncio.to_thread(ask, stream)
    await asyncio.to_thread(llm.close)


@asynccontextmanager
async def claude(first: str, second: str, failure: str) -> AsyncIterator[Call]:
    """Reference, "Backends"."""
    async with rl.AsyncClient("anthropic", base_url=first, model="m", api_key="key") as llm:
        yield calls(llm, failure)


@asynccontextmanager
async def ollama(first: str, second: str, failure: str) -> AsyncIterator[Call]:
    """How-to, "Use Ollama"."""
    async with rl.AsyncClient("ollama", base_url=first.removesuffix("/v1"), model="m") as llm:
        yield calls(llm, failure)


STACKS = (
    *(client, one_try, own, wrapped, fallback, no_retry, recovery, cached),
    *(limited, sync, claude, ollama),
)


async def cell(stack, failure: str, *, stream: bool) -> str:
    """Make a call; gives how many requests reached each backend, and whether it failed."""
    window = 20 if failure == "too long" else None
    async with FaultServer(FAILURES[failure], window=window) as first, FaultServer() as second:
        async with stack(first.base_url, second.base_url, failure) as call:
            try:
                await call(stream)
            except (rl.LLMError, openai.OpenAIError):
                failed = "!"
            else:
                failed = ""
        asked = [len(first.requests), len(second.requests)]
    return "+".join(str(count) for count in asked if count) + failed


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_so_many_requests_reach_the_backends(stream: bool) -> None:
    """As the table says, for each failure and each stack."""
    head, *lines = COUNTS.strip("\n").split("\n")
    expected = {
        line[:16].strip(): [count.split("|")[stream and "|" in count] for count in line[16:].split()]
        for line in lines
    }
    assert head.split() == [stack.__name__ for stack in STACKS]
    assert expected.keys() == FAILURES.keys()
    seen = {}
    for failures in (FAILURES.keys() - TIMED, TIMED):  # limits strike wrongly where too much goes on at once
        cells = [cell(stack, failure, stream=stream) for failure in failures for stack in STACKS]
        counts = iter(await asyncio.gather(*cells))
        seen |= {failure: list(islice(counts, len(STACKS))) for failure in failures}
    assert seen == expected
