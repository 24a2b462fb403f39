"""The circuit breaker as a stage: who may call, what counts, who is told."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import threading
from collections import Counter
from datetime import timedelta

import aiobreaker
import attrs
import pytest
from aiobreaker import CircuitBreakerListener, CircuitBreakerState

from resilient_llm.commit import commit
from resilient_llm.errors import (
    CircuitOpenError,
    LLMError,
    ModelAuthError,
    ModelContextLengthError,
    ModelOverloadedError,
    ModelRateLimitedError,
    ModelResponseInvalidError,
    ModelTimeoutError,
    ModelUnavailableError,
)
from resilient_llm.events import Finish, TextDelta, ToolCallDelta, Waiting
from resilient_llm.middleware.circuit_breaker import CircuitBreaker
from resilient_llm.models import Request
from resilient_llm.pipeline import Pipeline
from resilient_llm.policy.circuit_options import CircuitOptions
from resilient_llm.policy.circuit_states import State
from resilient_llm.response import Response, ResponseInfo
from resilient_llm.testing import FakeClock, ScriptedTransport

REQUEST = Request(model="m")
STREAM = Request(model="m", stream=True)
DOWN = ModelUnavailableError("no connection")


class Middle(random.Random):
    """Draws that leave times as they are."""

    def random(self) -> float:
        return 0.5


class Gate:
    """A transport whose answers come when the test opens the gate."""

    def __init__(self, *before: object, after: object = None) -> None:
        self.calls = 0
        self.request: Request | None = None
        self.open = asyncio.Event()
        self.reached = asyncio.Event()
        self._before, self._after = before, after

    async def __call__(self, request: Request) -> Response:
        self.calls += 1
        self.request = request
        return await commit(_GatedBody(self, list(self._before), self._after), request)


@attrs.define
class _GatedBody:
    gate: Gate
    before: list
    after: object
    info: ResponseInfo = attrs.field(factory=ResponseInfo)

    async def receive(self) -> list:
        if self.before:
            return [self.before.pop(0)]
        self.gate.reached.set()
        await self.gate.open.wait()
        if isinstance(self.after, Exception):
            raise self.after
        return [Finish("stop")]

    def close(self) -> None:
        pass


class Recorder(CircuitBreakerListener):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple] = []

    def before_call(self, breaker, func, *args, **kwargs):
        self.told.append(("before_call", breaker.name, func, args, kwargs))

    def success(self, breaker):
        self.told.append(("success", breaker.current_state, breaker.fail_counter))

    def failure(self, breaker, exception):
        self.told.append(("failure", exception, breaker.fail_counter, breaker.fail_max))

    def state_change(self, breaker, old, new):
        self.told.append(("state_change", old.state, new.state))

    @property
    def names(self) -> list[str]:
        return [what for what, *_ in self.told]


class Raiser(CircuitBreakerListener):
    """Raises whatever it is told."""

    def _raise(self, *args, **kwargs):
        msg = "listener's own bug"
        raise RuntimeError(msg)

    before_call = success = failure = state_change = _raise


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def breaker(clock: FakeClock) -> CircuitBreaker:
    return CircuitBreaker(clock=clock, rng=Middle())


async def attempt(breaker: CircuitBreaker, transport: object, request: Request = REQUEST) -> str:
    async with await breaker(request, transport) as response:
        return (await response.completion()).text


async def fail(breaker: CircuitBreaker, times: int = 5, error: Exception = DOWN) -> None:
    for _ in range(times):
        with pytest.raises(type(error)):
            await attempt(breaker, ScriptedTransport(error))


async def half_open(breaker: CircuitBreaker, clock: FakeClock) -> None:
    await fail(breaker)
    clock.advance(30)


def state(breaker: CircuitBreaker) -> State:
    return breaker.circuit("m").state


# Calls ...


async def test_calls_pass_while_the_circuit_is_closed(breaker: CircuitBreaker):
    """The answer comes through untouched, whole or streamed."""
    transport = ScriptedTransport("Hello, world!")
    assert await attempt(breaker, transport) == "Hello, world!"
    assert await attempt(breaker, transport, STREAM) == "Hello, world!"
    assert transport.requests == [REQUEST, STREAM]
    assert transport.requests[0] is REQUEST


async def test_an_open_circuit_sends_nothing(breaker: CircuitBreaker):
    """The rejection says when to come back, why, and which model."""
    await fail(breaker)
    transport = ScriptedTransport("never")
    with pytest.raises(CircuitOpenError) as caught:
        await attempt(breaker, transport)
    assert transport.requests == []
    assert caught.value.retry_after == pytest.approx(30)
    assert caught.value.__cause__ is DOWN
    assert caught.value.model == "m"


async def test_a_rejection_is_caught_by_code_written_for_aiobreaker(breaker: CircuitBreaker):
    """`CircuitOpenError` is an `aiobreaker.CircuitBreakerError`, with its attributes."""
    await fail(breaker)
    with pytest.raises(aiobreaker.CircuitBreakerError) as caught:
        await attempt(breaker, ScriptedTransport("never"))
    assert caught.value.time_remaining == timedelta(seconds=30)


async def test_the_circuit_closes_by_itself(breaker: CircuitBreaker, clock: FakeClock):
    """After the timer one good call is enough."""
    await half_open(breaker, clock)
    assert await attempt(breaker, ScriptedTransport("well again")) == "well again"
    assert state(breaker) is State.CLOSED


async def test_a_thousand_callers_at_a_half_open_circuit_make_exactly_one_call(
    breaker: CircuitBreaker, clock: FakeClock
):
    """All others are rejected with `retry_after`; nothing waits."""
    await half_open(breaker, clock)
    gate = Gate(TextDelta("yes"))
    calls = [asyncio.create_task(attempt(breaker, gate)) for _ in range(1000)]
    await gate.reached.wait()
    await asyncio.sleep(0)
    gate.open.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert gate.calls == 1
    assert Counter(map(type, results)) == {str: 1, CircuitOpenError: 999}
    assert all(error.retry_after > 0 for error in results if isinstance(error, CircuitOpenError))
    assert state(breaker) is State.CLOSED


# What counts ...


@pytest.mark.parametrize(
    "error",
    [
        DOWN,
        ModelOverloadedError("full"),
        ModelTimeoutError("silent"),
        ModelResponseInvalidError("garbage"),
        ModelAuthError("the gateway is ill", backend_fault=True),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_the_backends_faults_open_the_circuit(breaker: CircuitBreaker, error: LLMError):
    """Whatever error says so itself."""
    await fail(breaker, 5, error)
    assert state(breaker) is State.OPEN


@pytest.mark.parametrize(
    "error",
    [
        ModelAuthError("no key"),
        ModelRateLimitedError("slow down"),
        ModelContextLengthError("too long"),
        ModelTimeoutError("given 1 s", backend_fault=False),
        RuntimeError("a bug in a stage"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_errors_that_are_not_the_backends_fault_are_neutral(
    breaker: CircuitBreaker, clock: FakeClock, error: Exception
):
    """They open nothing, break no run of failures, close nothing, and give the probe's slot back."""
    await fail(breaker, 20, error)
    await fail(breaker, 4)
    await fail(breaker, 20, error)
    assert state(breaker) is State.CLOSED
    await fail(breaker, 1)
    assert state(breaker) is State.OPEN
    clock.advance(30)
    await fail(breaker, 3, error)
    assert state(breaker) is State.HALF_OPEN
    await attempt(breaker, ScriptedTransport("well again"))
    assert state(breaker) is State.CLOSED


@pytest.mark.parametrize("excluded", [ModelUnavailableError, lambda error: "connection" in str(error)])
async def test_excluded_errors_are_neutral(clock: FakeClock, excluded: object):
    """Classes and functions both; what they do not match still counts."""
    breaker = CircuitBreaker(exclude=[excluded], clock=clock)
    await fail(breaker, 20)
    assert state(breaker) is State.CLOSED
    await fail(breaker, 5, ModelOverloadedError("full"))
    assert state(breaker) is State.OPEN


async def test_an_exclusion_that_raises_is_logged_and_excludes_nothing(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
):
    """The caller sees the backend's error, and the failure counts."""
    breaker = CircuitBreaker(exclude=[lambda error: error.no_such_attribute], clock=clock)
    with caplog.at_level(logging.ERROR, "resilient_llm"):
        await fail(breaker, 5)
    assert state(breaker) is State.OPEN
    assert "exclude raised" in caplog.text


async def test_a_cancelled_call_is_neutral(breaker: CircuitBreaker):
    """Callers who leave say nothing about the backend."""
    for _ in range(20):
        gate = Gate()
        call = asyncio.create_task(attempt(breaker, gate))
        await gate.reached.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert state(breaker) is State.CLOSED
    assert breaker.circuit("m").spotless(0.0)


async def test_a_cancelled_probe_returns_its_slot(breaker: CircuitBreaker, clock: FakeClock):
    """The very next call is the next probe."""
    await half_open(breaker, clock)
    gate = Gate()
    probe = asyncio.create_task(attempt(breaker, gate))
    await gate.reached.wait()
    with pytest.raises(CircuitOpenError):
        await attempt(breaker, ScriptedTransport("never"))
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert state(breaker) is State.HALF_OPEN
    await attempt(breaker, ScriptedTransport("well again"))
    assert state(breaker) is State.CLOSED


async def test_a_handler_that_raises_before_it_awaits_gives_the_slot_back(
    breaker: CircuitBreaker, clock: FakeClock
):
    """A plain function may be the next stage; its bug does not hold the probe for minutes."""

    def broken(_request: Request):
        msg = "bug"
        raise RuntimeError(msg)

    await half_open(breaker, clock)
    with pytest.raises(RuntimeError):
        await breaker(REQUEST, broken)
    await attempt(breaker, ScriptedTransport("well again"))
    assert state(breaker) is State.CLOSED


async def test_a_late_success_does_not_close_an_open_circuit(breaker: CircuitBreaker):
    """A call from before the opening ends well: the circuit stays open."""
    gate = Gate(TextDelta("slow"))
    call = asyncio.create_task(attempt(breaker, gate))
    await gate.reached.wait()
    await fail(breaker)
    gate.open.set()
    assert await call == "slow"
    assert state(breaker) is State.OPEN


# Streams ...


async def test_a_stream_that_breaks_is_a_failure(breaker: CircuitBreaker):
    """Five broken streams open the circuit though each began well."""
    transport = ScriptedTransport([TextDelta("Once"), DOWN])
    for _ in range(5):
        assert state(breaker) is State.CLOSED
        with pytest.raises(ModelUnavailableError):
            await attempt(breaker, transport, STREAM)
    assert state(breaker) is State.OPEN


async def test_a_stream_that_its_reader_leaves_is_neutral(breaker: CircuitBreaker):
    """Neither a success that ends a run of failures nor a failure."""
    await fail(breaker, 4)
    async with await breaker(STREAM, ScriptedTransport("a b c")) as response:
        async for _ in response:
            break
    assert breaker.circuit("m").fail_counter == 4


async def test_a_streamed_probe_settles_at_its_first_content_on_the_wire(
    breaker: CircuitBreaker, clock: FakeClock
):
    """Held back from the caller or not: others pass while the stream has not even been handed over."""
    await half_open(breaker, clock)
    gate = Gate(ToolCallDelta(0, "id", "f", '{"a'))
    probe = asyncio.create_task(breaker(STREAM, gate))
    await gate.reached.wait()
    assert not probe.done()
    assert state(breaker) is State.CLOSED
    assert await attempt(breaker, ScriptedTransport("me too")) == "me too"
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert state(breaker) is State.CLOSED


async def test_a_whole_probe_settles_at_its_end(breaker: CircuitBreaker, clock: FakeClock):
    """Content on the way of a whole call proves nothing yet."""
    await half_open(breaker, clock)
    gate = Gate(TextDelta("half of"), after=DOWN)
    probe = asyncio.create_task(attempt(breaker, gate))
    await gate.reached.wait()
    assert state(breaker) is State.HALF_OPEN
    gate.open.set()
    with pytest.raises(ModelUnavailableError):
        await probe
    assert state(breaker) is State.OPEN


async def test_a_streamed_probe_that_breaks_later_is_one_failure_of_the_closed_circuit(
    breaker: CircuitBreaker, clock: FakeClock
):
    """The first content closed it; the break begins a new run."""
    await half_open(breaker, clock)
    with pytest.raises(ModelUnavailableError):
        await attempt(breaker, ScriptedTransport([TextDelta("Once"), DOWN]), STREAM)
    assert state(breaker) is State.CLOSED
    assert breaker.circuit("m").fail_counter == 1


async def test_a_streamed_probe_that_fails_before_content_opens_the_circuit_again(
    breaker: CircuitBreaker, clock: FakeClock
):
    """And for twice as long."""
    await half_open(breaker, clock)
    with pytest.raises(ModelUnavailableError):
        await attempt(breaker, ScriptedTransport(DOWN), STREAM)
    with pytest.raises(CircuitOpenError) as caught:
        await attempt(breaker, ScriptedTransport("never"))
    assert caught.value.retry_after == pytest.approx(60)


async def test_only_content_proves_a_streamed_probe(breaker: CircuitBreaker, clock: FakeClock):
    """A notice of another kind leaves the circuit half-open."""
    await half_open(breaker, clock)
    gate = Gate()
    probe = asyncio.create_task(breaker(STREAM, gate))
    await gate.reached.wait()
    assert gate.request is not None
    gate.request.tell(Waiting(1.0, DOWN, attempt=1))
    assert state(breaker) is State.HALF_OPEN
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe


async def test_observers_that_were_there_before_the_probe_are_still_told(
    breaker: CircuitBreaker, clock: FakeClock
):
    """The breaker adds its own behind them, to a copy of the request, and only to a streamed probe's."""
    await half_open(breaker, clock)
    told = []
    transport = ScriptedTransport("a b")
    request = attrs.evolve(STREAM, observers=(told.append,))
    await attempt(breaker, transport, request)
    await attempt(breaker, transport, request)
    assert told
    assert len(request.observers) == 1
    assert [len(seen.observers) for seen in transport.requests] == [2, 1]


# Leases ...


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({}, 605.0),
        ({"extensions": {"attempt_timeout": 20.0}}, 25.0),
        ({"extensions": {"attempt_timeout": None}}, 605.0),
        ({"extensions": {"attempt_timeout": 3600.0}}, 3605.0),
        ({"extensions": {"first_token_timeout": 20.0}}, 605.0),
        ({"extensions": {"first_token_timeout": 20.0}, "stream": True}, 25.0),
        ({"extensions": {"attempt_timeout": 20.0}, "stream": True}, 25.0),
        ({"extensions": {"attempt_timeout": 20.0, "first_token_timeout": None}, "stream": True}, 605.0),
        ({"deadline": 40.0}, 15.0),
        ({"deadline": 10.0}, 5.0),
        ({"deadline": 40.0, "extensions": {"attempt_timeout": 3.0}}, 8.0),
    ],
)
async def test_a_probes_lease_is_the_limit_in_force_and_five_seconds(
    breaker: CircuitBreaker, clock: FakeClock, options: dict, seconds: float
):
    """A probe that hangs is replaced then, and not before."""
    await half_open(breaker, clock)
    gate = Gate()
    probe = asyncio.create_task(attempt(breaker, gate, Request(model="m", **options)))
    await gate.reached.wait()
    clock.advance(seconds - 0.001)
    with pytest.raises(CircuitOpenError):
        await attempt(breaker, ScriptedTransport("never"))
    clock.advance(0.002)
    assert await attempt(breaker, ScriptedTransport("second probe")) == "second probe"
    assert state(breaker) is State.CLOSED
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe


# Peek ...


async def test_peek_rejects_what_the_breaker_would_reject(breaker: CircuitBreaker):
    """With the same error, before anything further in is called."""
    await fail(breaker)
    with pytest.raises(CircuitOpenError) as caught:
        await breaker.peek(REQUEST, ScriptedTransport("never"))
    assert caught.value.retry_after == pytest.approx(30)
    assert caught.value.model == "m"
    assert caught.value.__cause__ is DOWN


async def test_peek_claims_nothing(breaker: CircuitBreaker, clock: FakeClock):
    """A request passes its own breaker's peek and is then the probe; unknown keys get no circuit."""
    transport = ScriptedTransport("hello")
    await breaker.peek(REQUEST, transport)
    assert not breaker.circuits
    await half_open(breaker, clock)
    handler = Pipeline([breaker.peek, breaker], transport)
    async with await handler(REQUEST) as response:
        assert (await response.completion()).text == "hello"
    assert state(breaker) is State.CLOSED


# Keys ...


async def test_each_model_has_its_own_circuit(breaker: CircuitBreaker):
    """One model's outage leaves the others alone."""
    await fail(breaker)
    assert await attempt(breaker, ScriptedTransport("hello"), Request(model="other")) == "hello"
    assert {key: circuit.state for key, circuit in breaker.circuits.items()} == {
        "m": State.OPEN,
        "other": State.CLOSED,
    }


async def test_the_key_is_an_option(clock: FakeClock):
    """Any function of the request: here one circuit for all models."""
    breaker = CircuitBreaker(key=lambda request: request.operation, clock=clock)
    await fail(breaker)
    with pytest.raises(CircuitOpenError, match="circuit 'chat' is open"):
        await attempt(breaker, ScriptedTransport("never"), Request(model="other"))


async def test_the_registry_is_bounded_and_keeps_what_protects(clock: FakeClock):
    """A thousand models that answer leave a handful of circuits; the open one is among them."""
    breaker = CircuitBreaker(max_circuits=5, clock=clock)
    await fail(breaker)
    for number in range(1000):
        await attempt(breaker, ScriptedTransport("hello"), Request(model=f"model-{number}"))
    assert len(breaker.circuits) == 5
    assert breaker.circuits["m"].state is State.OPEN


@pytest.mark.parametrize(
    ("name", "model", "shown"), [(None, "m", "m"), (None, "", "default"), ("mine", "m", "mine")]
)
def test_circuits_are_called_by_the_breakers_name_or_their_key(name: str | None, model: str, shown: str):
    """An empty model, left to the transport, is the default."""
    assert CircuitBreaker(name=name).circuit(model).name == shown


# By hand ...


async def test_circuits_are_opened_isolated_and_reset_by_hand(breaker: CircuitBreaker, clock: FakeClock):
    """Opened ones try again by themselves, isolated ones only after a reset."""
    transport = ScriptedTransport("hello")
    await attempt(breaker, transport)
    breaker.force_open()
    with pytest.raises(CircuitOpenError, match="opened by hand"):
        await attempt(breaker, transport)
    clock.advance(30)
    await attempt(breaker, transport)
    breaker.isolate("m")
    clock.advance(1e6)
    with pytest.raises(CircuitOpenError, match="isolated by hand"):
        await attempt(breaker, transport)
    await attempt(breaker, transport, Request(model="other"))
    breaker.reset("m")
    await attempt(breaker, transport)


async def test_an_isolated_breaker_lets_no_new_model_through_either(breaker: CircuitBreaker):
    """Without keys the order holds for circuits to come, until the reset."""
    transport = ScriptedTransport("hello")
    breaker.isolate()
    with pytest.raises(CircuitOpenError):
        await attempt(breaker, transport)
    breaker.reset()
    await attempt(breaker, transport)
    await attempt(breaker, transport, Request(model="another"))
    assert breaker.circuit("another").generation == 0, "made as if nothing had been ordered"


async def test_a_breaker_forced_closed_lets_everything_through(breaker: CircuitBreaker):
    """However much fails."""
    breaker.force_closed()
    await fail(breaker, 50)
    assert state(breaker) is State.FORCED_CLOSED
    breaker.reset()
    await fail(breaker, 5)
    assert state(breaker) is State.OPEN


# Listeners ...


async def test_listeners_are_told_what_aiobreaker_would_tell_them(clock: FakeClock):
    """Same methods, same arguments; `func` and its arguments are the next handler and the request."""
    recorder = Recorder()
    breaker = CircuitBreaker(fail_max=1, listeners=[recorder], clock=clock, rng=Middle())
    failing, answering = ScriptedTransport(DOWN), ScriptedTransport("hello")
    with pytest.raises(ModelUnavailableError):
        await attempt(breaker, failing)
    clock.advance(30)
    await attempt(breaker, answering)
    assert recorder.told == [
        ("before_call", "m", failing, (REQUEST,), {}),
        ("state_change", CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN),
        ("failure", DOWN, 1, 1),
        ("state_change", CircuitBreakerState.OPEN, CircuitBreakerState.HALF_OPEN),
        ("before_call", "m", answering, (REQUEST,), {}),
        ("state_change", CircuitBreakerState.HALF_OPEN, CircuitBreakerState.CLOSED),
        ("success", CircuitBreakerState.CLOSED, 0),
    ]


async def test_listeners_hear_of_a_closing_at_a_streams_first_content_and_of_its_end_once(clock: FakeClock):
    """The state changes while the stream goes on; success is told when it has ended."""
    recorder = Recorder()
    breaker = CircuitBreaker(listeners=[recorder], clock=clock, rng=Middle())
    await half_open(breaker, clock)
    recorder.told.clear()
    async with await breaker(STREAM, ScriptedTransport("a b")) as response:
        assert recorder.names == ["state_change", "before_call", "state_change"]
        await response.completion()
    assert recorder.names == ["state_change", "before_call", "state_change", "success"]


async def test_rejections_and_neutral_results_are_told_to_nobody(clock: FakeClock):
    """A neutral call is only announced; a rejected one is none."""
    recorder = Recorder()
    breaker = CircuitBreaker(fail_max=1, listeners=[recorder], clock=clock)
    await fail(breaker, 1, ModelAuthError("no key"))
    assert recorder.names == ["before_call"]
    await fail(breaker, 1)
    recorder.told.clear()
    with pytest.raises(CircuitOpenError):
        await attempt(breaker, ScriptedTransport("never"))
    assert recorder.told == []


async def test_a_listener_that_raises_is_logged_and_changes_nothing(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
):
    """Answers, errors, states and the other listeners are as they would be without it."""
    recorder = Recorder()
    breaker = CircuitBreaker(listeners=[Raiser(), recorder], clock=clock, rng=Middle())
    with caplog.at_level(logging.ERROR, "resilient_llm"):
        await half_open(breaker, clock)
        assert await attempt(breaker, ScriptedTransport("hello")) == "hello"
    assert state(breaker) is State.CLOSED
    assert Counter(recorder.names) == {"before_call": 6, "failure": 5, "success": 1, "state_change": 3}
    assert "listener's own bug" in caplog.text
    assert sum("listener raised" in record.getMessage() for record in caplog.records) == 15


async def test_a_listener_may_call_back_into_the_circuit(clock: FakeClock):
    """It is told outside the lock: reading, entering and moving do not deadlock."""

    class Resetting(CircuitBreakerListener):
        def state_change(self, breaker, old, new):
            if new.state is CircuitBreakerState.OPEN:
                breaker.reset()

    breaker = CircuitBreaker(listeners=[Resetting()], clock=clock)
    await fail(breaker, 5)
    assert state(breaker) is State.CLOSED


async def test_state_changes_are_logged(
    breaker: CircuitBreaker, clock: FakeClock, caplog: pytest.LogCaptureFixture
):
    """Openings as warnings, recoveries as information."""
    with caplog.at_level(logging.INFO, "resilient_llm"):
        await half_open(breaker, clock)
        await attempt(breaker, ScriptedTransport("hello"))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "llm.circuit name=m old=closed new=open trigger='too many failures'"),
        ("INFO", "llm.circuit name=m old=open new=half_open trigger='a call finds the slot free'"),
        ("INFO", "llm.circuit name=m old=half_open new=closed trigger='probe succeeded'"),
    ]


# An existing aiobreaker ...


async def test_an_existing_aiobreaker_is_accepted(clock: FakeClock):
    """Thresholds, exclusions, name and listeners are its own; its state stays as it was."""
    recorder = Recorder()
    theirs = aiobreaker.CircuitBreaker(
        fail_max=2,
        timeout_duration=timedelta(seconds=7),
        exclude=[ModelOverloadedError],
        listeners=[recorder],
        name="theirs",
    )
    breaker = CircuitBreaker(theirs, clock=clock, rng=Middle())
    await fail(breaker, 20, ModelOverloadedError("full"))
    await fail(breaker, 2)
    with pytest.raises(CircuitOpenError, match="circuit 'theirs' is open: 2 failures in a row") as caught:
        await attempt(breaker, ScriptedTransport("never"))
    assert caught.value.retry_after == pytest.approx(7)
    assert recorder.names.count("failure") == 2
    assert theirs.fail_counter == 0
    assert theirs.current_state is CircuitBreakerState.CLOSED


# Options ...


def test_the_defaults_in_the_signature_are_the_documented_ones():
    """They repeat the policy's so that editors show them; the two agree."""
    shown = inspect.signature(CircuitBreaker).parameters
    assert CircuitBreaker().options == CircuitOptions()
    assert {name: shown[name].default for name in attrs.asdict(CircuitOptions())} == attrs.asdict(
        CircuitOptions()
    )


def test_options_reach_the_circuits():
    """Each by its own name."""
    options = {
        "fail_max": 3,
        "timeout_duration": 4.0,
        "failure_ratio": 0.25,
        "window": 60.0,
        "minimum_calls": 7,
        "max_timeout_duration": 8.0,
        "jitter": 0.2,
        "lease": 9.0,
    }
    assert CircuitBreaker(**options).circuit("m").options == CircuitOptions(**options)
    assert CircuitBreaker(timeout_duration=timedelta(seconds=4)).options.timeout_duration == 4.0


def test_options_have_names():
    """A bare number is neither a threshold nor a breaker."""
    with pytest.raises(TypeError, match="all other options have names"):
        CircuitBreaker(3)


def test_jitter_comes_from_the_given_generator():
    """The same seed, the same times open."""

    def opened(seed: int) -> float | None:
        breaker = CircuitBreaker(clock=FakeClock(), rng=random.Random(seed))
        circuit = breaker.circuit("m")
        breaker.force_open("m")
        with pytest.raises(CircuitOpenError) as caught:
            circuit.peek(0.0)
        return caught.value.retry_after

    assert opened(1) == opened(1) != opened(2)


# Loops and threads ...


def test_one_breaker_serves_several_event_loops():
    """Callers on four loops in four threads at a half-open circuit make one call, and its success is seen by all."""
    clock = FakeClock()
    breaker = CircuitBreaker(clock=clock, rng=Middle())
    asyncio.run(half_open(breaker, clock))
    barrier = threading.Barrier(4)
    held = threading.Event()
    calls: list[str] = []
    results: list[object] = []

    async def backend(request: Request) -> Response:
        calls.append(request.model)
        while not held.is_set():  # noqa: ASYNC110 - other threads set it
            await asyncio.sleep(0)
        return await ScriptedTransport("hello")(request)

    async def crowd() -> None:
        tasks = [asyncio.create_task(attempt(breaker, backend)) for _ in range(50)]
        for _ in range(10):
            await asyncio.sleep(0)
        barrier.wait(timeout=10)
        held.set()
        results.extend(await asyncio.gather(*tasks, return_exceptions=True))

    threads = [threading.Thread(target=asyncio.run, args=(crowd(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == ["m"]
    assert Counter(map(type, results)) == {str: 1, CircuitOpenError: 199}
    assert asyncio.run(attempt(breaker, ScriptedTransport("after"))) == "after"
