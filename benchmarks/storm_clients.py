"""Who meets the storms: clients as their own documentation sets them up, and ours with its stages taken away in turn.

Each has the same time limit for an attempt. A client is an async context manager that is given a `Asked` and gives a
function as an adapter of the fault matrix does, and where it can be one of those, it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import random
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from functools import partial

import attrs
import results
from adapters import Ask, Got, Question
from adapters import Place as Matrix
from aiobreaker import CircuitBreaker, CircuitBreakerListener

import resilient_llm as rl
from resilient_llm.testing import FakeClock

ATTEMPT = 10.0
PATIENCE = 30.0


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


def as_in_the_matrix(adapter: str, asked: Asked) -> contextlib.AbstractAsyncContextManager[Ask]:
    """The adapter of the fault matrix."""
    place = Matrix(urls=(asked.url,), first_token=ATTEMPT, seed=asked.seed)
    return importlib.import_module(f"adapters.{adapter}").opened(place)


@contextlib.asynccontextmanager
async def aiobreaker_and_backoff(asked: Asked) -> AsyncIterator[Ask]:
    import backoff
    from adapters.bare_aiohttp import ERRORS

    breaker = CircuitBreaker(fail_max=5, timeout_duration=timedelta(seconds=60), listeners=[asked.states])
    async with as_in_the_matrix("bare_aiohttp", asked) as bare:

        @backoff.on_exception(backoff.expo, ERRORS, max_time=60)
        @breaker
        async def ask(question: Question) -> Got:
            return await bare(question)

        yield ask


@contextlib.asynccontextmanager
async def ours(
    asked: Asked, *, spare: bool = False, reopens: tuple[float, float] = (30.0, 300.0), **options: object
) -> AsyncIterator[Ask]:
    clock, rng = FakeClock(), random.Random(asked.seed)
    breaker = rl.CircuitBreaker(
        timeout_duration=reopens[0],
        max_timeout_duration=reopens[1],
        lease=ATTEMPT + 5.0,
        listeners=[asked.states],
        clock=clock,
        rng=rng,
    )
    if spare:
        options["fallback"] = [rl.OpenAICompatibleTransport(asked.spare, model="m", name="spare")]
    settings = {
        "breaker": breaker,
        "attempt_timeout": ATTEMPT,
        "first_token_timeout": ATTEMPT,
        "deadline": PATIENCE,
        "clock": clock,
        "rng": rng,
        "recovery": "restart",
        **options,
    }
    transport = rl.OpenAICompatibleTransport(asked.url, model="m")
    async with rl.AsyncClient(transport=transport, model="m", **settings) as llm:

        async def ask(question: Question) -> Got:
            if not question.stream:
                return Got(text=(await llm.complete(question.messages)).text)
            async with llm.stream(question.messages) as response:
                return Got(text=(await response.completion()).text)

        yield ask


OURS, BARE = "resilient_llm", "no protection"
OWN = ("resilient-llm", "aiohttp")
LIMIT = f"{ATTEMPT:g} s an attempt"

PEERS = (
    Policy(
        name=OURS,
        opened=ours,
        packages=OWN,
        configuration=f"standard stack, recovery='restart', {LIMIT}, deadline {PATIENCE:g} s",
    ),
    Policy(
        name=BARE,
        opened=partial(as_in_the_matrix, "bare_aiohttp"),
        packages=("aiohttp",),
        configuration=f"aiohttp, one attempt, {LIMIT}",
    ),
    Policy(
        name="openai",
        opened=partial(as_in_the_matrix, "openai_sdk"),
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
        opened=partial(as_in_the_matrix, "tenacity_aiohttp"),
        packages=("tenacity", "aiohttp"),
        configuration=f"wait_random_exponential(1 to 60 s), stop_after_attempt(6) round aiohttp, {LIMIT}",
        modules=("tenacity",),
    ),
)


def _changed(name: str, **options: object) -> Policy:
    spared = {"spare": "fallback=[another backend, always well]"}
    if "reopens" in options:
        spared["reopens"] = "timeout_duration={:g} and max_timeout_duration={:g} s".format(
            *options["reopens"]
        )
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
    _changed("without recovery", recovery="raise"),
    _changed("with a quick circuit", reopens=(5.0, 15.0)),
    _changed("with a fallback", spare=True),
)


def present(policies: tuple[Policy, ...]) -> tuple[list[Policy], Mapping[str, str]]:
    """Those that can run here, and why others cannot."""
    why = {policy.name: policy.lacks() for policy in policies}
    return [policy for policy in policies if not why[policy.name]], {
        name: reason for name, reason in why.items() if reason
    }
