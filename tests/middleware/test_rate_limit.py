"""RateLimit: own limits, what headers teach, the shared cool-down, the spent quota; in virtual time."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import deque
from typing import TYPE_CHECKING

import attrs
import pytest

from resilient_llm.body import ResponseInfo
from resilient_llm.commit import whole
from resilient_llm.errors import (
    BackendFailure,
    CircuitOpenError,
    LimitExceededError,
    LLMError,
    ModelOverloadedError,
    ModelQuotaExceededError,
    ModelRateLimitedError,
)
from resilient_llm.events import Finish, TextDelta, UsageEvent, Waiting
from resilient_llm.middleware import (
    CircuitBreaker,
    ConcurrencyLimit,
    ErrorClassifier,
    RateLimit,
    Retry,
    gates,
)
from resilient_llm.models import Request, Usage
from resilient_llm.pipeline import Pipeline
from resilient_llm.testing import FakeClock, ScriptedTransport, run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from resilient_llm.response import Response

ASK = Request(messages=({"role": "user", "content": "Hello"},), model="m")
LIMITED = ModelRateLimitedError("slow down", retry_after=1.0)


class Backend:
    """Answers after `seconds`, with these headers and usage; remembers when it was asked, by its own clock."""

    name = "backend"

    def __init__(self, clock: FakeClock, seconds: float = 0.0, *, usage: Usage | None = None) -> None:
        self.clock = clock
        self.seconds = seconds
        self.usage = usage
        self.headers: Mapping[str, str] = {}
        self.failures: deque[Exception] = deque()
        self.asked: list[float] = []
        self.names: list[str] = []

    async def __call__(self, request: Request) -> Response:
        self.asked.append(self.clock.monotonic())
        self.names.append(request.model)
        failure = self.failures.popleft() if self.failures else None
        headers = self.headers
        await self.clock.sleep(self.seconds)
        if failure is not None:
            raise failure
        events = [TextDelta("Hi"), *([UsageEvent(self.usage)] if self.usage else []), Finish("stop")]
        return whole(events, ResponseInfo(self.name, "m", headers=headers), request)


@attrs.define
class World:
    """A clock, a backend, a rate limit in front of it, and what became of the calls."""

    limit: RateLimit
    backend: Backend
    pipeline: Pipeline
    clock: FakeClock
    errors: list[LLMError] = attrs.field(factory=list)
    ended: list[float] = attrs.field(factory=list)

    async def call(self, request: Request = ASK, after: float = 0.0) -> None:
        await self.clock.sleep(after)
        try:
            await self.pipeline(request)
        except LLMError as error:
            self.errors.append(error)
        self.ended.append(self.clock.monotonic())

    async def calls(self, number: int, request: Request = ASK) -> None:
        await asyncio.gather(*(self.call(request) for _ in range(number)))

    def starting(self, number: int, request: Request = ASK) -> list[asyncio.Task[None]]:
        return [asyncio.ensure_future(self.call(request)) for _ in range(number)]


def world(seconds: float = 0.0, *, usage: Usage | None = None, inner=(), **options) -> World:
    clock = FakeClock()
    limit = RateLimit(clock=clock, rng=random.Random(1), **options)
    backend = Backend(clock, seconds, usage=usage)
    return World(limit, backend, Pipeline([limit, *inner], backend, clock=clock), clock)


def play(scenario: Callable[[], Coroutine[None, None, None]]) -> None:
    run_virtual(scenario())


def due(seconds: float) -> Request:
    return attrs.evolve(ASK, deadline=seconds)


def openai(limit: int, remaining: int, reset: str) -> dict[str, str]:
    return {
        "x-ratelimit-limit-requests": str(limit),
        "x-ratelimit-remaining-requests": str(remaining),
        "x-ratelimit-reset-requests": reset,
    }


# Limits of one's own ...


def test_without_limits_and_news_calls_pass() -> None:
    """Nothing is kept of them."""

    async def scenario() -> None:
        here = world()
        await here.calls(1000)
        assert here.ended == [0.0] * 1000
        assert len(here.limit._gates) == 0

    play(scenario)


def test_requests_per_minute() -> None:
    """Sixty at once, then one each second, in order of arrival."""

    async def scenario() -> None:
        here = world(requests_per_minute=60)
        requests = [attrs.evolve(ASK, params={"seed": number}) for number in range(90)]
        seen: list[int] = []

        async def note(request, call_next):
            seen.append(request.params["seed"])
            return await call_next(request)

        pipeline = Pipeline([here.limit, note], here.backend, clock=here.clock)
        await asyncio.gather(*(pipeline(request) for request in requests))
        assert here.backend.asked[:60] == [0.0] * 60
        assert here.backend.asked[60:] == pytest.approx([float(second) for second in range(1, 31)])
        assert seen == list(range(90))

    play(scenario)


def test_a_smaller_burst_spreads_the_calls() -> None:
    """A tenth of the allowance at once, the rest evenly."""

    async def scenario() -> None:
        here = world(requests_per_minute=60, burst=0.1)
        await here.calls(10)
        assert here.backend.asked == pytest.approx([0, 0, 0, 0, 0, 0, 1, 2, 3, 4])

    play(scenario)


def test_each_model_has_its_own_limits() -> None:
    """Unless the key says otherwise."""

    async def scenario() -> None:
        other = attrs.evolve(ASK, model="other")
        for options, at in (({}, [0.0, 0.0]), ({"key": lambda _: "all"}, [0.0, 60.0])):
            here = world(requests_per_minute=1, **options)
            await asyncio.gather(here.call(), here.call(other))
            assert here.backend.asked == pytest.approx(at)

    play(scenario)


def test_a_wait_that_would_end_too_late_is_no_wait() -> None:
    """The call is rejected at once, with the limit's name and how long it would have been; others go on."""

    async def scenario() -> None:
        here = world(requests_per_minute=6, burst=0.01)
        waiting = here.starting(2)  # until 10 s
        await asyncio.sleep(0)
        await here.call(due(15.0))  # would be 20 s
        await here.call(attrs.evolve(ASK, extensions={"max_wait": 19.0}))
        assert here.ended == [0.0] * 3
        for error in here.errors:
            assert isinstance(error, LimitExceededError)
            assert error.local
            assert error.retry_after == 20.0
            assert error.model == "m"
            assert "requests_per_minute=6" in str(error)
        await asyncio.gather(*waiting)
        await here.call()
        assert here.backend.asked == pytest.approx([0.0, 10.0, 20.0])

    play(scenario)


def test_a_wait_that_grew_ends_with_the_deadline() -> None:
    """Whoever was there before and takes longer than it looked does not hold a call beyond its time."""

    async def scenario() -> None:
        here = world(requests_per_minute=60, burst=0.01)
        here.backend.failures.append(ModelRateLimitedError("slow down", retry_after=30.0))
        await here.call()
        tasks = here.starting(1, due(20.0))
        await asyncio.gather(*tasks)
        assert [type(error) for error in here.errors] == [ModelRateLimitedError, LimitExceededError]
        assert here.clock.monotonic() == 0.0

    play(scenario)


def test_the_last_in_line_is_not_held_beyond_its_time() -> None:
    """Those before it had to wait longer than it looked when it came: it leaves at its deadline, not later."""

    async def scenario() -> None:
        here = world(1.0, requests_per_minute=60, burst=0.01)
        tasks = [*here.starting(3), asyncio.ensure_future(here.call(due(4.0)))]
        await asyncio.sleep(0.5)
        gate = here.limit._gates.find("m")
        gate.pace.unsent(attrs.evolve(gate.pace.enter((0, 0, 0, 0), 0.5), amounts=(-5, 0, 0, 0)), 0.5)
        await asyncio.gather(*tasks)
        assert [error.code for error in here.errors] == ["LIMIT_EXCEEDED"]
        assert here.ended[1] == pytest.approx(4.0)

    play(scenario)


@pytest.mark.parametrize("who", range(4))
def test_who_leaves_the_line_makes_room(who: int) -> None:
    """A cancelled caller holds nothing: the others move up."""

    async def scenario() -> None:
        here = world(requests_per_minute=60, burst=0.01)
        tasks = here.starting(5)
        await asyncio.sleep(0.5)
        tasks[who + 1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert here.backend.asked == pytest.approx([0.0, 1.0, 2.0, 3.0])
        assert len(here.limit._gates.find("m").line) == 0
        assert here.limit._gates.find("m").pace.queue((1, 0, 0, 0), 100.0) is None

    play(scenario)


def test_a_small_call_does_not_overtake_a_large_one() -> None:
    """What is left would do for it, but not for the one that waits: else that would wait for ever."""

    async def scenario() -> None:
        here = world(tokens_per_minute=600)
        large = [asyncio.ensure_future(here.call(sized(500 - PROMPT))) for _ in range(2)]
        await asyncio.sleep(0.5)
        await here.call(sized(20 - PROMPT))
        await asyncio.gather(*large)
        assert here.backend.asked == pytest.approx([0.0, 40.0, 42.0])

    play(scenario)


def test_an_observer_hears_of_a_wait_once() -> None:
    """With its length, the limit's name, and a local error for the reason."""

    async def scenario() -> None:
        here = world(requests_per_minute=6, burst=0.01)
        notices: list[object] = []
        await here.calls(2)
        await asyncio.gather(*(here.call(ASK.observed_by(notices.append)) for _ in range(2)))
        waits = [notice for notice in notices if isinstance(notice, Waiting)]
        assert [wait.seconds for wait in waits] == pytest.approx([10.0, 20.0])
        assert all(wait.error.local and "requests_per_minute=6" in wait.error.message for wait in waits)

    play(scenario)


def test_what_an_inner_stage_rejects_was_not_sent() -> None:
    """An open circuit costs no allowance."""

    async def scenario() -> None:
        here = world(requests_per_minute=6, burst=0.01)
        breaker = CircuitBreaker(clock=here.clock)
        breaker.isolate("m")
        for limit in (here.limit, RateLimit(clock=here.clock)):
            pipeline = Pipeline([limit, breaker], here.backend, clock=here.clock)
            for _ in range(3):
                with pytest.raises(CircuitOpenError):
                    await pipeline(ASK)
        await here.call()
        assert here.backend.asked == [0.0]

    play(scenario)


def test_ten_thousand_callers() -> None:
    """All are served in the time that the limit asks for, in order of arrival."""

    async def scenario() -> None:
        clock = FakeClock()
        limit = RateLimit(requests_per_minute=60_000, burst=0.01, clock=clock)
        served: list[int] = []
        answer = await ScriptedTransport("Hi")(ASK)

        async def backend(request: Request) -> Response:
            served.append(request.attempt)
            return answer

        pipeline = Pipeline([limit], backend, clock=clock)
        requests = [attrs.evolve(ASK, attempt=number) for number in range(10_000)]
        await asyncio.gather(*map(pipeline, requests))
        assert served == list(range(10_000))
        assert clock.monotonic() == pytest.approx(9.4, abs=0.1)

    play(scenario)


def test_clocks_on_walls_do_not_matter() -> None:
    """A wall clock that jumps by years and back changes no wait."""

    class Jumping(FakeClock):
        def time(self) -> float:
            return random.Random(self.monotonic()).uniform(0, 4e9)

    async def scenario() -> None:
        clock = Jumping()
        backend = Backend(clock)
        backend.headers = {**openai(10, 0, "2027-01-02T12:00:19Z"), "date": "Sat, 02 Jan 2027 12:00:00 GMT"}
        pipeline = Pipeline([RateLimit(clock=clock)], backend, clock=clock)
        for _ in range(4):
            await pipeline(ASK)
        assert backend.asked == pytest.approx([0.0, 2.0, 4.0, 6.0])

    play(scenario)


# Tokens ...


def sized(max_tokens: int, **fields) -> Request:
    return attrs.evolve(ASK, params={"max_tokens": max_tokens}, model="gpt-4o", **fields)


PROMPT = 8
"""The tokens of ASK's prompt for gpt-4o."""


def test_tokens_per_minute_are_reserved_from_the_count() -> None:
    """The prompt as the model counts it, and the answer at its largest."""

    async def scenario() -> None:
        here = world(tokens_per_minute=600)
        await here.calls(2, sized(300 - PROMPT))
        await here.call(sized(50 - PROMPT))
        assert here.backend.asked == pytest.approx([0.0, 0.0, 5.0])

    play(scenario)


def test_usage_corrects_what_was_reserved() -> None:
    """What was not used is there again at once, also for those who wait already; what was used beyond is owed."""

    async def scenario() -> None:
        here = world(2.0, usage=Usage(8, 22, 30), tokens_per_minute=600)
        await here.calls(2, sized(600 - PROMPT))
        assert here.backend.asked == pytest.approx([0.0, 2.0 + 10 / 10])
        here = world(usage=Usage(8, 1192, 1200), tokens_per_minute=600)
        await here.call(sized(100 - PROMPT))
        await here.call(sized(100 - PROMPT))
        first, second = here.backend.asked
        assert second - first == pytest.approx((1200 - 600 + 100) / 10)

    play(scenario)


def test_an_answer_that_nobody_bounds_is_guessed_and_learned() -> None:
    """512 tokens at first, then what answers have cost."""

    async def scenario() -> None:
        here = world(usage=Usage(8, 92, 100), tokens_per_minute=6000, burst=0.1)
        request = attrs.evolve(ASK, model="gpt-4o")
        await here.call(request)
        pace = here.limit._gates.find("gpt-4o").pace
        assert pace.answer == 512 - (512 - 92) / 8
        for _ in range(40):
            await here.call(request)
        assert pace.answer == pytest.approx(92, abs=5)

    play(scenario)


def test_a_call_that_could_never_fit_is_rejected() -> None:
    """It says by how much; a guess about its answer is no reason to."""

    async def scenario() -> None:
        here = world(tokens_per_minute=100)
        await here.call(sized(200 - PROMPT))
        (error,) = here.errors
        assert isinstance(error, LimitExceededError)
        assert not error.retryable
        assert error.retry_after is None
        assert "200 tokens, more than tokens_per_minute=100" in str(error)
        await here.call(attrs.evolve(ASK, model="gpt-4o"))
        assert here.backend.asked == [0.0]

    play(scenario)


def test_a_refused_call_used_no_tokens() -> None:
    """What the backend refused by its status is given back; its request is not."""

    async def scenario() -> None:
        clock = FakeClock()
        limit = RateLimit(tokens_per_minute=600, clock=clock)
        backend = Backend(clock)
        backend.failures.extend([BackendFailure(400, {}, "no"), BackendFailure(503, {}, "busy")])
        here = World(limit, backend, Pipeline([limit, ErrorClassifier()], backend, clock=clock), clock)
        for _ in range(3):
            await here.call(sized(600 - PROMPT))
        assert here.backend.asked == [0.0] * 3
        backend.failures.append(ConnectionResetError())  # it may have been at work
        await clock.sleep(60.0)
        await here.call(sized(600 - PROMPT))
        await here.call(sized(60 - PROMPT))
        assert here.backend.asked[-2:] == pytest.approx([60.0, 66.0])

    play(scenario)


def test_a_stream_that_fails_has_used_tokens() -> None:
    """Its status was 200 when it began: nothing is given back."""

    async def scenario() -> None:
        clock = FakeClock()
        limit = RateLimit(tokens_per_minute=600, clock=clock)
        broken = BackendFailure(200, {}, '{"error": {"code": 500}}', surface="stream")
        transport = ScriptedTransport([TextDelta("a"), broken], "Hi")
        pipeline = Pipeline([limit, ErrorClassifier()], transport, clock=clock)
        async with await pipeline(sized(600 - PROMPT, stream=True)) as response:
            with pytest.raises(LLMError):
                await response.completion()
        await pipeline(sized(300 - PROMPT))
        assert clock.monotonic() == pytest.approx(30.0)

    play(scenario)


def test_a_stream_pays_when_it_has_settled() -> None:
    """The usage comes with its end; a stream that was left keeps what it reserved."""

    async def scenario() -> None:
        clock = FakeClock()
        limit = RateLimit(tokens_per_minute=600, clock=clock)
        usage = UsageEvent(Usage(8, 22, 30))
        transport = ScriptedTransport([TextDelta("a"), 1.0, TextDelta("b"), usage, Finish("stop")])
        pipeline = Pipeline([limit], transport, clock=clock)
        request = sized(600 - PROMPT, stream=True)
        async with await pipeline(request) as response:
            await response.completion()
        assert clock.monotonic() == 1.0
        async with await pipeline(request):
            assert clock.monotonic() == pytest.approx(1.0 + 20 / 10)
        async with await pipeline(sized(60 - PROMPT, stream=True)):
            assert clock.monotonic() == pytest.approx(3.0 + 60 / 10)

    play(scenario)


# What headers teach ...


def test_the_backends_limit_is_kept_before_it_refuses() -> None:
    """Two of ten remain, eight come back in eight seconds: of six calls two go at once, the others by the second."""

    async def scenario() -> None:
        here = world()
        here.backend.headers = openai(10, 2, "8s")
        await here.call()
        here.backend.headers = {}
        await here.calls(6)
        assert here.backend.asked[1:] == pytest.approx([0.0, 0.0, 1.0, 2.0, 3.0, 4.0])

    play(scenario)


def test_a_refusal_teaches_too() -> None:
    """Its headers are those of the answer that the classifier kept."""

    async def scenario() -> None:
        here = world(inner=[ErrorClassifier()])
        here.backend.failures.append(BackendFailure(500, openai(10, 0, "10s"), "sorry"))
        await here.call()
        await here.call()
        assert here.backend.asked == pytest.approx([0.0, 1.0])

    play(scenario)


def test_headers_that_tell_too_little_teach_nothing() -> None:
    """Azure tells what remains, but neither of how much nor when it is back."""

    async def scenario() -> None:
        here = world()
        here.backend.headers = {"x-ratelimit-remaining-requests": "0"}
        await here.calls(3)
        assert len(here.limit._gates) == 0

    play(scenario)


def test_a_wait_for_the_backends_limit_may_be_too_long_as_well() -> None:
    """Then the call is rejected at once, and the fallback may act."""

    async def scenario() -> None:
        here = world()
        here.backend.headers = {**openai(10, 0, "10s")}
        await here.call()
        await here.call(attrs.evolve(ASK, extensions={"max_wait": 0.5}))
        (error,) = here.errors
        assert error.retry_after == pytest.approx(1.0)
        assert "the backend's limit on requests" in str(error)

    play(scenario)


@pytest.mark.parametrize(("params", "answer"), [({"max_tokens": 40}, 40), ({}, 512)])
def test_tokens_that_headers_limit_are_measured_roughly(params, answer: int) -> None:
    """A quarter of the characters, and the answer's bound or a typical answer; no vocabulary is built for that."""

    async def scenario() -> None:
        here = world()
        here.backend.headers = {
            "x-ratelimit-limit-tokens": "1000",
            "x-ratelimit-remaining-tokens": "100",
            "x-ratelimit-reset-tokens": "90s",
        }
        request = attrs.evolve(ASK, messages=({"role": "user", "content": "x" * 600},), params=params)
        await here.call(request)
        here.backend.headers = {}
        await here.call(request)
        assert here.backend.asked == pytest.approx([0.0, (150 + 4 + answer - 100) / 10])

    play(scenario)


class Metered(Backend):
    """Has a bucket of its own, says so in OpenAI's headers, and refuses what exceeds it."""

    def __init__(self, clock: FakeClock, limit: int, seconds: float) -> None:
        super().__init__(clock, seconds)
        self.limit = limit
        self.level, self.at = float(limit), 0.0
        self.refused = 0

    async def __call__(self, request: Request) -> Response:
        now = self.clock.monotonic()
        self.level, self.at = min(self.limit, self.level + (now - self.at) * self.limit / 60), now
        if self.level < 1:
            self.refused += 1
            wait = f"{(1 - self.level) * 60000 / self.limit:.0f}"
            raise BackendFailure(429, {**self.told(), "retry-after-ms": wait}, "too many")
        self.level -= 1
        self.headers = self.told()
        return await super().__call__(request)

    def told(self) -> dict[str, str]:
        reset = (self.limit - int(self.level)) * 60 / self.limit
        return openai(self.limit, int(self.level), f"{reset:.3f}s")


@pytest.mark.parametrize(("seconds", "callers"), [(0.3, 8), (5.0, 20)])
def test_with_demand_nearly_all_is_used_and_nearly_nothing_refused(seconds: float, callers: int) -> None:
    """Over five minutes: at least 95 % of what the backend allows, and refusals for less than 3 % of it."""

    async def scenario() -> None:
        clock = FakeClock()
        backend = Metered(clock, 60, seconds)
        limit = RateLimit(clock=clock, rng=random.Random(1))
        stack = [Retry(clock=clock, rng=random.Random(1)), limit, ErrorClassifier(clock=clock)]
        here = World(limit, backend, Pipeline(stack, backend, clock=clock), clock)

        async def keep_asking() -> None:
            while clock.monotonic() < 300.0:
                await here.call()

        await asyncio.gather(*(keep_asking() for _ in range(callers)))
        served = sum(at < 300.0 for at in backend.asked)
        assert served >= 0.95 * (60 + 300)
        assert backend.refused <= 0.03 * served
        assert not here.errors

    play(scenario)


# The shared cool-down ...


def cooled(number: int, **options) -> World:
    """After one call was refused for a second, with so many of its siblings begun."""
    here = world(**options)
    here.backend.failures.append(LIMITED)
    return here


def test_one_refusal_holds_back_all_siblings() -> None:
    """None before the second is over, over a quarter of a second at least, latecomers too; another model is free."""

    async def scenario() -> None:
        here = cooled(0)
        await here.call()
        others = [here.call(after=number / 100) for number in range(99)]
        await asyncio.gather(*others, here.call(attrs.evolve(ASK, model="other"), after=0.5))
        at = sorted(
            time for time, name in zip(here.backend.asked, here.backend.names, strict=True) if name == "m"
        )
        assert len(at) == 100
        assert at[1] >= 1.0
        assert at[-1] <= 1.3
        assert at[-1] - at[1] >= 0.25
        assert here.backend.asked[here.backend.names.index("other")] == 0.5

    play(scenario)


def test_a_longer_wait_is_spread_further() -> None:
    """Over a tenth of what is left."""

    async def scenario() -> None:
        here = world()
        here.backend.failures.append(ModelRateLimitedError("slow down", retry_after=40.0))
        await here.call()
        await here.calls(99)
        at = here.backend.asked[1:]
        assert min(at) >= 40.0
        assert 43.0 <= max(at) <= 44.0

    play(scenario)


def test_refusals_of_calls_in_flight_prolong_it() -> None:
    """As far as they ask for; the successes of calls in flight do not end it."""

    async def scenario() -> None:
        here = world(0.5)
        here.backend.failures.extend([LIMITED, ModelRateLimitedError("slow down", retry_after=2.0)])
        tasks = here.starting(3)
        await asyncio.sleep(0.6)
        await here.call()
        assert 2.5 <= here.backend.asked[3] <= 2.8
        await asyncio.gather(*tasks)

    play(scenario)


def test_without_a_word_it_is_short_and_doubles() -> None:
    """Half a second, one, two; a success ends the series."""

    async def scenario() -> None:
        here = world()
        here.limit.rng.uniform = lambda low, _: low
        silent = ModelRateLimitedError("slow down")
        here.backend.failures.extend([silent, silent, silent])
        for _ in range(4):
            await here.call()
        here.backend.failures.append(silent)
        await here.call()
        await here.call()
        assert here.backend.asked == pytest.approx([0.0, 0.5, 1.5, 3.5, 3.5, 4.0])

    play(scenario)


def test_a_cool_down_that_is_too_long_is_not_waited_for() -> None:
    """Beyond `max_server_delay`, the deadline, or `max_wait`, calls are rejected at once."""

    async def scenario() -> None:
        here = world(max_server_delay=30.0)
        here.backend.failures.append(ModelRateLimitedError("slow down", retry_after=40.0))
        await here.call()
        await here.call()
        await here.call(after=20.0, request=due(30.0))
        await here.call(attrs.evolve(ASK, extensions={"max_wait": 19.0}))
        here.limit.rng.uniform = lambda _, high: high
        await here.call(due(41.0))  # its share of the spread ends later
        assert here.backend.asked == [0.0]
        rejected = here.errors[1:]
        assert [error.code for error in rejected] == ["LIMIT_EXCEEDED"] * 4
        assert rejected[0].retry_after == 40.0
        assert all(20.0 <= error.retry_after <= 22.0 for error in rejected[1:])
        assert all("cool-down" in error.message for error in rejected)
        assert here.clock.monotonic() == 20.0

    play(scenario)


def test_nobody_is_locked_out_for_a_day() -> None:
    """A backend that asks for one is asked again after `max_cooldown`."""

    async def scenario() -> None:
        here = world(max_cooldown=50.0)
        here.backend.failures.append(ModelRateLimitedError("slow down", retry_after=86400.0))
        await here.call()
        await here.call()
        assert 50.0 <= here.backend.asked[1] <= 55.0

    play(scenario)


@pytest.mark.parametrize(
    "error",
    [
        ModelRateLimitedError("request too large", retryable=False, retry_after=5.0),
        ModelOverloadedError("busy", retry_after=5.0),
    ],
    ids=["too large", "overloaded"],
)
def test_what_concerns_one_call_holds_back_no_other(error: LLMError) -> None:
    """A request too large for the allowance says nothing of others; overload is the breaker's."""

    async def scenario() -> None:
        here = world()
        here.backend.failures.append(error)
        await here.call()
        await here.call()
        assert here.backend.asked == [0.0, 0.0]

    play(scenario)


def test_a_stream_refused_in_its_middle_holds_back_the_others() -> None:
    """Backends that have begun with a 200 send their refusal as an event."""

    async def scenario() -> None:
        clock = FakeClock()
        limit = RateLimit(clock=clock)
        transport = ScriptedTransport([TextDelta("a"), 1.0, LIMITED], "Hi")
        pipeline = Pipeline([limit], transport, clock=clock)
        async with await pipeline(attrs.evolve(ASK, stream=True)) as response:
            with pytest.raises(ModelRateLimitedError):
                await response.completion()
        await pipeline(ASK)
        assert 2.0 <= clock.monotonic() <= 2.3

    play(scenario)


def test_who_waits_in_line_is_held_back_too() -> None:
    """A cool-down that begins meanwhile goes before the turn; then the limit counts again."""

    async def scenario() -> None:
        here = world(0.5, requests_per_minute=60, burst=0.01)
        here.backend.failures.append(ModelRateLimitedError("slow down", retry_after=5.0))
        await here.calls(3)
        _, second, third = here.backend.asked
        assert 5.5 <= second <= 6.0
        assert third == pytest.approx(second + 1.0)

    play(scenario)


def test_retry_and_the_cool_down_wait_together() -> None:
    """The refused call waits as it was told, and passes a gate that has opened by then."""

    async def scenario() -> None:
        here = world()
        here.backend.failures.append(LIMITED)
        stack = [Retry(clock=here.clock, rng=random.Random(1)), here.limit]
        here.pipeline = Pipeline(stack, here.backend, clock=here.clock)
        await here.call()
        assert not here.errors
        assert 1.0 <= here.backend.asked[1] <= 1.25

    play(scenario)


def test_calls_that_queue_behind_it_are_held_back_too() -> None:
    """Behind a concurrency limit waits who has passed already: `recheck` sends it back, and no permit is held."""

    async def scenario() -> None:
        clock = FakeClock()
        limit = RateLimit(clock=clock, rng=random.Random(1))
        permits = ConcurrencyLimit(2, clock=clock)
        backend = Backend(clock, 0.1)
        backend.failures.append(LIMITED)
        here = World(limit, backend, Pipeline([limit, permits, limit.recheck], backend, clock=clock), clock)
        tasks = here.starting(100)
        await asyncio.sleep(0.5)
        assert len(backend.asked) == 2  # those that were on the wire
        assert len(permits._permits._free) == 2
        assert len(permits._line) == 0
        await asyncio.gather(*tasks)
        assert len(here.errors) == 1
        assert min(backend.asked[2:]) >= 1.1
        assert len(backend.asked) == 100

    play(scenario)


def test_a_cancelled_sleeper_leaves_nothing() -> None:
    """Neither in the line nor on the books."""

    async def scenario() -> None:
        here = world(requests_per_minute=60)
        here.backend.failures.append(LIMITED)
        await here.call()
        tasks = here.starting(3)
        await asyncio.sleep(0.5)
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len(here.backend.asked) == 3
        assert len(here.limit._gates.find("m").line) == 0

    play(scenario)


# The spent quota ...


def test_a_spent_quota_is_not_asked_again_for_a_while() -> None:
    """All models of the key are answered here, with what is left of the time; then the backend is asked again."""

    async def scenario() -> None:
        here = world(inner=[ErrorClassifier(backend="openai")])
        body = '{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}'
        here.backend.failures.append(BackendFailure(429, {}, body))
        await here.call()
        await here.call(attrs.evolve(ASK, model="other"), after=100.0)
        assert here.backend.asked == [0.0]
        first, second = here.errors
        assert isinstance(second, ModelQuotaExceededError)
        assert (first.local, second.local) == (False, True)
        assert (second.retry_after, second.backend, second.model) == (200.0, "openai", "other")
        assert "You exceeded your current quota" in str(second)
        await here.call(after=200.0)
        assert here.backend.asked == [0.0, 300.0]

    play(scenario)


def test_a_quota_spent_while_calls_wait_ends_their_wait() -> None:
    """Whoever waits for an allowance learns of it when its turn comes, and the others at once."""

    async def scenario() -> None:
        here = world(5.0, requests_per_minute=60, burst=0.01)
        here.backend.failures.append(ModelQuotaExceededError("pay"))
        tasks = here.starting(50)
        await asyncio.gather(*tasks)
        assert here.backend.asked == pytest.approx([0.0, 1.0, 2.0, 3.0, 4.0])
        assert sum(error.local for error in here.errors) == 45
        assert sorted(here.ended)[:46] == [5.0] * 46

    play(scenario)


def test_a_rejection_counts_as_none_of_the_attempts() -> None:
    """Nothing was sent, and the trace knows."""

    async def scenario() -> None:
        here = world(max_cooldown=10.0)
        here.backend.failures.append(ModelQuotaExceededError("pay"))
        stack = [Retry(clock=here.clock), here.limit]
        here.pipeline = Pipeline(stack, here.backend, clock=here.clock)
        await here.call()
        await here.call()
        assert [error.attempts for error in here.errors] == [1, 0]

    play(scenario)


# Many ...


def test_the_number_of_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who know nothing worth keeping go first; who holds somebody back stays."""
    monkeypatch.setattr(gates, "MAX_GATES", 3)

    async def scenario() -> None:
        here = world(requests_per_minute=60)
        here.backend.failures.append(LIMITED)
        for number in range(10):
            await here.call(attrs.evolve(ASK, model=f"m{number}"), after=10.0 if number else 0.0)
        assert len(here.limit._gates) == 3
        await here.clock.sleep(100.0)
        here.backend.failures.append(ModelRateLimitedError("slow down", retry_after=50.0))
        await here.call(attrs.evolve(ASK, model="cooling"))
        for number in range(20, 30):
            await here.call(attrs.evolve(ASK, model=f"m{number}"))
        assert here.limit._gates.find("cooling") is not None
        assert len(here.limit._gates) > 3  # all of them are in use
        await here.clock.sleep(100.0)
        await here.call(attrs.evolve(ASK, model="last"))
        assert len(here.limit._gates) == 3

    play(scenario)


def test_who_waits_keeps_his_key_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line is not forgotten, though only headers taught why it waits."""
    monkeypatch.setattr(gates, "MAX_GATES", 1)

    async def scenario() -> None:
        here = world()
        here.backend.headers = openai(10, 0, "100s")
        await here.call()
        waiting = here.starting(1)
        await asyncio.sleep(1.0)
        await here.call(attrs.evolve(ASK, model="other"))
        assert here.limit._gates.find("m") is not None
        await asyncio.gather(*waiting)
        assert here.backend.asked == pytest.approx([0.0, 1.0, 10.0])

    play(scenario)


def test_one_limit_over_loops_in_threads() -> None:
    """Four loops share an allowance: together they send no more than it holds."""
    limit = RateLimit(requests_per_minute=12_000, burst=1 / 60)
    sent: deque[float] = deque()
    transport = ScriptedTransport("Hi")

    async def calls() -> None:
        async def note(request, call_next):
            sent.append(limit.clock.monotonic())
            return await call_next(request)

        pipeline = Pipeline([limit, note], transport)
        await asyncio.gather(*(pipeline(ASK) for _ in range(75)))

    threads = [threading.Thread(target=asyncio.run, args=(calls(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    at = sorted(sent)
    assert len(at) == 300
    assert at[-1] - at[0] >= 0.45  # 200 at once, 100 at 200 a second
    for first in range(0, 300, 10):
        for last in range(first, 300):
            assert last - first + 1 <= 200 + 200 * (at[last] - at[first]) + 1
    assert len(limit._gates.find("m").line) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"requests_per_minute": 0},
        {"tokens_per_minute": -1},
        {"burst": 0},
        {"burst": 1.5},
        {"max_server_delay": -1},
        {"max_cooldown": 0},
        {"requests_per_minute": "60"},
    ],
)
def test_impossible_options_are_rejected(options) -> None:
    """Wrong types and ranges fail at construction, naming the option."""
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        RateLimit(**options)


def test_recheck_alone_only_looks() -> None:
    """In a stack without its stage it rejects during a cool-down, and lets through otherwise."""

    async def scenario() -> None:
        here = world()
        pipeline = Pipeline([here.limit.recheck], here.backend, clock=here.clock)
        await pipeline(ASK)
        here.backend.failures.append(LIMITED)
        await here.call()
        with pytest.raises(LimitExceededError) as caught:
            await pipeline(ASK)
        assert caught.value.retry_after == 1.0
        assert len(here.backend.asked) == 2

    play(scenario)
