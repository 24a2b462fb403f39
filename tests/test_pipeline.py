"""The pipeline: stages in order, one trace for each call."""

from __future__ import annotations

import pytest

import resilient_llm as rl
from resilient_llm.testing import FakeClock, ScriptedTransport, run_virtual

ASK = rl.Request(messages=[{"role": "user", "content": "Hello"}])


def marking(name, log):
    async def stage(request, call_next):
        log.append(f"> {name}")
        response = await call_next(request)
        log.append(f"< {name}")
        return response

    return stage


async def test_stages_run_from_the_outermost_to_the_innermost() -> None:
    """The first of the list sees the request first and the response last."""
    log = []
    await rl.Pipeline([marking("a", log), marking("b", log)], ScriptedTransport("hi"))(ASK)
    assert log == ["> a", "> b", "< b", "< a"]


async def test_a_pipeline_is_a_handler() -> None:
    """One pipeline can stand behind the stages of another."""
    inner = rl.Pipeline([rl.Retry(max_retries=0)], ScriptedTransport("hi"))
    done = await (await rl.Pipeline([], inner)(ASK)).completion()
    assert (done.text, done.attempts, len(done.trace)) == ("hi", 1, 1)


async def test_a_stage_may_answer_by_itself() -> None:
    """A stage that calls another handler decides what the caller gets."""
    other = ScriptedTransport("from elsewhere")

    async def elsewhere(request, call_next):
        return await other(request)

    backend = ScriptedTransport("never asked")
    done = await (await rl.Pipeline([elsewhere], backend)(ASK)).completion()
    assert (done.text, backend.requests) == ("from elsewhere", [])


async def test_a_stage_that_raises_before_it_awaits_is_accounted_for() -> None:
    """A plain function that raises at once leaves no account open in the stages around it."""
    outcomes = []

    async def accounting(request, call_next):
        return await rl.observe(call_next(request), outcomes.append)

    def plain(request, call_next):
        msg = "full"
        raise rl.LimitExceededError(msg)

    with pytest.raises(rl.LimitExceededError):
        await rl.Pipeline([accounting, plain], ScriptedTransport("hi"))(ASK)
    assert [outcome.kind for outcome in outcomes] == [rl.OutcomeKind.FAILED]


def test_without_a_retry_the_call_is_one_attempt() -> None:
    """The trace has its duration; a failed call carries the same on its error."""

    async def scenario() -> None:
        clock = FakeClock()
        slow = ScriptedTransport([2.0, rl.TextDelta("hi"), rl.Finish("stop")])
        done = await (await rl.Pipeline([], slow, clock=clock)(ASK)).completion()
        assert [(attempt.number, attempt.duration) for attempt in done.trace] == [(1, 2.0)]
        failing = ScriptedTransport([3.0, rl.ModelAuthError("wrong key")])
        with pytest.raises(rl.ModelAuthError) as caught:
            await rl.Pipeline([], failing, clock=clock)(ASK)
        assert (caught.value.attempts, caught.value.trace[0].duration) == (1, 3.0)
        refused = ScriptedTransport(rl.CircuitOpenError("open"))
        with pytest.raises(rl.CircuitOpenError) as caught:
            await rl.Pipeline([], refused, clock=clock)(ASK)
        assert (caught.value.attempts, caught.value.trace) == (0, ())

    run_virtual(scenario())


async def test_the_repr_names_the_stages() -> None:
    """What travels where can be read off."""
    breaker = rl.CircuitBreaker()
    shown = repr(rl.Pipeline([rl.Retry(), breaker.peek, breaker], ScriptedTransport("hi")))
    assert "Retry > CircuitBreaker.peek > CircuitBreaker > " in shown


class Closable:
    """A stage, or a transport, that takes note of its end."""

    def __init__(self, name, log, fails=False):
        self.name, self.log, self.fails = name, log, fails

    async def __call__(self, request, call_next=None):
        return await call_next(request)

    async def aclose(self):
        self.log.append(self.name)
        if self.fails:
            msg = f"{self.name} cannot be closed"
            raise OSError(msg)


async def test_closing_closes_the_stages_that_hold_something_and_then_the_transport() -> None:
    """From the outermost stage inwards; one that fails keeps no other from being closed, and its error is raised."""
    log = []
    stages = [Closable("outer", log), marking("plain", log), rl.Retry(), Closable("inner", log, fails=True)]
    pipeline = rl.Pipeline(stages, Closable("transport", log))
    with pytest.raises(OSError, match="inner cannot be closed"):
        await pipeline.aclose()
    assert log == ["outer", "inner", "transport"]
    await rl.Pipeline([], marking("plain", log)).aclose()  # a plain function holds nothing


@pytest.mark.parametrize("told", [(1,), (1, 2), (1, 1), (2, 1, 2)])
async def test_attempts_are_numbered_in_the_order_they_were_told(told) -> None:
    """Whatever number a stage gives them; each stays what it was."""

    async def counting(request, call_next):
        for number in told:
            request.tell(rl.Attempt(number, "b", 0.5))
        return await call_next(request)

    done = await (await rl.Pipeline([counting], ScriptedTransport("hi"))(ASK)).completion()
    assert [attempt.number for attempt in done.trace] == list(range(1, len(told) + 1))
    assert {attempt.duration for attempt in done.trace} == {0.5}


def test_a_stage_that_watches_is_told_all_stages_and_the_backend() -> None:
    """When the pipeline is made."""
    watched = []

    class Watcher(Closable):
        def watch(self, stages, backend):
            watched.append((stages, backend))

    stages = (Watcher("watcher", []), rl.Retry())
    rl.Pipeline(stages, ScriptedTransport("hi", name="b"))
    assert watched == [(stages, "b")]


def test_the_repr_of_a_request_shows_nothing_that_is_private() -> None:
    """It stands in logs and tracebacks: no message, no parameter, no header."""
    request = rl.Request(
        messages=[{"role": "user", "content": "a secret"}],
        model="m",
        params={"user": "a secret"},
        extensions={"headers": {"authorization": "a secret"}},
    )
    assert "secret" not in repr(request)
    assert "'m'" in repr(request)
