"""Who meets the storms: clients as their own documentation sets them up, and ours with its stages taken away in turn.

Each has the same time limit for an attempt. A client is an async context manager that is given a `Asked` and gives a
function from a prompt to a text; what that raises is a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial

import aiohttp
import attrs
import results
from aiobreaker import CircuitBreaker, CircuitBreakerListener

import resilient_llm as rl
from resilient_llm.testing import FakeClock

ATTEMPT = 10.0
PATIENCE = 30.0

Ask = Callable[[str], Awaitable[str]]


class States(CircuitBreakerListener):
    """Takes note of a circuit's states: when, and which."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, str]] = []

    def state_change(self, _breaker: object, _old: object, new: object) -> None:
        self.seen.append((asyncio.get_running_loop().time(), new.state.name.lower()))


@attrs.frozen(kw_only=True)
class Asked:
    """Whom a client asks.

    Args:
        url: The backend.
        spare: Another one, that is always well.
        seed: For chances.
        states: To be told of a circuit's states.
    """

    url: str
    spare: str
    seed: int
    states: States


@attrs.frozen(kw_only=True)
class Policy:
    """A column.

    Args:
        name: What to call it.
        opened: Makes the client.
        packages: Whose versions count; without them it is left out.
        configuration: How it is set up, in words.
        modules: What must be importable.
    """

    name: str
    opened: Callable[[Asked], contextlib.AbstractAsyncContextManager[Ask]]
    packages: tuple[str, ...]
    configuration: str
    modules: tuple[str, ...] = ()

    def lacks(self) -> str:
        """Why it cannot run here, or nothing."""
        try:
            for module in self.modules:
                importlib.import_module(module)
        except ImportError as exc:
            return str(exc)
        return ""

    def versions(self) -> str:
        return ", ".join(f"{name} {version}" for name, version in results.versions(self.packages).items())


async def _post(session: aiohttp.ClientSession, url: str, prompt: str) -> str:
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
    async with session.post(f"{url}/chat/completions", json=body) as answer:
        answer.raise_for_status()
        return (await answer.json())["choices"][0]["message"]["content"]


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ATTEMPT))


@contextlib.asynccontextmanager
async def bare(asked: Asked) -> AsyncIterator[Ask]:
    async with _session() as session:
        yield partial(_post, session, asked.url)


@contextlib.asynccontextmanager
async def openai_sdk(asked: Asked) -> AsyncIterator[Ask]:
    import openai

    async with openai.AsyncOpenAI(base_url=asked.url, api_key="none", timeout=ATTEMPT) as client:

        async def ask(prompt: str) -> str:
            messages = [{"role": "user", "content": prompt}]
            done = await client.chat.completions.create(model="m", messages=messages)
            return done.choices[0].message.content

        yield ask


@contextlib.asynccontextmanager
async def aiobreaker_and_backoff(asked: Asked) -> AsyncIterator[Ask]:
    import backoff

    breaker = CircuitBreaker(fail_max=5, timeout_duration=timedelta(seconds=60), listeners=[asked.states])
    async with _session() as session:

        @backoff.on_exception(backoff.expo, (aiohttp.ClientError, TimeoutError), max_time=60)
        @breaker
        async def ask(prompt: str) -> str:
            return await _post(session, asked.url, prompt)

        yield ask


@contextlib.asynccontextmanager
async def by_tenacity(asked: Asked) -> AsyncIterator[Ask]:
    import tenacity

    async with _session() as session:
        yield tenacity.retry(
            wait=tenacity.wait_random_exponential(min=1, max=60), stop=tenacity.stop_after_attempt(6)
        )(partial(_post, session, asked.url))


@contextlib.asynccontextmanager
async def ours(asked: Asked, *, spare: bool = False, **options: object) -> AsyncIterator[Ask]:
    clock, rng = FakeClock(), random.Random(asked.seed)
    breaker = rl.CircuitBreaker(lease=ATTEMPT + 5.0, listeners=[asked.states], clock=clock, rng=rng)
    if spare:
        options["fallback"] = [rl.OpenAICompatibleTransport(asked.spare, model="m", name="spare")]
    settings = {
        "breaker": breaker,
        "attempt_timeout": ATTEMPT,
        "first_token_timeout": ATTEMPT,
        "deadline": PATIENCE,
        "clock": clock,
        "rng": rng,
        **options,
    }
    transport = rl.OpenAICompatibleTransport(asked.url, model="m")
    async with rl.AsyncClient(transport=transport, model="m", **settings) as llm:

        async def ask(prompt: str) -> str:
            return (await llm.complete(prompt)).text

        yield ask


OURS, BARE = "resilient_llm", "no protection"
OWN = ("resilient-llm", "aiohttp")
LIMIT = f"{ATTEMPT:g} s an attempt"

PEERS = (
    Policy(
        name=OURS,
        opened=ours,
        packages=OWN,
        configuration=f"standard stack, {LIMIT}, deadline {PATIENCE:g} s",
    ),
    Policy(name=BARE, opened=bare, packages=("aiohttp",), configuration=f"aiohttp, one attempt, {LIMIT}"),
    Policy(
        name="openai",
        opened=openai_sdk,
        packages=("openai",),
        configuration=f"AsyncOpenAI as it comes (2 retries), {LIMIT}",
        modules=("openai",),
    ),
    Policy(
        name="aiobreaker + backoff",
        opened=aiobreaker_and_backoff,
        packages=("aiobreaker", "backoff", "aiohttp"),
        configuration=f"on_exception(expo, max_time=60) round a breaker(fail_max=5, 60 s) round aiohttp, {LIMIT}",
        modules=("backoff",),
    ),
    Policy(
        name="tenacity",
        opened=by_tenacity,
        packages=("tenacity", "aiohttp"),
        configuration=f"wait_random_exponential(1 to 60 s), stop_after_attempt(6) round aiohttp, {LIMIT}",
        modules=("tenacity",),
    ),
)


def _changed(name: str, **options: object) -> Policy:
    spared = {"spare": "fallback=[another backend, always well]"}
    told = ", ".join(spared.get(option, f"{option}={value!r}") for option, value in options.items())
    return Policy(
        name=name, opened=partial(ours, **options), packages=OWN, configuration=f"{OURS} with {told}"
    )


ABLATIONS = (
    _changed("without retries", max_retries=0),
    _changed("without budget", retry_budget=None),
    _changed("without circuit", breaker=None),
    _changed("without cool-down", rate_limit=None),
    _changed("without attempt's limit", attempt_timeout=None, first_token_timeout=None),
    _changed("with a fallback", spare=True),
)


def present(policies: tuple[Policy, ...]) -> tuple[list[Policy], Mapping[str, str]]:
    """Those that can run here, and why others cannot."""
    why = {policy.name: policy.lacks() for policy in policies}
    return [policy for policy in policies if not why[policy.name]], {
        name: reason for name, reason in why.items() if reason
    }
