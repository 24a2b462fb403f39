"""Fallback: one target after the other, in virtual time."""

from __future__ import annotations

import asyncio
import logging

import attrs
import pytest

import resilient_llm as rl
from resilient_llm.composition import role_of
from resilient_llm.events import Finish, TextDelta, ToolCallDelta
from resilient_llm.policy.outcomes import OUTCOMES, override
from resilient_llm.testing import FakeClock, ScriptedTransport, run_virtual

ASK = rl.Request(messages=({"role": "user", "content": "Hello"},), model="m")
STREAM = attrs.evolve(ASK, stream=True)
DOWN = rl.ModelUnavailableError
HANG = [10_000.0, Finish("stop")]


def backend(*scripts, name="first"):
    return ScriptedTransport(*scripts, name=name)


def stack(*targets, clock, **options):
    """The standard stack without chance; options of `Fallback` go to it."""
    own = {
        key: options.pop(key) for key in ("share", "patience", "on_rate_limit", "on_auth") if key in options
    }
    options = {"jitter": None, "max_retries": 0, "clock": clock, **options}
    fallback = rl.Fallback(targets, backend="first", **own, **options)
    return rl.standard_stack(backend="first", fallback=fallback, **options)


def fallback_of(stages):
    return next(stage for stage in stages if role_of(stage) == "fallback")


def ask(first, *targets, request=ASK, calls=1, **options):
    """Make calls one after the other; gives the last one's completion or error, and when it was over."""

    async def scenario():
        clock = FakeClock()
        pipeline = rl.Pipeline(stack(*targets, clock=clock, **options), first, clock=clock)
        for _ in range(calls):
            try:
                async with await pipeline(request) as response:
                    result = await response.completion()
            except rl.LLMError as error:
                result = error
        assert [
            transport.open_bodies for transport in (first, *targets) if hasattr(transport, "open_bodies")
        ] == [0 for transport in (first, *targets) if hasattr(transport, "open_bodies")]
        return result, asyncio.get_running_loop().time()

    return run_virtual(scenario())


def counts(*transports):
    return [len(transport.requests) for transport in transports]


# Who answers ...


@pytest.mark.parametrize("request_", [ASK, STREAM], ids=["whole", "streamed"])
def test_a_healthy_first_target_answers_alone(request_) -> None:
    """The others are not asked, and its answer says that it came from where it was meant to."""

    async def scenario():
        clock, first, second = FakeClock(), backend("Hello"), backend("Hi", name="second")
        pipeline = rl.Pipeline(stack(second, clock=clock), first, clock=clock)
        async with await pipeline(request_) as response:
            assert response.target is None
            done = await response.completion()
        assert (done.text, done.backend, done.attempts, counts(first, second)) == (
            "Hello",
            "first",
            1,
            [1, 0],
        )

    run_virtual(scenario())


@pytest.mark.parametrize("request_", [ASK, STREAM], ids=["whole", "streamed"])
def test_where_the_first_fails_the_next_answers(request_) -> None:
    """The answer and its trace name both backends, in order, with one number for each attempt."""

    async def scenario():
        clock = FakeClock()
        first, second = backend(DOWN("down", backend="first")), backend("Hi", name="second")
        target = rl.Target(second, name="spare")
        pipeline = rl.Pipeline(stack(target, clock=clock, max_retries=1), first, clock=clock)
        async with await pipeline(request_) as response:
            assert response.target is target
            done = await response.completion()
        assert (done.text, done.backend, done.attempts) == ("Hi", "second", 3)
        assert [(a.number, a.backend, a.error is None) for a in done.trace] == [
            (1, "first", False),
            (2, "first", False),
            (3, "second", True),
        ]

    run_virtual(scenario())


def test_targets_are_asked_in_order() -> None:
    """Each until one answers."""
    transports = [backend(DOWN("down"), name=name) for name in "abc"] + [
        backend("Hi", name="d"),
        backend("x"),
    ]
    done, _ = ask(*transports)
    assert (done.backend, counts(*transports)) == ("d", [1, 1, 1, 1, 0])


def test_nothing_is_repeated_after_the_first_content() -> None:
    """A stream that breaks in the middle raises, with what had come; no other target is asked."""
    first = backend([TextDelta("Hel"), DOWN("reset")])
    second = backend("Hi", name="second")
    error, _ = ask(first, second, request=STREAM)
    assert (type(error), error.partial.text, counts(first, second)) == (DOWN, "Hel", [1, 0])


def test_what_was_held_back_is_not_mixed_with_the_next_targets_answer() -> None:
    """A fragment of a tool call came before the failure: nobody saw it, and it does not show."""
    first = backend([ToolCallDelta(0, "c", "f", '{"a'), DOWN("reset")])
    done, _ = ask(first, backend("Hi", name="second"), request=STREAM)
    assert (done.text, done.tool_calls) == ("Hi", ())


@pytest.mark.parametrize("operation", ["embed", "models", "raw"])
def test_only_chats_are_passed_on(operation) -> None:
    """Vectors of another model would be of no use."""
    first, second = backend(DOWN("down")), backend("Hi", name="second")
    error, _ = ask(first, second, request=rl.Request(operation))
    assert (type(error), counts(first, second)) == (DOWN, [1, 0])


# What leads on ...


@pytest.mark.parametrize(
    ("error", "options", "asked"),
    [
        (DOWN("down"), {}, 1),
        (rl.ModelQuotaExceededError("no credit"), {}, 1),
        (rl.ModelNotFoundError("no such model"), {}, 1),
        (rl.ModelLoadingError("loading", retry_after=60), {}, 1),
        (rl.ModelInvalidRequestError("malformed"), {}, 0),
        (rl.ModelContentFilteredError("refused"), {}, 0),
        (rl.ModelAuthError("wrong key"), {}, 0),
        (rl.ModelAuthError("wrong key"), {"on_auth": True}, 1),
        (
            rl.ModelAuthError("key"),
            {"outcomes": override(OUTCOMES, {rl.ErrorCode.MODEL_AUTH: {"fallback": "yes"}})},
            1,
        ),
        (rl.ModelRateLimitedError("slow down"), {}, 1),
        (rl.ModelRateLimitedError("slow down"), {"on_rate_limit": False}, 0),
    ],
    ids=str,
)
def test_which_errors_lead_to_the_next_target(error, options, asked) -> None:
    """By the table of outcomes, and two options."""
    first, second = backend(error), backend("Hi", name="second")
    result, _ = ask(first, second, **options)
    assert counts(first, second) == [1, asked]
    assert result.text == "Hi" if asked else result is error


def test_a_prompt_that_is_too_long_goes_to_a_larger_window() -> None:
    """A target whose window is known to be no larger is passed over; one that nobody knows is tried."""
    too_long = rl.ModelContextLengthError("too long", context_limit=8192)
    small, same = backend("no", name="small"), backend("no", name="same")
    large, unknown = backend("Hi", name="large"), backend("Hi", name="unknown")
    targets = [
        rl.Target(small, model="gpt-3.5-turbo-instruct"),
        rl.Target(same, model="gpt-4"),
        rl.Target(large, model="gpt-4o"),
    ]
    done, _ = ask(backend(too_long), *targets, token_budget=None)
    assert (done.backend, counts(small, same)) == ("large", [0, 0])
    done, _ = ask(backend(too_long), targets[0], unknown, token_budget=None)
    assert done.backend == "unknown"
    error, _ = ask(backend(too_long), *targets[:2], token_budget=None)
    assert (error, counts(small, same)) == (too_long, [0, 0])


def test_the_first_window_may_be_the_published_one() -> None:
    """Where the error does not tell, the table of models does; a smaller one stays out for all later errors, too."""
    too_long = rl.ModelContextLengthError("too long")
    small, broken, large = backend("no"), backend(DOWN("down")), backend("Hi")
    targets = [
        rl.Target(broken, model="gpt-4o"),
        rl.Target(small, model="gpt-3.5-turbo-instruct"),
        rl.Target(large, model="gpt-4.1"),
    ]
    done, _ = ask(backend(too_long), *targets, request=attrs.evolve(ASK, model="gpt-4"), token_budget=None)
    assert (done.text, counts(small, broken, large)) == ("Hi", [0, 1, 1])


def test_what_the_first_window_is_known_not_to_hold_is_not_sent_there() -> None:
    """Refused once, the next prompt of that size goes to the larger window at once."""
    first = backend(rl.ModelContextLengthError("too long", context_limit=20, context_requested=600))
    second = backend("Hi", name="second")
    long = attrs.evolve(ASK, messages=({"role": "user", "content": "word " * 600},))
    done, _ = ask(first, rl.Target(second, model="gpt-4o"), request=long, calls=3)
    assert (done.text, counts(first, second)) == ("Hi", [1, 3])
    assert done.trace[0].error.code == "TOKEN_BUDGET_EXCEEDED"


# When all fail ...


def test_the_first_backends_error_is_raised_with_notes_on_the_others() -> None:
    """Its type and cause stay; the trace has all."""
    first, second = backend(DOWN("down")), backend(rl.ModelAuthError("wrong key"), name="second")
    error, _ = ask(first, second)
    assert (type(error), error.backend, error.attempts) == (DOWN, "first", 2)
    assert [attempt.backend for attempt in error.trace] == ["first", "second"]
    assert "second failed: MODEL_AUTH: wrong key" in str(error)
    assert "first failed" not in str(error)


def test_a_rejection_on_this_side_tells_less_than_a_backends_error() -> None:
    """The first target's circuit is open: what the second one answered is raised, with a note on the circuit."""
    first, second = backend(DOWN("down")), backend(rl.ModelNotFoundError("no such model"), name="second")
    options = {"breaker": rl.CircuitBreaker(fail_max=1, clock=FakeClock())}
    error, _ = ask(first, second, calls=2, **options)
    assert (type(error), error.attempts) == (rl.ModelNotFoundError, 1)
    assert "first failed: CIRCUIT_OPEN" in str(error)
    assert [(a.backend, a.error.code) for a in error.trace] == [
        ("first", "CIRCUIT_OPEN"),
        ("second", "MODEL_NOT_FOUND"),
    ]


def test_nothing_but_rejections_gives_the_first_one() -> None:
    """Then nothing was sent, and no attempt is counted."""

    async def scenario():
        clock = FakeClock()
        first, second = backend(DOWN("down")), backend(DOWN("down, too"), name="second")
        stages = stack(second, clock=clock, breaker=rl.CircuitBreaker(fail_max=1, clock=clock))
        opened = fallback_of(stages).opened[0]
        next(stage for stage in opened.stages if role_of(stage) == "breaker").isolate()
        pipeline = rl.Pipeline(stages, first, clock=clock)
        with pytest.raises(DOWN):
            await pipeline(ASK)
        with pytest.raises(rl.CircuitOpenError) as caught:
            await pipeline(ASK)
        assert (caught.value.backend, caught.value.attempts, counts(first, second)) == ("first", 0, [1, 0])
        assert "second failed: CIRCUIT_OPEN" in str(caught.value)

    run_virtual(scenario())


# Circuits and patience ...


def test_a_target_whose_circuit_is_open_is_passed_over() -> None:
    """It costs no request and no time."""
    first, second = backend(DOWN("down")), backend("Hi", name="second")
    breaker = rl.CircuitBreaker(fail_max=2, clock=FakeClock())
    done, now = ask(first, second, calls=5, breaker=breaker)
    assert (done.text, done.attempts, now, counts(first, second)) == ("Hi", 1, 0.0, [2, 5])


def test_each_target_has_a_circuit_of_its_own() -> None:
    """The second one's failures open its own circuit, and the first one's probe goes out all the same."""

    async def scenario():
        clock = FakeClock()
        first, second = backend(DOWN("down")), backend(DOWN("down"), name="second")
        pipeline = rl.Pipeline(stack(second, clock=clock), first, clock=clock)
        for _ in range(8):
            with pytest.raises(rl.LLMError):
                await pipeline(ASK)
        assert counts(first, second) == [5, 5]

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("options", "now", "asked"),
    [
        ({}, 0.0, [1, 1]),
        ({"patience": 0.5}, 0.0, [1, 1]),
        ({"patience": 30.0}, 20.0, [2, 0]),
        ({"patience": None}, 20.0, [2, 0]),
        ({"on_rate_limit": False}, 20.0, [2, 0]),
    ],
)
def test_a_server_that_asks_for_patience_is_left_for_another(options, now, asked) -> None:
    """Unless `patience` is long enough, or rate limits are to be waited for."""
    first = backend(rl.ModelRateLimitedError("slow down", retry_after=20.0), "Hello")
    second = backend("Hi", name="second")
    _, ended = ask(first, second, max_retries=3, **options)
    assert counts(first, second) == asked
    assert now <= ended <= now * 1.1 + 0.25


def test_the_last_target_is_waited_for() -> None:
    """There is no other way: its server's delay is kept."""
    first = backend(DOWN("down"))
    second = backend(rl.ModelRateLimitedError("slow down", retry_after=20.0), "Hi", name="second")
    done, now = ask(first, second, max_retries=3)
    assert (done.text, counts(first, second)) == ("Hi", [4, 2])
    assert now >= 20.0


def test_a_bound_from_further_out_holds_where_it_is_tighter() -> None:
    """A request that brings `max_wait` along keeps it, for the last target as well."""
    seen = []

    async def note(request, call_next):
        seen.append(request.extensions.get("max_wait"))
        return await call_next(request)

    targets = [rl.Target(backend(DOWN("down")), stack=[note]) for _ in range(2)]
    for longest in (0.25, 5.0):
        ask(backend(DOWN("down")), *targets, request=attrs.evolve(ASK, extensions={"max_wait": longest}))
    assert seen == [0.25, 0.25, 1.0, 5.0]


# Time ...


@pytest.mark.parametrize(
    ("targets", "options", "at"),
    [
        (1, {}, [30.0]),
        (2, {}, [20.0, 40.0]),
        (1, {"share": 0.1}, [6.0]),
        (2, {"share": 0.5}, [30.0, 45.0]),
    ],
)
@pytest.mark.parametrize("request_", [ASK, STREAM], ids=["whole", "streamed"])
def test_a_target_that_hangs_has_its_share_of_the_time(targets, options, at, request_) -> None:
    """Then the next one is asked, and the last has all that is left."""
    asked_at = []

    async def note(request, call_next):
        asked_at.append(asyncio.get_running_loop().time())
        return await call_next(request)

    hanging = [
        rl.Target(backend(HANG), stack=[note, rl.AttemptTimeout(clock=FakeClock())]) for _ in range(targets)
    ]
    error, now = ask(
        backend(HANG), *hanging, request=request_, deadline=60.0, first_token_timeout=500.0, **options
    )
    assert asked_at == at
    assert (type(error), now) == (rl.DeadlineExceededError, 60.0)
    assert isinstance(error.__cause__, rl.ModelTimeoutError)


def test_a_retry_that_would_pass_the_share_leads_to_the_next_target() -> None:
    """The wait does not begin; the call's own deadline is far."""
    busy = rl.ModelOverloadedError("busy", retry_after=8.0)
    first, second = backend(busy), backend("Hi", name="second")
    done, now = ask(first, second, deadline=12.0, max_retries=3, patience=None)
    assert (done.text, now, counts(first, second)) == ("Hi", 0.0, [1, 1])
    error, _ = ask(
        backend(busy), backend(rl.ModelAuthError("key")), deadline=12.0, max_retries=3, patience=None
    )
    assert error is busy  # the target's own deadline is not the caller's affair


def test_the_calls_own_deadline_ends_it() -> None:
    """When it has passed, no further target is asked, and the error says so."""

    async def scenario():
        clock = FakeClock()
        first, second = backend([5.0, DOWN("down")]), backend("Hi", name="second")
        fallback = rl.Fallback([second], share=1.0, clock=clock)
        pipeline = rl.Pipeline([fallback, rl.AttemptTimeout(clock=clock)], first, clock=clock)
        with pytest.raises(rl.ModelTimeoutError):
            await pipeline(attrs.evolve(ASK, deadline=3.0))
        assert (asyncio.get_running_loop().time(), counts(first, second)) == (3.0, [1, 0])

    run_virtual(scenario())


def test_the_last_targets_deadline_is_the_calls() -> None:
    """Its wait would pass the deadline: that is what the caller is told, with notes on the others."""
    first = backend(rl.ModelNotFoundError("no such model"))
    second = backend(rl.ModelOverloadedError("busy", retry_after=30.0), name="second")
    error, now = ask(first, second, deadline=10.0, max_retries=1)
    assert (type(error), now) == (rl.DeadlineExceededError, 0.0)
    assert isinstance(error.__cause__, rl.ModelOverloadedError)
    assert error.__notes__ == ["first failed: MODEL_NOT_FOUND: no such model"]


def test_after_the_first_content_the_share_is_no_bound() -> None:
    """A stream that began in time may go on until the call's own deadline."""
    slow = [1.0, *(step for _ in range(20) for step in (2.0, TextDelta("x"))), Finish("stop")]
    done, now = ask(backend(slow), backend("no", name="second"), request=STREAM, deadline=60.0)
    assert (done.text, now) == ("x" * 20, 41.0)
    error, now = ask(backend(slow), backend("no", name="second"), request=STREAM, deadline=35.0)
    assert (type(error), now, error.partial.text) == (rl.DeadlineExceededError, 35.0, "x" * 16)


def test_a_deadline_that_a_targets_own_stage_sets_stays() -> None:
    """Only the share ends with the first content."""
    slow = [step for _ in range(20) for step in (2.0, TextDelta("x"))]

    async def hurried(request, call_next):
        return await call_next(attrs.evolve(request, deadline=9.0))

    hurries = rl.Target(
        backend([*slow, Finish("stop")]), stack=[hurried, rl.AttemptTimeout(clock=FakeClock())]
    )
    error, now = ask(backend(DOWN("down")), hurries, backend("no"), request=STREAM, deadline=60.0)
    assert (type(error), now, error.partial.text) == (rl.ModelTimeoutError, 9.0, "xxxx")


def test_without_a_deadline_targets_have_their_own_limits() -> None:
    """The limits of single attempts hold."""
    done, now = ask(backend(HANG), backend("Hi", name="second"), deadline=None, attempt_timeout=7.0)
    assert (done.text, now) == ("Hi", 7.0)


# What targets are asked for ...


def test_a_request_is_the_targets_own() -> None:
    """Its model and its attempts from 1; messages, parameters and other options are untouched."""
    first, second, third = backend(DOWN("down")), backend(DOWN("down"), name="b"), backend("Hi", name="first")
    request = attrs.evolve(ASK, params={"top_k": 5}, attempt=7, extensions={"tool_deltas": True})
    done, _ = ask(first, rl.Target(second, model="other"), third, request=request)
    assert done.text == "Hi"
    sent = [transport.requests[-1] for transport in (first, second, third)]
    assert [(asked.model, asked.attempt) for asked in sent] == [("m", 7), ("other", 1), ("m", 1)]
    assert all(asked.params == {"top_k": 5} and asked.messages == ASK.messages for asked in sent)
    assert [asked.extensions for asked in sent] == [
        {"tool_deltas": True, "max_wait": 1.0},
        {"tool_deltas": True, "max_wait": 1.0},
        {"tool_deltas": True},
    ]


def test_a_fallback_behind_a_client_knows_its_backend() -> None:
    """Made without a name, it learns the one of the stack that it is put into; the given object is not changed."""
    fallback = rl.Fallback([backend("Hi")])
    placed = fallback_of(rl.standard_stack(backend="first", fallback=fallback))
    assert (placed.backend, fallback.backend) == ("first", None)
    assert placed.opened is fallback.opened
    assert fallback_of(rl.standard_stack(backend="other", fallback=placed)) is placed
    assert fallback_of(rl.standard_stack(fallback=fallback)) is fallback
    assert repr(fallback) == "<Fallback first>"


# Going on after a broken stream ...


BROKEN = rl.ModelResponseInvalidError("the stream broke")


def recovering(target, **extensions):
    return attrs.evolve(STREAM, attempt=2, extensions={"recovers": BROKEN, "target": target, **extensions})


def test_a_broken_stream_goes_on_with_the_target_that_gave_it() -> None:
    """The request reaches it as it is; the targets before it are not asked."""
    transports = [backend("Hi", name=name) for name in ("first", "b", "c", "d")]
    targets = [rl.Target(transport) for transport in transports[1:]]
    done, _ = ask(transports[0], *targets, request=recovering(targets[1], resume_from="Hi"), max_retries=1)
    assert (done.backend, counts(*transports)) == ("c", [0, 0, 1, 0])
    asked = transports[2].requests[0]
    assert (asked.extensions["recovers"], asked.extensions["resume_from"], asked.attempt) == (BROKEN, "Hi", 2)


@pytest.mark.parametrize("target", [None, rl.Target(backend("x"))])
def test_a_broken_stream_of_the_first_target_goes_on_there(target) -> None:
    """So does one whose target is not known here."""
    first, second = backend("Hi"), backend("no", name="second")
    done, _ = ask(first, second, request=recovering(target), max_retries=1)
    assert (done.backend, first.requests[0].extensions["recovers"]) == ("first", BROKEN)


def test_where_a_target_gives_a_broken_stream_up_the_following_ones_begin_anew() -> None:
    """They know nothing of the break: no error to judge, no beginning to go on with, attempts from 1."""
    transports = [backend(DOWN("down"), name=name) for name in ("first", "b", "c")] + [
        backend("Hi", name="d")
    ]
    targets = [rl.Target(transport) for transport in transports[1:]]
    done, _ = ask(transports[0], *targets, request=recovering(targets[0], resume_from="Hi"), max_retries=1)
    assert (done.backend, counts(*transports)) == ("d", [0, 1, 2, 1])
    assert transports[2].requests[0].extensions == {"max_wait": 1.0}
    assert (transports[3].requests[0].extensions, transports[3].requests[0].attempt) == ({}, 1)


def test_the_error_that_broke_the_stream_is_no_attempt_of_its_own() -> None:
    """A stage that raises it again, because it does not want to repeat, has sent nothing."""

    async def unwilling(request, call_next):
        raise request.extensions["recovers"]

    first, second = backend("no"), backend("Hi", name="second")
    target = rl.Target(first, stack=[unwilling])
    done, _ = ask(backend("no"), target, second, request=recovering(target))
    assert [attempt.backend for attempt in done.trace] == ["second"]


# Taking note ...


def test_attempts_of_stacks_without_a_retry_are_in_the_trace() -> None:
    """A target's stages need not count."""

    async def scenario(request):
        clock = FakeClock()
        second = rl.Target(backend([1.0, DOWN("down")], name="second"), stack=[])
        third = rl.Target(backend([2.0, TextDelta("Hi"), 4.0, Finish("stop")], name="third"), stack=[])
        stages = [rl.Fallback([second, third], backend="first", clock=clock)]
        async with await rl.Pipeline(stages, backend(DOWN("down")), clock=clock)(request) as response:
            return (await response.completion()).trace

    for request in (ASK, STREAM):
        trace = run_virtual(scenario(request))
        assert [(a.number, a.backend, a.duration, a.error is None) for a in trace] == [
            (1, "first", 0.0, False),
            (2, "second", 1.0, False),
            (3, "third", 6.0, True),
        ]


def test_a_rejection_after_a_queue_took_the_backend_no_time() -> None:
    """Its record says who rejected the call, and that nothing was sent."""

    async def full(request, call_next):
        await asyncio.sleep(3.0)
        msg = "the queue is full"
        raise rl.LimitExceededError(msg)

    second = rl.Target(backend("no", name="second"), stack=[full])
    done, now = ask(backend(DOWN("down")), second, backend("Hi", name="third"))
    assert [(a.number, a.backend, a.duration) for a in done.trace] == [
        (1, "first", 0.0),
        (2, "second", 0.0),
        (2, "third", 0.0),
    ]
    assert (now, done.attempts) == (3.0, 2)


def test_a_stream_that_breaks_at_a_fallback_is_in_the_trace() -> None:
    """With its error, although no stage of its own counts."""
    broken = rl.Target(backend([TextDelta("Hi"), DOWN("reset")], name="second"), stack=[])
    error, _ = ask(backend(DOWN("down")), broken, request=STREAM)
    assert [(a.backend, a.error.message) for a in error.trace] == [("first", "down"), ("second", "reset")]


def test_observers_are_told_of_each_step() -> None:
    """Attempts, and which target is asked now, and why."""
    notices = []
    down = DOWN("down")
    ask(
        backend(down),
        rl.Target(backend("Hi", name="b"), name="spare"),
        request=ASK.observed_by(notices.append),
    )
    told = [notice for notice in notices if not isinstance(notice, rl.ContentSeen)]
    assert [type(notice) for notice in told] == [rl.Attempt, rl.FallingBack, rl.Attempt]
    assert told[1] == rl.FallingBack("spare", down)


def test_a_fallback_is_logged(caplog) -> None:
    """Who is asked instead, and what went wrong."""
    with caplog.at_level(logging.INFO, logger="resilient_llm"):
        ask(backend(DOWN("down")), backend("Hi", name="second"))
    events = [record.llm for record in caplog.records if record.llm["event"] == "llm.fallback"]
    assert [(event["target"], event["code"]) for event in events] == [("second", "MODEL_UNAVAILABLE")]


# One object, many calls ...


def test_calls_at_the_same_time_know_nothing_of_each_other() -> None:
    """One falls back while the other's first target answers."""

    async def scenario():
        clock = FakeClock()
        first = backend([2.0, DOWN("down")], [1.0, TextDelta("Hello"), Finish("stop")])
        second = backend([1.0, TextDelta("Hi"), Finish("stop")], name="second")
        pipeline = rl.Pipeline(stack(second, clock=clock), first, clock=clock)
        responses = await asyncio.gather(pipeline(ASK), pipeline(ASK))
        done = [await response.completion() for response in responses]
        assert [(each.text, each.attempts) for each in done] == [("Hi", 2), ("Hello", 1)]

    run_virtual(scenario())


def test_leaving_while_the_fallback_answers_leaves_nothing_open() -> None:
    """Cancelled at the second target: both backends' answers are closed."""

    async def scenario():
        clock = FakeClock()
        first, second = backend([1.0, DOWN("down")]), backend(HANG, name="second")
        pipeline = rl.Pipeline(stack(second, clock=clock), first, clock=clock)
        task = asyncio.ensure_future(pipeline(ASK))
        await asyncio.sleep(5.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (counts(first, second), first.open_bodies, second.open_bodies) == ([1, 1], 0, 0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(scenario())


# With a client ...


class Closing(ScriptedTransport):
    """A transport that counts how often it is closed."""

    closed = 0

    async def aclose(self) -> None:
        self.closed += 1


async def test_a_client_takes_targets_and_transports_and_closes_them() -> None:
    """`fallback=` is an option like any other; the targets get the client's options."""
    first, second, third = (Closing(DOWN("down"), name=name) for name in "abc")
    held = Closing("x")

    async def stage(request, call_next):
        return await call_next(request)

    stage.aclose = held.aclose
    options = {"fallback": [rl.Target(second), rl.Target(third, stack=[stage])], "max_retries": 1}
    async with rl.AsyncClient(transport=first, model="m", **options) as llm:
        with pytest.raises(DOWN):
            await llm.complete("Hello", initial_backoff=0.001)
        assert counts(first, second, third) == [2, 2, 1]
    assert [transport.closed for transport in (first, second, third, held)] == [1, 1, 1, 1]


def test_the_blocking_client_falls_back_too() -> None:
    """The same option, without `await`."""
    with rl.Client(transport=backend(DOWN("down")), fallback=[rl.OfflineTransport()], max_retries=0) as llm:
        done = llm.complete("Hello")
        assert (done.backend, done.model, done.attempts) == ("offline", "offline", 2)


def test_no_targets_no_fallback() -> None:
    """An empty list is no fallback for a client; a `Fallback` of its own needs one at least."""
    assert "fallback" not in map(role_of, rl.standard_stack(fallback=[]))
    with pytest.raises(ValueError, match="at least one target"):
        rl.Fallback([])
    with pytest.raises(TypeError, match="unknown option 'pacience'"):
        rl.Fallback([rl.Target(backend("x"), stack=[])], pacience=3)
    with pytest.raises(TypeError, match="a target's transport is an object"):
        rl.AsyncClient("offline", fallback=["ollama"])
