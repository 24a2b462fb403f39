"""Coalesce, in virtual time: who shares a call, who is left alone, and what each of them gets."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import resilient_llm as rl
from resilient_llm.body import ResponseInfo
from resilient_llm.commit import whole
from resilient_llm.events import Finish, Result, TextDelta, ToolCallDelta, UsageEvent
from resilient_llm.models import Attempt, Embeddings, Request, Usage
from resilient_llm.testing import (
    Answer,
    FakeClock,
    FaultServer,
    ScriptedTransport,
    VirtualTimeLoop,
    run_virtual,
)

ASK = Request(messages=({"role": "user", "content": "Hello"},))
SLOW = [1.0, TextDelta("Hello"), UsageEvent(Usage(1, 2, 3)), Finish("stop")]


def coalesced(*scripts, inner=(), **options):
    """A pipeline that coalesces, and its transport."""
    clock = FakeClock()
    transport = ScriptedTransport(*scripts)
    stack = [rl.Coalesce(clock=clock, **options), *inner]
    return rl.Pipeline(stack, transport, clock=clock), transport


async def ask(pipeline: rl.Pipeline, request: Request = ASK) -> rl.Completion:
    async with await pipeline(request) as response:
        return await response.completion()


def calling(pipeline: rl.Pipeline, request: Request = ASK) -> asyncio.Task[rl.Completion]:
    return asyncio.ensure_future(ask(pipeline, request))


async def alone() -> None:
    """Nothing but this task is left, once what was cancelled has had a turn."""
    for _ in range(3):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def strictly(scenario) -> None:
    """Run it in virtual time; what fails in a callback of the loop fails the test."""
    failures: list[object] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        await scenario

    run_virtual(watched())
    assert failures == []


# Who shares ...


def test_equal_calls_at_the_same_time_are_one() -> None:
    """Ten callers, one request, ten equal answers, as soon as it is there."""

    async def scenario() -> None:
        pipeline, transport = coalesced(SLOW)
        tasks = []
        for _ in range(10):
            tasks.append(calling(pipeline))
            await asyncio.sleep(0.09)
        dones = await asyncio.gather(*tasks)
        assert {done.text for done in dones} == {"Hello"}
        assert {done.usage.total_tokens for done in dones} == {3}
        assert len(transport.requests) == 1
        assert asyncio.get_running_loop().time() == 1.0
        await alone()

    strictly(scenario())


def test_a_call_after_it_is_another_call() -> None:
    """Nothing is remembered: that is what a cache is for."""

    async def scenario() -> None:
        pipeline, transport = coalesced("Hello")
        await ask(pipeline)
        await ask(pipeline)
        assert len(transport.requests) == 2

    strictly(scenario())


@pytest.mark.parametrize(
    "other",
    [
        attrs.evolve(ASK, messages=({"role": "user", "content": "Hi"},)),
        attrs.evolve(ASK, params={"temperature": 1}),
        attrs.evolve(ASK, extensions={"headers": {"Authorization": "Bearer another"}}),
        attrs.evolve(ASK, extensions={"max_retries": 0}),
        attrs.evolve(ASK, stream=True),
        attrs.evolve(ASK, params={"x": object()}),
    ],
)
def test_different_calls_are_not_shared(other) -> None:
    """Another question, other options, another key, or a stream: a call of its own."""

    async def scenario() -> None:
        pipeline, transport = coalesced(SLOW)
        await asyncio.gather(ask(pipeline), ask(pipeline, other))
        assert len(transport.requests) == 2

    strictly(scenario())


@pytest.mark.parametrize("request_", [attrs.evolve(ASK, stream=True), Request("models"), Request("raw")])
def test_streams_and_other_operations_pass_untouched(request_) -> None:
    """Two streams are two requests, and they come as they were sent."""

    async def scenario() -> None:
        pipeline, transport = coalesced(SLOW)
        await asyncio.gather(ask(pipeline, request_), ask(pipeline, request_))
        assert len(transport.requests) == 2
        assert transport.requests[0].messages is request_.messages

    strictly(scenario())


def test_when_says_which_calls_are_for_it() -> None:
    """Calls that are to differ, such as samples, are left alone."""

    async def scenario() -> None:
        pipeline, transport = coalesced(SLOW, when=lambda request: request.params.get("temperature") == 0)
        await asyncio.gather(ask(pipeline), ask(pipeline))
        assert len(transport.requests) == 2
        with pytest.raises(TypeError, match="when"):
            rl.Coalesce(when="always")

    strictly(scenario())


def test_one_stage_in_two_stacks_shares_within_each() -> None:
    """What another backend answers is not what was asked for here."""

    async def scenario() -> None:
        stage = rl.Coalesce()
        here, there = (
            ScriptedTransport([1.0, *SLOW]),
            ScriptedTransport([1.0, TextDelta("there"), Finish("stop")]),
        )
        one, two = rl.Pipeline([stage], here), rl.Pipeline([stage], there)
        dones = await asyncio.gather(ask(one), ask(two), ask(one), ask(two))
        assert [done.text for done in dones] == ["Hello", "there"] * 2
        assert (len(here.requests), len(there.requests)) == (1, 1)

    strictly(scenario())


# What each of them gets ...


def test_each_gets_an_answer_of_its_own() -> None:
    """Vectors, what the message carries, the messages that were sent: whoever changes them changes no one else's."""

    async def transport(request: Request) -> rl.Response:
        await asyncio.sleep(1.0)
        info = ResponseInfo(backend="b", extra={"blocks": [1]})
        return whole([Result(Embeddings([[1.0]])), Finish("stop")], info, request)

    async def scenario() -> None:
        pipeline = rl.Pipeline([rl.Coalesce()], transport)
        requests = [Request("embed", params={"input": ["a"]}) for _ in range(2)]
        one, two = await asyncio.gather(*map(pipeline, requests))
        vectors = [(await response.result()).vectors for response in (one, two)]
        vectors[0][0][0] = 9.0
        one.info.extra["blocks"].append(2)
        one.info.model = "changed"
        assert vectors[1] == [[1.0]]
        assert (two.info.extra, two.info.model) == ({"blocks": [1]}, "")
        assert one.request.params is requests[0].params
        assert two.request.params is requests[1].params

    strictly(scenario())


def test_results_of_ones_own_kind_are_copied_too() -> None:
    """Whatever a transport of one's own gives as a result."""

    async def transport(request: Request) -> rl.Response:
        await asyncio.sleep(1.0)
        return whole([Result({"a": [1]}), Finish("stop")], ResponseInfo(), request)

    async def scenario() -> None:
        pipeline = rl.Pipeline([rl.Coalesce()], transport)
        one, two = await asyncio.gather(pipeline(ASK), pipeline(ASK))
        first, second = await one.result(), await two.result()
        first["a"].append(2)
        assert second == {"a": [1]}

    strictly(scenario())


def test_tool_calls_are_whole_and_there_once() -> None:
    """Fragments that a leader asked for do not come twice."""

    async def scenario() -> None:
        script = [1.0, ToolCallDelta(0, "c", "f", "{"), ToolCallDelta(0, "", "", "}"), Finish("tool_calls")]
        pipeline, _ = coalesced(script)
        request = attrs.evolve(ASK, extensions={"tool_deltas": True})
        dones = await asyncio.gather(ask(pipeline, request), ask(pipeline, request))
        assert [[call.arguments for call in done.tool_calls] for done in dones] == [["{}"], ["{}"]]

    strictly(scenario())


def test_what_was_pruned_is_known_to_all() -> None:
    """The report and the messages that were sent are on every answer."""

    async def pruning(request: Request, call_next: rl.Handler) -> rl.Response:
        response = await call_next(attrs.evolve(request, messages=request.messages[-1:]))
        response.pruned = rl.PruneReport(dropped=1, tokens_before=9, tokens_after=3, budget=5)
        return response

    async def scenario() -> None:
        pipeline, _ = coalesced(SLOW, inner=[pruning])
        request = attrs.evolve(ASK, messages=({"role": "user", "content": "old"}, *ASK.messages))
        for done in await asyncio.gather(ask(pipeline, request), ask(pipeline, request)):
            assert done.pruned.dropped == 1
            assert done.sent == ASK.messages

    strictly(scenario())


def test_each_gets_an_error_of_its_own() -> None:
    """The same code, cause, notes and partial; another object, with a traceback that leads to where it happened."""

    async def scenario() -> None:
        cause = OSError("reset")
        error = rl.ModelUnavailableError("down", retry_after=3)
        error.add_note("the first note")
        error.__cause__ = cause
        pipeline, transport = coalesced([1.0, TextDelta("half"), error])
        mine = attrs.evolve(ASK, messages=list(ASK.messages))
        results = await asyncio.gather(ask(pipeline), ask(pipeline, mine), return_exceptions=True)
        assert len(transport.requests) == 1
        one, two = results
        assert len({id(one), id(two), id(error)}) == 3
        for result in results:
            assert (type(result), result.message, result.retry_after) == (rl.ModelUnavailableError, "down", 3)
            assert result.__cause__ is cause
            assert result.partial.text == "half"
            frames = []
            traceback = result.__traceback__
            while traceback:
                frames.append(traceback.tb_frame.f_code.co_name)
                traceback = traceback.tb_next
            assert "receive" in frames
        assert two.partial.sent is mine.messages
        one.add_note("mine alone")
        one.trace = ()
        assert two.__notes__ == error.__notes__ == ["the first note"]
        assert len(two.trace) == 1

    strictly(scenario())


class Stubborn(Exception):  # noqa: N818 - another library's
    """An exception that cannot be copied."""

    def __init__(self, *, needed: int) -> None:
        super().__init__("stubborn")
        self.needed = needed


def test_foreign_exceptions_are_shared_if_they_must_be() -> None:
    """What cannot be copied is raised as it is, for everybody."""

    async def scenario() -> None:
        error = Stubborn(needed=1)
        pipeline, _ = coalesced([1.0, error])
        results = await asyncio.gather(ask(pipeline), ask(pipeline), return_exceptions=True)
        assert results == [error, error]

    strictly(scenario())


def test_every_trace_tells_of_the_shared_attempts() -> None:
    """The leader's attempts are its own; for the others they are marked, those before they joined included."""

    async def scenario() -> None:
        clock = FakeClock()
        retry = rl.Retry(jitter=None, clock=clock)
        pipeline, transport = coalesced([0.2, rl.ModelOverloadedError("busy")], SLOW, inner=[retry])
        told: list[object] = []
        leader = calling(pipeline)
        await asyncio.sleep(0.1)
        early = calling(pipeline, attrs.evolve(ASK, observers=(told.append,)))
        await asyncio.sleep(0.2)
        late = calling(pipeline)
        dones = await asyncio.gather(leader, early, late)
        assert len(transport.requests) == 2
        assert [done.attempts for done in dones] == [2, 2, 2]
        assert [[attempt.shared for attempt in done.trace] for done in dones] == [
            [False, False],
            [True, True],
            [True, True],
        ]
        assert [type(notice).__name__ for notice in told] == ["Attempt", "Waiting", "Attempt", "ContentSeen"]

    strictly(scenario())


def test_a_failed_call_puts_its_trace_on_every_error() -> None:
    """Each error counts the attempts that were made."""

    async def scenario() -> None:
        retry = rl.Retry(max_retries=1, jitter=None, clock=FakeClock())
        pipeline, _ = coalesced([0.2, rl.ModelOverloadedError("busy")], inner=[retry])
        errors = await asyncio.gather(ask(pipeline), ask(pipeline), return_exceptions=True)
        assert [error.attempts for error in errors] == [2, 2]
        assert errors[1].trace[0].shared

    strictly(scenario())


def test_the_leaders_context_is_the_calls() -> None:
    """Context variables are those of the caller who began it; the others keep theirs."""
    name = contextvars.ContextVar("name", default="nobody")
    seen: list[str] = []

    async def transport(request: Request) -> rl.Response:
        seen.append(name.get())
        name.set("the call")
        await asyncio.sleep(1.0)
        return whole([TextDelta("a"), Finish("stop")], ResponseInfo(), request)

    async def caller(pipeline: rl.Pipeline, who: str) -> str:
        name.set(who)
        await ask(pipeline)
        return name.get()

    async def scenario() -> list[str]:
        pipeline = rl.Pipeline([rl.Coalesce()], transport)
        return await asyncio.gather(caller(pipeline, "one"), caller(pipeline, "two"))

    assert run_virtual(scenario()) == ["one", "two"]
    assert seen == ["one"]


# Leaving ...


@pytest.mark.parametrize("leaver", [0, 1, 2])
def test_one_who_leaves_leaves_the_others_alone(leaver: int) -> None:
    """Whoever is cancelled, leader or not, the others get their answer from the same call."""

    async def scenario() -> None:
        pipeline, transport = coalesced(SLOW)
        tasks = [calling(pipeline) for _ in range(3)]
        await asyncio.sleep(0.5)
        tasks[leaver].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results.pop(leaver), asyncio.CancelledError)
        assert [done.text for done in results] == ["Hello", "Hello"]
        assert len(transport.requests) == 1
        assert asyncio.get_running_loop().time() == 1.0

    strictly(scenario())


def test_the_last_one_who_leaves_ends_the_call() -> None:
    """Nobody waits: the call is cancelled, its connection closed, and the next caller begins a new one at once."""

    async def scenario() -> None:
        pipeline, transport = coalesced(SLOW)
        tasks = [calling(pipeline) for _ in range(3)]
        await asyncio.sleep(0.5)
        for task in tasks:
            task.cancel()
        again = calling(pipeline)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (await again).text == "Hello"
        assert len(transport.requests) == 2
        assert transport.open_bodies == 0
        await alone()

    strictly(scenario())


def test_a_caller_cancelled_at_any_step_leaks_nothing() -> None:
    """After any number of loop iterations, alone or with another: no task, no body, no entry is left."""

    async def scenario(steps: int, *, company: bool) -> None:
        pipeline, transport = coalesced([TextDelta("a"), 0.0, Finish("stop")])
        friend = calling(pipeline) if company else None
        task = calling(pipeline)
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        ended.append((await asyncio.gather(task, return_exceptions=True))[0])
        if friend is not None:
            assert (await friend).text == "a"
        await alone()
        assert transport.open_bodies == 0
        assert pipeline.middleware[0]._tables.here().flights == {}
        assert pipeline.middleware[0]._tables.here().left == set()

    ended: list[object] = []
    for steps in range(16):
        strictly(scenario(steps, company=False))
        strictly(scenario(steps, company=True))
    kinds = [isinstance(one, rl.Completion) for one in ended]
    assert (kinds[0], kinds[-1]) == (False, True)  # cancelled at first, too late in the end


def test_a_call_that_takes_its_time_to_end_is_in_nobodys_way() -> None:
    """Left by all, it is still cleaning up while the next call begins; who comes then joins the new one."""
    begun: list[float] = []

    async def transport(request: Request) -> rl.Response:
        begun.append(asyncio.get_running_loop().time())
        try:
            await asyncio.sleep(5.0)
        except asyncio.CancelledError:
            await asyncio.sleep(2.0)
            raise
        return whole([TextDelta("a"), Finish("stop")], ResponseInfo(), request)

    async def scenario() -> None:
        pipeline = rl.Pipeline([rl.Coalesce()], transport)
        first = calling(pipeline)
        await asyncio.sleep(1.0)
        first.cancel()
        await asyncio.sleep(1.0)
        second = calling(pipeline)
        await asyncio.sleep(2.0)
        third = calling(pipeline)
        assert [done.text for done in await asyncio.gather(second, third)] == ["a", "a"]
        assert begun == [0.0, 2.0]

    strictly(scenario())


@attrs.frozen
class Visit:
    """A caller who comes, and perhaps does not stay."""

    came: float
    text: str
    patience: float | None
    by_deadline: bool

    @property
    def left(self) -> float:
        if self.patience is None:
            return 1000.0
        return self.came + self.patience + (0.1 if self.by_deadline else 0.0)  # the grace of a deadline


def visits(drawn: list[tuple[int, str, int | None, bool]]) -> list[Visit]:
    """No two things happen at the same instant: each visit has a thousandth of its own."""
    return [
        Visit(start * 0.05 + place * 0.001, text, patience and patience * 0.05 + 0.0003, by_deadline)
        for place, (start, text, patience, by_deadline) in enumerate(drawn)
    ]


def predicted(crowd: list[Visit]) -> list[float]:
    """When calls begin, by a plain reading: who comes joins the last one if it is under way and not left by all."""
    calls: list[list[Visit]] = []
    for visit in sorted(crowd, key=lambda visit: visit.came):
        last = calls[-1] if calls else []
        if last and visit.came < last[0].came + 1.0 and any(other.left > visit.came for other in last):
            last.append(visit)
        else:
            calls.append([visit])
    return [call[0].came for call in calls]


drawn = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from("ab"), st.none() | st.integers(1, 40), st.booleans()),
    max_size=10,
)


@given(drawn)
@settings(max_examples=60, deadline=None)
def test_any_crowd_gets_one_call_for_each_group(drawn) -> None:
    """Callers come, are cancelled, run out of time: calls begin as predicted, who stays is answered, none leak."""
    crowd = visits(drawn)
    begun: dict[str, list[float]] = {"a": [], "b": []}

    async def transport(request: Request) -> rl.Response:
        text = request.messages[0]["content"]
        begun[text].append(asyncio.get_running_loop().time())
        await asyncio.sleep(1.0)
        return whole([TextDelta(text), Finish("stop")], ResponseInfo(), request)

    async def caller(pipeline: rl.Pipeline, visit: Visit) -> bool:
        await asyncio.sleep(visit.came)
        request = attrs.evolve(ASK, messages=({"role": "user", "content": visit.text},))
        if visit.by_deadline and visit.patience:
            request = attrs.evolve(request, deadline=visit.came + visit.patience)
        try:
            async with asyncio.timeout(None if visit.by_deadline else visit.patience):
                return (await ask(pipeline, request)).text == visit.text
        except (TimeoutError, rl.DeadlineExceededError):
            return False

    async def scenario() -> None:
        clock = FakeClock()
        pipeline = rl.Pipeline([rl.Deadline(None, clock=clock), rl.Coalesce(clock=clock)], transport)
        answered = await asyncio.gather(*(caller(pipeline, visit) for visit in crowd))
        await alone()
        for text, starts in begun.items():
            assert starts == pytest.approx(predicted([visit for visit in crowd if visit.text == text]))
        for visit, answer in zip(crowd, answered, strict=True):
            ended = max(start for start in begun[visit.text] if start <= visit.came + 1e-9) + 1.0
            assert answer == (visit.left > ended)

    strictly(scenario())


# Deadlines ...


def stack(clock: FakeClock, **timeouts) -> list[rl.Middleware]:
    return [
        rl.Deadline(None, clock=clock),
        rl.Coalesce(clock=clock),
        rl.Retry(max_retries=0, clock=clock),
        rl.AttemptTimeout(clock=clock, **timeouts),
    ]


def test_a_follower_with_time_left_calls_again() -> None:
    """The leader's deadline is over: it alone fails; of those who have more time, one calls, and all get the answer."""

    async def scenario() -> None:
        clock = FakeClock()
        transport = ScriptedTransport([1000.0], [1.0, TextDelta("Hello"), Finish("stop")])
        pipeline = rl.Pipeline(stack(clock), transport, clock=clock)
        deadlines = [10.0, 20.0, None, 30.0, 9.0]
        tasks = [calling(pipeline, attrs.evolve(ASK, deadline=deadline)) for deadline in deadlines]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result).__name__ for result in results] == [
            "DeadlineExceededError",
            "Completion",
            "Completion",
            "Completion",
            "DeadlineExceededError",
        ]
        assert clock.monotonic() == 11.0
        assert len(transport.requests) == 2
        assert transport.requests[1].deadline is None  # the one with the most time leads
        assert [[attempt.shared for attempt in results[place].trace] for place in (1, 2, 3)] == [
            [True, True],
            [True, False],
            [True, True],
        ]

    strictly(scenario())


def test_nobody_is_made_to_lead_whose_time_is_over_too() -> None:
    """The call failed a moment after the leader's deadline, and after another's: there is nobody to call again."""

    async def transport(request: Request) -> rl.Response:
        requests.append(request)
        await asyncio.sleep(10.05)
        msg = "too late"
        raise rl.DeadlineExceededError(msg)

    async def scenario() -> None:
        pipeline = rl.Pipeline([rl.Coalesce(clock=FakeClock())], transport)
        tasks = [calling(pipeline, attrs.evolve(ASK, deadline=deadline)) for deadline in (10.0, 10.02)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [result.message for result in results] == ["too late"] * 2
        assert len(requests) == 1

    requests: list[Request] = []
    strictly(scenario())


def test_who_leads_next_leads_with_its_own_context() -> None:
    """Context variables are those of the caller whose request is sent."""
    name = contextvars.ContextVar("name", default="nobody")
    seen: list[str] = []

    async def transport(request: Request) -> rl.Response:
        seen.append(name.get())
        if request.deadline is not None:
            msg = "too late"
            raise rl.DeadlineExceededError(msg)
        return whole([TextDelta("a"), Finish("stop")], ResponseInfo(), request)

    async def caller(pipeline: rl.Pipeline, who: str, deadline: float | None) -> object:
        name.set(who)
        return await ask(pipeline, attrs.evolve(ASK, deadline=deadline))

    async def scenario() -> None:
        pipeline = rl.Pipeline([rl.Coalesce()], transport)
        calls = [caller(pipeline, "one", 10.0), caller(pipeline, "two", None)]
        await asyncio.gather(*calls, return_exceptions=True)

    strictly(scenario())
    assert seen == ["one", "two"]


def test_a_deadline_that_could_not_be_kept_is_not_inherited() -> None:
    """`Retry` gives up because the leader's deadline is too near for the next wait; the others try again."""

    async def scenario() -> None:
        clock = FakeClock()
        transport = ScriptedTransport(rl.ModelRateLimitedError("slow down", retry_after=20), "Hello")
        middleware = [rl.Coalesce(clock=clock), rl.Retry(clock=clock)]
        pipeline = rl.Pipeline(middleware, transport, clock=clock)
        leader = calling(pipeline, attrs.evolve(ASK, deadline=5.0))
        follower = calling(pipeline, attrs.evolve(ASK, deadline=6.0))
        results = await asyncio.gather(leader, follower, return_exceptions=True)
        assert isinstance(results[0], rl.DeadlineExceededError)
        assert results[1].text == "Hello"
        assert len(transport.requests) == 2

    strictly(scenario())


def test_a_hang_that_is_not_the_leaders_deadline_is_everybodys() -> None:
    """An attempt's own limit is over: all get the same error, and nobody calls again."""

    async def scenario() -> None:
        clock = FakeClock()
        transport = ScriptedTransport([1000.0])
        pipeline = rl.Pipeline(stack(clock, whole=4.0), transport, clock=clock)
        tasks = [calling(pipeline, attrs.evolve(ASK, deadline=deadline)) for deadline in (10.0, 20.0)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result).__name__ for result in results] == ["ModelTimeoutError"] * 2
        assert len(transport.requests) == 1

    strictly(scenario())


def test_a_crowd_with_a_deadline_each_does_not_storm_a_hung_backend() -> None:
    """A hundred callers who came one after the other, each with its own ten seconds: two calls, not a hundred."""

    async def scenario() -> None:
        clock = FakeClock()
        transport = ScriptedTransport([1000.0])
        pipeline = rl.Pipeline(stack(clock), transport, clock=clock)
        tasks = []
        for _ in range(100):
            tasks.append(calling(pipeline, attrs.evolve(ASK, deadline=clock.monotonic() + 10.0)))
            await asyncio.sleep(0.01)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result).__name__ for result in results} == {"DeadlineExceededError"}
        assert len(transport.requests) == 2
        assert clock.monotonic() < 11.2

    strictly(scenario())


@pytest.mark.parametrize("outer", [True, False], ids=["with Deadline", "without"])
def test_a_follower_keeps_its_own_deadline(outer: bool) -> None:
    """It gets its error when its time is over, whatever the leader waits for; the others go on."""

    async def scenario() -> None:
        clock = FakeClock()
        transport = ScriptedTransport([50.0, TextDelta("Hello"), Finish("stop")])
        middleware = stack(clock) if outer else stack(clock)[1:]
        pipeline = rl.Pipeline(middleware, transport, clock=clock)
        leader = calling(pipeline)
        follower = calling(pipeline, attrs.evolve(ASK, deadline=3.0, model=""))
        with pytest.raises(rl.DeadlineExceededError) as caught:
            await follower
        assert 3.0 <= clock.monotonic() <= 3.2
        assert "DEADLINE_EXCEEDED" in str(caught.value)
        assert (await leader).text == "Hello"
        assert len(transport.requests) == 1

    strictly(scenario())


def test_a_leader_that_was_cancelled_leaves_its_deadline_behind() -> None:
    """The call that it began ends with its deadline; who is left and has time calls again."""

    async def scenario() -> None:
        clock = FakeClock()
        transport = ScriptedTransport([1000.0], "Hello")
        pipeline = rl.Pipeline(stack(clock), transport, clock=clock)
        leader = calling(pipeline, attrs.evolve(ASK, deadline=10.0))
        follower = calling(pipeline)
        await asyncio.sleep(5.0)
        leader.cancel()
        assert (await follower).text == "Hello"
        assert clock.monotonic() == 10.0
        assert len(transport.requests) == 2

    strictly(scenario())


# The ends of things ...


def test_aclose_waits_for_calls_that_everybody_left() -> None:
    """Also for one whose callers were cancelled in the same breath, and that takes its time to end."""
    ended: list[float] = []

    async def transport(request: Request) -> rl.Response:
        try:
            await asyncio.sleep(1000.0)
        finally:
            await asyncio.sleep(2.0)
            ended.append(asyncio.get_running_loop().time())
        raise AssertionError

    async def scenario() -> None:
        pipeline = rl.Pipeline([rl.Coalesce()], transport)
        task = calling(pipeline)
        await asyncio.sleep(1.0)
        task.cancel()
        await pipeline.aclose()
        assert ended == [3.0]
        await pipeline.aclose()
        await asyncio.gather(task, return_exceptions=True)

    strictly(scenario())


def test_a_closed_client_leaves_no_call_behind() -> None:
    """Callers that do not finish within the grace are cancelled, and so is what they share."""

    async def scenario() -> None:
        transport = ScriptedTransport([1000.0])
        llm = rl.AsyncClient(transport=transport, coalesce=rl.Coalesce(), deadline=None)
        tasks = [asyncio.ensure_future(llm.complete("Hello")) for _ in range(3)]
        await asyncio.sleep(1.0)
        await llm.aclose(grace=1.0)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert (len(transport.requests), transport.open_bodies) == (1, 0)
        await alone()

    strictly(scenario())


def test_closing_one_stack_does_not_end_anothers_calls() -> None:
    """A stage that two clients use goes on for the one that is open."""

    async def scenario() -> None:
        stage = rl.Coalesce()
        one, two = (
            rl.Pipeline([stage], ScriptedTransport(SLOW)),
            rl.Pipeline([stage], ScriptedTransport(SLOW)),
        )
        task = calling(two)
        await asyncio.sleep(0.5)
        await one.aclose()
        assert (await task).text == "Hello"

    strictly(scenario())


def test_a_loop_that_is_shut_down_ends_everything() -> None:
    """All tasks are cancelled at once, the shared one included: callers see a cancellation, nothing warns."""

    async def scenario() -> None:
        pipeline, transport = coalesced(SLOW)
        tasks = [calling(pipeline) for _ in range(2)]
        await asyncio.sleep(0.5)
        for task in asyncio.all_tasks() - {asyncio.current_task(), *tasks}:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert transport.open_bodies == 0

    strictly(scenario())
    gc.collect()


def test_loops_do_not_meet() -> None:
    """One after the other in a thread, and side by side in two: each loop has calls of its own."""
    stage = rl.Coalesce()
    transport = ScriptedTransport([0.05, TextDelta("Hello"), Finish("stop")])
    pipeline = rl.Pipeline([stage], transport)

    async def crowd() -> set[str]:
        return {done.text for done in await asyncio.gather(*(ask(pipeline) for _ in range(5)))}

    assert [asyncio.run(crowd()) for _ in range(2)] == [{"Hello"}] * 2
    assert len(transport.requests) == 2
    results: list[set[str]] = []
    threads = [threading.Thread(target=lambda: results.append(asyncio.run(crowd()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)
    assert results == [{"Hello"}] * 2
    assert len(transport.requests) == 4


def test_a_loop_that_was_stopped_in_the_middle_is_nobody_elses() -> None:
    """A call whose loop stands still is not joined by a caller in another loop of the same thread."""
    pipeline, transport = coalesced([1000.0], "Hello")
    stopped = asyncio.new_event_loop()
    task = stopped.create_task(ask(pipeline))
    stopped.call_later(0.01, stopped.stop)
    stopped.run_forever()
    assert asyncio.run(asyncio.wait_for(ask(pipeline), 5.0)).text == "Hello"
    assert len(transport.requests) == 2
    task.cancel()
    stopped.run_until_complete(asyncio.gather(task, return_exceptions=True))
    stopped.run_until_complete(asyncio.sleep(0))
    stopped.close()


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="eager tasks came with Python 3.12")
def test_eager_tasks_are_shared_too() -> None:
    """A call that ends before its task was even scheduled is told once."""

    async def scenario() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        pipeline, transport = coalesced("Hello", inner=[rl.Retry(clock=FakeClock())])
        dones = [await ask(pipeline) for _ in range(2)]
        assert [done.attempts for done in dones] == [1, 1]
        assert len(transport.requests) == 2

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(scenario())


async def test_the_server_sees_one_request() -> None:
    """Over real sockets: twenty callers of a client, whole, one request; and the next one is sent again."""
    async with (
        FaultServer([Answer(latency=0.1)]) as server,
        rl.AsyncClient(
            "openai-compatible", base_url=server.base_url, model="m", cache=rl.Cache(), coalesce=rl.Coalesce()
        ) as llm,
    ):
        dones = await asyncio.gather(*(llm.complete("Hello", temperature=0.5) for _ in range(20)))
        assert len(server.requests) == 1
        assert len({done.text for done in dones}) == 1
        assert sum(not attempt.shared for done in dones for attempt in done.trace) == 1
        await llm.complete("Hello", temperature=0.5)
        assert len(server.requests) == 2


def test_attempts_say_so_in_the_log() -> None:
    """An attempt that was made for another caller is marked where it is logged."""
    from resilient_llm.middleware.logging import _attempt  # noqa: PLC0415

    assert _attempt(Attempt(1, "b", 0.5, shared=True))["shared"] is True
    assert _attempt(Attempt(1, "b", 0.5))["shared"] is None
