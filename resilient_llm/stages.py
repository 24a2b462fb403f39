"""The stages that belong to one target, and the options that they are made from."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, Unpack

from .middleware import (
    AttemptTimeout,
    CircuitBreaker,
    ConcurrencyLimit,
    ErrorClassifier,
    RateLimit,
    Retry,
    TokenBudget,
)
from .middleware.probe import LEASE_MARGIN
from .pipeline import name_of
from .policy.retry_budget import RetryBudget
from .sharing import State

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from .clock import Clock
    from .errors import ErrorCode
    from .fallback import Fallback
    from .middleware.cache import Cache
    from .middleware.coalesce import Coalesce
    from .middleware.telemetry import Telemetry
    from .middleware.token_budget import Window
    from .pipeline import Middleware, Transport
    from .policy.backoff import Jitter, WaitGenerator
    from .policy.outcomes import Row
    from .request import Recovery
    from .targets import SDKClient, Target

LONGEST = 3600.0
"""Seconds after which a probe without any time limit is given up."""


class StackOptions(TypedDict, total=False):
    """The options of `standard_stack`, which `AsyncClient` takes too. Times in seconds; None: no limit.

    `max_retries` (3), `wait`, `jitter`, `max_server_delay` (60), `retry_budget` (one of its own): see `Retry`.
    `deadline` (600): see `Deadline`. `recovery` ("raise"): see `StreamRecovery`; for wrapped clients
    `"replay"`, see `StreamReplay`. `first_token_timeout` (60),
    `idle_timeout` (30), `attempt_timeout` (600): see `AttemptTimeout`. `breaker`: a `CircuitBreaker` of one's own, or
    None for none. `token_budget`: a `TokenBudget` of one's own, or None for none. `context_window`: the model's
    window in tokens, or a function of the model that gives it; `default_max_tokens`: what the backend sets aside for
    an answer whose length is not said; default: what the transport says of both. `rate_limit`: a `RateLimit` of
    one's own, or None for none; default: one that only learns from the backend. `concurrency` (None): how many calls
    may be on the wire at once, or a `ConcurrencyLimit` of one's own.
    `cache`: a `Cache`, for this backend and not for its fallbacks, `coalesce`: a `Coalesce`; default: neither.
    `telemetry`: a `Telemetry`, or True for one that uses the application's OpenTelemetry; default: none.
    `fallback`: targets or transports that are asked, in order, where this one fails, or a `Fallback` of one's own.
    `state`: where circuits, cool-downs, retry budgets and limits are shared, such as a `RedisState`; default: nowhere.
    `scope`: what tells this backend from others there; default: its name and address.
    `outcomes`: which failures are retried and count, see `resilient_llm.policy.outcomes.override`.
    `clock`, `rng`: time and chance, for tests.
    """

    max_retries: int
    wait: WaitGenerator
    jitter: Jitter | None
    max_server_delay: float
    retry_budget: RetryBudget | None
    deadline: float | None
    recovery: Recovery | Literal["replay"]
    first_token_timeout: float | None
    idle_timeout: float | None
    attempt_timeout: float | None
    breaker: CircuitBreaker | None
    token_budget: TokenBudget | None
    context_window: Window
    default_max_tokens: int | None
    rate_limit: RateLimit | None
    concurrency: ConcurrencyLimit | int | None
    outcomes: Mapping[ErrorCode, Row]
    cache: Cache | None
    coalesce: Coalesce | None
    telemetry: Telemetry | bool | None
    fallback: Sequence[Target | Transport | SDKClient] | Fallback
    state: State | None
    scope: str
    clock: Clock
    rng: random.Random


_KINDS: Final = {"breaker": CircuitBreaker, "retry_budget": RetryBudget, "state": State}
"""Options that would be found wrong only when they are needed."""


def check_options(options: StackOptions) -> None:
    """Refuse options that do not exist, or are something else.

    Raises:
        TypeError: There is one; the message lists those that do exist, or says what it must be.
    """
    unknown = options.keys() - StackOptions.__annotations__.keys()
    if unknown:
        msg = f"unknown option {min(unknown)!r}; known are {', '.join(sorted(StackOptions.__annotations__))}"
        raise TypeError(msg)
    for name, kind in _KINDS.items():
        value = options.get(name)
        if value is not None and not isinstance(value, kind):
            found = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
            msg = f"{name} must be a resilient_llm.{kind.__name__} or None, not {found}"
            raise TypeError(msg)


def told_by(transport: object) -> StackOptions:
    """The options that a transport knows best: what it says of its models."""
    return StackOptions(
        context_window=getattr(transport, "context_window", None),
        default_max_tokens=getattr(transport, "default_max_tokens", None),
        scope=_scope(transport),
    )


def _scope(transport: object) -> str:
    """A backend's name and address; of the address a digest, for it may hold a password."""
    address = str(getattr(transport, "base_url", ""))
    return f"{name_of(transport)}-{hashlib.sha256(address.encode()).hexdigest()[:12]}"


def share(stages: Sequence[object], state: State, scope: str) -> None:
    """Have the stages that can do so share what they know with all who use the same scope of the state."""
    for stage in stages:
        if (sharing := getattr(stage, "share", None)) is not None:
            sharing(state, scope)


def target_stages(*, backend: str | None = None, **options: Unpack[StackOptions]) -> list[Middleware]:
    """The stages of one target, outermost first: its own window, retries, circuit and time limits; a plain list.

    Cache and Coalesce if there are any, TokenBudget, Retry, breaker.peek, RateLimit, ConcurrencyLimit if asked for,
    CircuitBreaker, AttemptTimeout, ErrorClassifier. Options that concern the whole call (`deadline`, `recovery`,
    `fallback`) have no effect here.

    Args:
        backend: The transport's name, for errors.
        options: See `StackOptions`.

    Raises:
        TypeError: An option that does not exist.
        ValueError: A value out of range.
    """
    check_options(options)
    limits = passed_on(
        options,
        "clock",
        first_token="first_token_timeout",  # noqa: S106 - an option's name
        idle="idle_timeout",
        whole="attempt_timeout",
    )
    timeout = AttemptTimeout(backend=backend, **limits)
    if "token_budget" in options:
        budget = options["token_budget"]
    else:
        budget = TokenBudget(**passed_on(options, "context_window", "default_max_tokens"))
    breaker = options["breaker"] if "breaker" in options else _breaker(options, timeout)
    first = (options.get("cache"), options.get("coalesce"), budget)
    stack: list[Middleware] = [stage for stage in first if stage is not None]
    stack.append(_retry(options))
    if breaker is not None:
        stack.append(breaker.peek)
    stack += _limits(options)
    if breaker is not None:
        stack.append(breaker)
    stack += [timeout, ErrorClassifier(backend=backend, **passed_on(options, "clock"))]
    if (state := options.get("state")) is not None:
        share(stack, state, options.get("scope") or backend or "")
    return stack


def passed_on(options: StackOptions, *same: str, **named: str) -> dict[str, Any]:
    """The options that are given, for a stage; what is not given is as the stage has it.

    Args:
        options: The options.
        same: Those that the stage calls by the same name.
        named: Those that it calls otherwise: its name, and the option's.
    """
    told: Mapping[str, Any] = options
    return {
        own: told[name]
        for own, name in {**dict(zip(same, same, strict=True)), **named}.items()
        if name in told
    }


def _limits(options: StackOptions) -> list[Middleware]:
    """The rate limit, the concurrency limit, and the rate limit's second look at what has queued in between."""
    if "rate_limit" in options:
        rate = options["rate_limit"]
    else:
        rate = RateLimit(**passed_on(options, "max_server_delay", "clock", "rng"))
    concurrency = options.get("concurrency")
    if isinstance(concurrency, int):
        concurrency = ConcurrencyLimit(concurrency, **passed_on(options, "clock"))
    stages: list[Middleware] = [] if rate is None else [rate]
    if concurrency is not None:
        stages.append(concurrency)
    return [*stages, rate.recheck] if rate is not None and concurrency is not None else stages


def _breaker(options: StackOptions, timeout: AttemptTimeout) -> CircuitBreaker:
    longest = max(timeout.whole or LONGEST, timeout.first_token or LONGEST)
    return CircuitBreaker(lease=longest + LEASE_MARGIN, **passed_on(options, "outcomes", "clock", "rng"))


def _retry(options: StackOptions) -> Retry:
    policy = passed_on(options, "max_retries", "wait", "jitter", "max_server_delay", "outcomes")
    return Retry(**policy, **passed_on(options, "clock", "rng", budget="retry_budget"))
