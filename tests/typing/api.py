"""What users write: type-checked, never run."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import aiobreaker
import backoff
from opentelemetry.trace import get_tracer_provider

import resilient_llm as rl
from resilient_llm.testing import Cut, Reset, Stall, Status

if TYPE_CHECKING:
    from collections.abc import Iterator


async def calling() -> None:
    """The client's calls have the types that the docs say."""
    async with rl.AsyncClient("lmstudio", model="", deadline=60, max_retries=3) as llm:
        done: rl.Completion = await llm.complete("Name three rivers.", system="Be terse.", temperature=0.2)
        text: str = await llm.generate("Hello", max_tokens=10)
        text = await llm.generate_with_context("Tell me a joke", done.messages, idle_timeout=5)
        async with llm.stream([{"role": "user", "content": text}], tools=[], tool_deltas=True) as response:
            async for event in response:
                match event:
                    case rl.TextDelta(text):
                        print(text)
                    case rl.ToolCall(index=index, arguments=arguments):
                        print(index + 1, arguments.upper())
                    case rl.Finish(reason):
                        print(reason)
                    case _:
                        pass
            done = await response.completion()
        vectors: list[list[float]] = (await llm.embed(["a", "b"])).vectors
        models: list[rl.ModelInfo] = await llm.models()
        number: int = await llm.count_tokens("Hello", model="m", tools=[])
        print(vectors, models, number, done.usage.total_tokens)


def blocking(parameters: dict[str, object]) -> None:
    """The blocking client and the providers give the same types without `await`."""
    with rl.Client("lmstudio", model="", deadline=60, max_retries=3) as llm:
        done: rl.Completion = llm.complete("Name three rivers.", system="Be terse.", temperature=0.2)
        text: str = llm.generate_with_context(llm.generate("Hello"), done.messages, idle_timeout=5)
        with llm.stream([{"role": "user", "content": text}], tools=[]) as response:
            texts: list[str] = [event.text for event in response if isinstance(event, rl.TextDelta)]
            done = response.completion()
        raw: rl.SyncResponse = llm.send(rl.Request("models"))
        number: int = llm.count_tokens("Hello") + len(llm.embed(["a"]).vectors) + len(llm.models())
        print(texts, raw.result(), number, done.usage.total_tokens)
    config = rl.LLMProviderConfig(
        provider_type="lmstudio", parameters={"api_base": "http://localhost:1234/v1"}
    )
    adapter = rl.LLMBackendAdapter()
    adapter.register("mine", lambda parameters: adapter.create_provider("offline", parameters))
    with adapter.create_provider(config) as provider:
        print(provider.generate("Hello") + provider.generate_with_context("More", done.messages, stop=["."]))
    own: rl.LLMProvider = adapter.create_provider("mine", parameters)
    own.close()


async def stage(request: rl.Request, call_next: rl.Handler) -> rl.Response:
    """A plain function is a stage."""
    return await rl.observe(call_next(request), lambda outcome: print(outcome.kind))


class Stage:
    """So is a class with `__call__`."""

    async def __call__(self, request: rl.Request, call_next: rl.Handler) -> rl.Response:
        """Pass on."""
        return await call_next(request)


async def composing() -> None:
    """Stacks are lists of stages; backoff's and aiobreaker's things fit in."""
    breaker = rl.CircuitBreaker(aiobreaker.CircuitBreaker(fail_max=3), failure_ratio=0.3)
    retry = rl.Retry(max_retries=2, wait=partial(backoff.fibo, max_value=5), jitter=backoff.random_jitter)
    stack: list[rl.Middleware] = [stage, Stage(), retry, breaker.peek, breaker, rl.ErrorClassifier()]
    stack += rl.standard_stack(max_retries=3, deadline=None)[:1]
    tokenizer = rl.LlamaCppTransport()
    stack.append(rl.TokenBudget(strategy="keep_first_turn", tokenizer=tokenizer, context_window=4096))
    stack.append(rl.TokenBudget(strategy=rl.Summarize(lambda dropped: f"{len(dropped)} messages")))
    stack.append(
        rl.Fallback(
            [rl.Target(rl.OfflineTransport(), model="m", stack=[retry])], patience=None, max_retries=1
        )
    )
    handler: rl.Handler = rl.Pipeline(stack, rl.OfflineTransport())
    response = await handler(rl.Request(messages=[{"role": "user", "content": "Hello"}]))
    async with rl.AsyncClient(
        "lmstudio", fallback=[rl.OfflineTransport(), rl.Target(rl.OpenAITransport())]
    ) as llm:
        print(llm.pipeline)
    print(await response.completion())


class Shelf:
    """A store of one's own."""

    async def get(self, key: str, /) -> bytes | None:
        """Nothing is kept."""
        return None if key else b""

    async def set(self, key: str, value: bytes, max_age: float, /) -> None:
        """Nothing is kept."""


async def sparing_and_failing() -> None:
    """Stores, conditions, scripts and what they are made of have types."""
    store: rl.CacheStore = Shelf()
    store = rl.MemoryStore(max_entries=10)
    cache = rl.Cache(store=store, max_age=60, when=lambda request: request.operation == "chat", namespace="a")
    faults = rl.FaultInjection(
        rate=0.1, errors=[rl.ErrorCode.MODEL_OVERLOADED, Cut(after=2)], latency=(0.1, 0.5)
    )
    scripted = rl.FaultInjection(
        script=[Stall(), Status.failed(), rl.ModelAuthError("no"), "text", None], seed=1
    )
    told = rl.FaultInjection(script=lambda request, number: None if number > 3 else Reset())
    told.enabled = False
    stack = [*rl.standard_stack(cache=cache, coalesce=rl.Coalesce()), faults, scripted, told]
    async with rl.AsyncClient("offline", middleware=stack) as llm:
        done: rl.Completion = await llm.complete("Hello", cache=True)
        cached: bool = done.cached
        shared: list[bool] = [attempt.shared for attempt in done.trace]
        print(cached, shared)


def watching() -> rl.Client:
    """Telemetry takes OpenTelemetry's own providers; showing the log gives a handler of the standard library."""
    handler: logging.Handler = rl.show_logs("debug", colors=False)
    logging.getLogger("resilient_llm").removeHandler(handler)
    telemetry = rl.Telemetry(tracer_provider=get_tracer_provider(), capture_content=True)
    rl.Client("offline", telemetry=True).close()
    return rl.Client("offline", telemetry=telemetry)


def limits() -> list[rl.Middleware]:
    """Limits are stages; the rate limit's second look is one, too."""
    rate = rl.RateLimit(
        requests_per_minute=600, tokens_per_minute=50_000, burst=0.1, key=lambda request: "all"
    )
    permits = rl.ConcurrencyLimit(4, max_queue=100)
    rl.Client("offline", rate_limit=rate, concurrency=permits).close()
    rl.Client("offline", rate_limit=None, concurrency=2).close()
    return [rate, permits, rate.recheck]


def errors(exc: Exception) -> float | None:
    """Errors tell what they know with types."""
    error = rl.classify(status=429, headers={"retry-after": "2"}, body="{}", backend="openai")
    if isinstance(exc, rl.CircuitOpenError):
        return exc.time_remaining.total_seconds()
    if error.code == rl.ErrorCode.MODEL_RATE_LIMITED or error.code == "MODEL_QUOTA_EXCEEDED":
        return error.retry_after
    return rl.classify_exception(exc).retry_after


class SDK:
    """A client of some SDK."""

    base_url = "https://api.example"


def wrapping(client: SDK, spare: SDK) -> SDK:
    """A wrapped client keeps its type; its fallbacks are clients, targets with a client, or both."""
    same: SDK = rl.wrap(client, max_retries=2, fallback=[spare, rl.Target(spare, model="m", name="spare")])
    rl.wrap(client, fallback=rl.Fallback([spare], on_auth=True))
    rl.Target("spare")  # type: ignore[arg-type]
    return same


async def summary(dropped: list[rl.Message]) -> str:
    """What a summary is written from is a list."""
    return f"{len(dropped)} messages"


summarize = rl.Summarize(summary, tokens=50)


@rl.resilient
async def decorated(messages: list[rl.Message], *, model: str = "m") -> str:
    """A decorated function keeps its type."""
    return model


@rl.resilient(max_retries=2, deadline=60, name="count", observers=[print])
def counted(limit: int) -> Iterator[int]:
    """A generator as well."""
    yield from range(limit)


class Decorated:
    """And methods of all kinds."""

    @rl.resilient
    def own(self, word: str) -> str:
        """Of an instance."""
        return word

    @rl.resilient(model="gpt-4o")
    @staticmethod
    def free(word: str) -> str:
        """Of none."""
        return word

    @classmethod
    @rl.resilient(context_window=1000)
    async def inner(cls, word: str) -> str:
        """Of a class."""
        return word


async def resilience() -> None:
    """Wrong arguments and options are noticed."""
    text: str = await decorated([], model="n")
    number: int = next(iter(counted(3)))
    text = Decorated().own("a") + Decorated.free("b") + await Decorated.inner("c")
    await decorated(3)  # type: ignore[arg-type]
    Decorated().own(number)  # type: ignore[arg-type]
    rl.resilient(max_retry=2)  # type: ignore[call-overload]
    print(text)
