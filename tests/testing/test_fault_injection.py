"""FaultInjection: what it does is taken for real, by every stage and beside the real thing."""

from __future__ import annotations

import asyncio
import logging
import random
from itertools import pairwise

import attrs
import pytest

import resilient_llm as rl
from resilient_llm.events import Finish, Result, TextDelta, ToolCall, ToolCallDelta, UsageEvent
from resilient_llm.models import Embeddings, Request, Usage
from resilient_llm.testing import (
    Answer,
    Cut,
    Dribble,
    ErrorEvent,
    FakeClock,
    FaultInjection,
    FaultServer,
    Garbage,
    Phase,
    Reply,
    Reset,
    ScriptedTransport,
    Stall,
    Status,
    Throttle,
    run_virtual,
)

ASK = Request(messages=({"role": "user", "content": "Hello"},))
STREAM = attrs.evolve(ASK, stream=True)
DOING = "MODEL_OVERLOADED, nothing, cut, script, OSError, 429; latency 0.5; seed 1"
BUSY = rl.ErrorCode.MODEL_OVERLOADED


def injected(*scripts, outer=(), **options):
    """A pipeline with faults below a classifier, the stage, and the transport."""
    clock = FakeClock()
    stage = FaultInjection(clock=clock, **options)
    transport = ScriptedTransport(*(scripts or ("One two three",)))
    pipeline = rl.Pipeline([*outer, rl.ErrorClassifier(clock=clock), stage], transport, clock=clock)
    return pipeline, stage, transport


async def ask(pipeline: rl.Pipeline, request: Request = ASK) -> rl.Completion:
    async with await pipeline(request) as response:
        return await response.completion()


async def result(pipeline: rl.Pipeline, request: Request = ASK) -> object:
    """The text, or the code of the error and what had come."""
    try:
        return (await ask(pipeline, request)).text
    except rl.LLMError as error:
        return str(error.code), error.partial and error.partial.text


# Codes, errors, answers ...


@pytest.mark.parametrize("code", rl.ErrorCode)
@pytest.mark.parametrize("request_", [ASK, STREAM], ids=["whole", "streamed"])
def test_every_code_can_be_injected(code, request_) -> None:
    """By the enum or by its name; the backend is not called."""

    async def scenario(said) -> None:
        pipeline, _, transport = injected(script=[said])
        with pytest.raises(rl.LLMError) as caught:
            await ask(pipeline, request_)
        assert (caught.value.code, caught.value.message) == (code, "injected")
        assert transport.requests == []

    run_virtual(scenario(code))
    run_virtual(scenario(str(code)))


def test_an_error_of_ones_own_is_raised_anew_each_time() -> None:
    """With its delay and its notes; stages that write on it write on a copy."""

    async def scenario() -> None:
        error = rl.ModelRateLimitedError("slow down", retry_after=7.0)
        pipeline, _, _ = injected(script=[error])
        for _ in range(2):
            with pytest.raises(rl.ModelRateLimitedError) as caught:
                await ask(pipeline)
            assert caught.value.retry_after == 7.0
            assert caught.value is not error
            caught.value.add_note("not retried")
        assert (error.__traceback__, error.attempts, getattr(error, "__notes__", [])) == (None, 0, [])

    run_virtual(scenario())


def test_what_a_transport_raises_is_classified() -> None:
    """Exceptions of other libraries and raw refusals are judged like a transport's."""

    async def scenario() -> list[object]:
        script = [ConnectionResetError("reset"), rl.BackendFailure(429, {"retry-after": "3"}, b"{}"), None]
        pipeline, _, _ = injected(script=script)
        return [await result(pipeline) for _ in range(4)]

    assert run_virtual(scenario()) == [
        ("MODEL_UNAVAILABLE", None),
        ("MODEL_RATE_LIMITED", None),
        "One two three",
        "One two three",
    ]


def test_another_answer_can_be_given() -> None:
    """A text, or events with seconds and errors between them, instead of the backend's."""

    async def scenario() -> None:
        script = [
            "Something else",
            [TextDelta("cut"), Finish("length")],
            [TextDelta("half"), 2.0, rl.ModelOverloadedError("busy")],
            "",
        ]
        pipeline, _, transport = injected(script=script)
        assert await result(pipeline, STREAM) == "Something else"
        done = await ask(pipeline)
        assert (done.text, done.finish_reason, done.backend) == ("cut", "length", "injected")
        assert await result(pipeline, STREAM) == ("MODEL_OVERLOADED", "half")
        assert asyncio.get_running_loop().time() == 2.0
        assert await result(pipeline) == ""
        assert transport.requests == []

    run_virtual(scenario())


# The fault server's words ...

WORDS = [
    Answer(),
    Cut(after=0),
    Cut(after=2),
    Cut(after=100),
    Cut(finished=True),
    Cut(after=0, clean=True),
    Cut(after=2, clean=True),
    ErrorEvent(),
    ErrorEvent(reason="rate_limited", after=2),
    Reset(),
    Garbage(),
    Stall(),
    Stall(after=2),
    Stall(after=None),
    Status.rate_limited(2.5),
    Status.overloaded(),
    Status.failed(),
    Status("context_length"),
    Status("quota_exceeded"),
    Status(502),
    Status(404, body="no such model"),
    Status(429, headers={"Retry-After": "3"}),
    Status(400, body={"error": {"message": "bad"}}),
]


@pytest.mark.parametrize("fault", WORDS, ids=lambda fault: f"{fault} {getattr(fault, 'after', '')}")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_an_injected_fault_is_the_real_one(fault, stream) -> None:
    """The same words, injected above a sound server and done by the server: same error, partial, delay, blame."""
    told: list[tuple[object, ...]] = []
    limit = 0.2 if isinstance(fault, Stall) else 30.0
    for served, script in ((fault, None), (Answer(), fault)):
        async with FaultServer([served]) as server:
            transport = rl.OpenAICompatibleTransport(server.base_url, model="m")
            stages = [
                rl.AttemptTimeout(whole=limit, first_token=limit, idle=limit),
                rl.ErrorClassifier(),
                FaultInjection(script=[script]),
            ]
            pipeline = rl.Pipeline(stages, transport)
            try:
                done = await ask(pipeline, attrs.evolve(ASK, stream=stream))
                told.append((done.text, done.usage, done.finish_reason))
            except rl.LLMError as error:
                partial = error.partial and error.partial.text
                told.append(
                    (
                        error.code,
                        partial,
                        error.retry_after,
                        error.status,
                        error.backend_fault,
                        error.retryable,
                    )
                )
            await pipeline.aclose()
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("after", "partial"),
    [(0, None), (1, "One "), (2, "One two "), (3, "One two three"), (9, "One two three")],
)
def test_a_cut_stream_breaks_off_after_so_many_pieces(after, partial) -> None:
    """At its end at the latest: the finish reason never comes."""

    async def scenario() -> None:
        pipeline, _, transport = injected(script=[Cut(after=after)])
        assert await result(pipeline, STREAM) == ("MODEL_RESPONSE_INVALID", partial)
        assert transport.open_bodies == 0
        assert await result(pipeline) == ("MODEL_RESPONSE_INVALID", None)
        assert len(transport.requests) == 2

    run_virtual(scenario())


def test_a_stream_is_cut_in_the_middle_of_a_tool_call() -> None:
    """Fragments count as pieces; the call that is cut is not handed over, the whole one before it is, once."""

    async def scenario(deltas: bool) -> list[object]:
        script = [
            ToolCallDelta(0, "c0", "f", "{}"),
            ToolCallDelta(1, "c1", "f", '{"a"'),
            ToolCallDelta(1, "", "", ": 1}"),
            UsageEvent(Usage(1)),
            Finish("tool_calls"),
        ]
        pipeline, _, _ = injected(script, script=[Cut(after=2), Answer()])
        request = attrs.evolve(STREAM, extensions={"tool_deltas": deltas})
        seen: list[object] = []
        async with await pipeline(request) as response:
            response.on_event(lambda event: seen.append(event) or event)
            with pytest.raises(rl.ModelResponseInvalidError):
                await response.completion()
        done = await ask(pipeline, request)
        assert [call.arguments for call in done.tool_calls] == ["{}", '{"a": 1}']
        return seen

    whole = ToolCall(0, "c0", "f", "{}")
    assert run_virtual(scenario(deltas=False)) == [whole]
    assert run_virtual(scenario(deltas=True)) == [
        ToolCallDelta(0, "c0", "f", "{}"),
        whole,
        ToolCallDelta(1, "c1", "f", '{"a"'),
    ]


def test_whole_tool_calls_pass_a_slow_answer() -> None:
    """Backends that send calls whole, and not in fragments, lose none."""

    async def scenario() -> None:
        calls = [ToolCall(0, "c0", "f", "{}"), ToolCall(1, "c1", "f", "{}"), Finish("tool_calls")]
        pipeline, _, _ = injected(calls, script=[Answer()])
        assert [call.id for call in (await ask(pipeline, STREAM)).tool_calls] == ["c0", "c1"]

    run_virtual(scenario())


def test_a_stall_is_stopped_by_the_limits() -> None:
    """Before the first content by the first token's, after it by the idle one; whole, by the attempt's."""

    async def scenario(fault, request) -> tuple[object, float]:
        clock = FakeClock()
        limits = rl.AttemptTimeout(first_token=60.0, idle=30.0, whole=600.0, clock=clock)
        pipeline, _, transport = injected(outer=[limits], script=[fault])
        said = await result(pipeline, request)
        assert transport.open_bodies == 0
        return said, asyncio.get_running_loop().time()

    assert run_virtual(scenario(Stall(), STREAM)) == (("MODEL_TIMEOUT", None), 60.0)
    assert run_virtual(scenario(Stall(after=1), STREAM)) == (("MODEL_TIMEOUT", "One "), 30.0)
    assert run_virtual(scenario(Stall(after=9), ASK)) == (("MODEL_TIMEOUT", None), 600.0)


def test_a_stall_ends_by_itself_in_the_end() -> None:
    """Without any limit it is a reset after an hour: nothing hangs for ever."""

    async def scenario(request) -> tuple[object, float]:
        pipeline, _, transport = injected(script=[Stall(after=1)])
        said = await result(pipeline, request)
        assert transport.open_bodies == 0
        return said, asyncio.get_running_loop().time()

    assert run_virtual(scenario(STREAM)) == (("MODEL_UNAVAILABLE", "One "), 3600.0)
    assert run_virtual(scenario(ASK)) == (("MODEL_UNAVAILABLE", None), 3600.0)


@pytest.mark.parametrize(
    "fault", [Stall(after=1), Stall(), Answer(latency=5), Answer(interval=5), Cut(after=2, interval=5)]
)
@pytest.mark.parametrize("seconds", [0.0, 1.0, 6.0])
@pytest.mark.parametrize("request_", [ASK, STREAM], ids=["whole", "streamed"])
def test_a_cancelled_caller_leaves_nothing(fault, seconds, request_) -> None:
    """Wherever a fault holds the call up, a cancellation passes and the backend's answer is let go of."""

    async def scenario() -> None:
        pipeline, _, transport = injected(script=[fault])
        task = asyncio.ensure_future(ask(pipeline, request_))
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert transport.open_bodies == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(scenario())


def test_slow_answers_are_slow() -> None:
    """Seconds to the head, seconds before each piece of a stream."""

    async def scenario(fault, request) -> float:
        pipeline, _, _ = injected(script=[fault])
        assert await result(pipeline, request) == "One two three"
        return asyncio.get_running_loop().time()

    assert run_virtual(scenario(Answer(latency=3.0), ASK)) == 3.0
    assert run_virtual(scenario(Answer(latency=3.0, interval=1.0), STREAM)) == 6.0
    assert run_virtual(scenario(Answer(first_token=5.0, interval=1.0), STREAM)) == 7.0
    assert run_virtual(scenario(Cut(finished=True, first_token=0.0, interval=1.0), STREAM)) == 2.0


def test_a_failure_of_the_backend_itself_comes_through() -> None:
    """What happens below a slow answer is not hidden by it."""

    async def scenario() -> None:
        broken = [TextDelta("One "), rl.ModelUnavailableError("reset")]
        pipeline, _, transport = injected(broken, script=[Answer()])
        assert await result(pipeline, STREAM) == ("MODEL_UNAVAILABLE", "One ")
        assert transport.open_bodies == 0

    run_virtual(scenario())


# By chance ...


def test_same_seed_same_faults_whatever_the_interleaving() -> None:
    """What a call meets follows from its number in order of arrival, however the calls overlap."""

    async def scenario(seed: int, *, together: bool) -> list[object]:
        pipeline, _, _ = injected(
            rate=0.5, errors=[BUSY, Cut(), "No"], latency=lambda chance: chance.expovariate(1.0), seed=seed
        )
        if together:
            return await asyncio.gather(*(result(pipeline) for _ in range(60)))
        return [await result(pipeline) for _ in range(60)]

    one = run_virtual(scenario(1, together=False))
    assert one == run_virtual(scenario(1, together=True))
    assert one != run_virtual(scenario(2, together=False))
    assert len(set(one)) == 4


def test_another_latency_leaves_the_faults_as_they_are() -> None:
    """A change of one option is no change of another."""

    async def scenario(latency) -> list[object]:
        pipeline, _, _ = injected(rate=0.5, latency=latency, seed=3)
        return [await result(pipeline) for _ in range(30)]

    assert run_virtual(scenario(0.0)) == run_virtual(scenario((0.0, 1.0)))


def test_the_seed_is_told_and_can_be_used_again() -> None:
    """Without a seed there is one by chance; the repr shows it."""
    one, two = FaultInjection(rate=0.5), FaultInjection(rate=0.5)
    assert one.seed != two.seed
    assert f"seed {one.seed}" in repr(one)


def test_latency_holds_every_call_up() -> None:
    """Between the bounds, faults or not; a fault's own latency comes on top."""

    async def scenario() -> list[float]:
        pipeline, _, _ = injected(latency=(1.0, 2.0), seed=1, script=[None, Reset(latency=10.0)])
        times = [0.0]
        for _ in range(2):
            await result(pipeline)
            times.append(asyncio.get_running_loop().time())
        return [after - before for before, after in pairwise(times)]

    first, second = run_virtual(scenario())
    assert 1.0 <= first <= 2.0
    assert 11.0 <= second <= 12.0


# By script, for whom, and when ...


def test_a_function_can_say_what_happens() -> None:
    """It is given the request and the number of the call, from 1."""

    async def scenario() -> list[object]:
        def script(request: Request, number: int):
            return BUSY if request.model == "bad" or number == 3 else None

        pipeline, _, _ = injected(script=script)
        models = ["good", "bad", "good", "good"]
        return [await result(pipeline, attrs.evolve(ASK, model=model)) for model in models]

    busy = ("MODEL_OVERLOADED", None)
    assert run_virtual(scenario()) == ["One two three", busy, busy, "One two three"]


def test_others_pass_uncounted() -> None:
    """`when` says for which requests it is; it can be switched off and on while calls are made."""

    async def scenario() -> list[object]:
        pipeline, stage, _ = injected(when=lambda request: request.model == "m", script=[BUSY, None, BUSY])
        mine = attrs.evolve(ASK, model="m")
        said = [await result(pipeline), await result(pipeline, mine)]
        stage.enabled = False
        said += [await result(pipeline, mine), await result(pipeline, mine)]
        stage.enabled = True
        return [*said, await result(pipeline, mine), await result(pipeline, mine)]

    busy, fine = ("MODEL_OVERLOADED", None), "One two three"
    assert run_virtual(scenario()) == [fine, busy, fine, fine, fine, busy]


def test_it_says_that_it_is_on(caplog) -> None:
    """In its repr, in one warning, and in a line for each fault; never what an answer says."""

    async def scenario() -> None:
        pipeline, stage, _ = injected(
            script=[BUSY, None, Cut(after=1), "a secret", OSError("x"), Status.rate_limited()],
            seed=1,
            latency=0.5,
        )
        for _ in range(6):
            await result(pipeline)
        assert repr(stage) == (f"<FaultInjection on: {DOING}>")
        stage.enabled = False
        assert repr(stage).startswith("<FaultInjection off: ")

    with caplog.at_level(logging.INFO, "resilient_llm"):
        run_virtual(scenario())
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        f"llm.fault_injection doing='{DOING}'",
        "llm.fault number=1 fault=MODEL_OVERLOADED",
        "llm.fault number=3 fault=cut",
        "llm.fault number=4 fault=script",
        "llm.fault number=5 fault=OSError",
        "llm.fault number=6 fault=429",
    ]
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"rate": 0.25, "errors": [BUSY]}, "25% of MODEL_OVERLOADED; latency 0.0; seed 1"),
        ({"script": lambda request, number: None}, "a script; latency 0.0; seed 1"),
        (
            {"script": [None] * 8 + [BUSY]},
            "nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing, ...; latency 0.0; seed 1",
        ),
    ],
)
def test_its_repr_is_short(options, shown) -> None:
    """What it does, in a line."""
    assert repr(FaultInjection(seed=1, **options)) == f"<FaultInjection on: {shown}>"


@pytest.mark.parametrize(
    "said",
    [
        3,
        object(),
        Throttle(refuse=1, period=2),
        Phase("calm", 1.0),
        Dribble(),
        Answer(reply=Reply("Hello")),
        Cut(at=9),
        b"bytes",
        ValueError,
    ],
)
def test_what_cannot_be_injected_is_refused(said) -> None:
    """When the stage is made, or when a script's function says it; the message says what can be."""
    for options in ({"errors": [said]}, {"script": [said]}):
        with pytest.raises(TypeError, match="cannot be injected"):
            FaultInjection(**options)
    pipeline, _, _ = injected(script=lambda request, number: said)
    with pytest.raises(rl.LLMError, match="cannot be injected"):
        run_virtual(ask(pipeline))


def test_embeddings_can_fail_too() -> None:
    """Faults are not for chats alone."""

    async def scenario() -> None:
        pipeline, _, _ = injected(
            [Result(Embeddings([[1.0]])), Finish("stop")], script=[Cut(), BUSY, Answer()]
        )
        request = Request("embed", params={"input": ["a"]})
        assert await result(pipeline, request) == ("MODEL_RESPONSE_INVALID", None)
        assert await result(pipeline, request) == ("MODEL_OVERLOADED", None)
        assert (await (await pipeline(request)).result()).vectors == [[1.0]]

    run_virtual(scenario())


# Everything above takes it for real ...


def test_the_standard_stack_lives_through_it() -> None:
    """With a fifth of the calls failing, a hundred callers are answered, and the backend is called once for each."""

    async def scenario() -> None:
        clock = FakeClock()
        stack = rl.standard_stack(clock=clock, rng=random.Random(1))
        faults = FaultInjection(rate=0.2, latency=(0.1, 0.5), seed=2, clock=clock)
        transport = ScriptedTransport("Hello")
        pipeline = rl.Pipeline([*stack, faults], transport, clock=clock)
        dones = await asyncio.gather(*(ask(pipeline) for _ in range(100)))
        assert {done.text for done in dones} == {"Hello"}
        assert max(done.attempts for done in dones) > 1
        assert len(transport.requests) == 100

    run_virtual(scenario())


def test_the_circuit_opens_on_injected_faults() -> None:
    """Five in a row, and the next call is rejected without meeting one."""

    async def scenario() -> None:
        clock = FakeClock()
        faults = FaultInjection(script=[Reset()], clock=clock)
        stack = rl.standard_stack(clock=clock, max_retries=0)
        pipeline = rl.Pipeline([*stack, faults], ScriptedTransport("Hello"), clock=clock)
        said = [await result(pipeline) for _ in range(6)]
        assert said == [("MODEL_UNAVAILABLE", None)] * 5 + [("CIRCUIT_OPEN", None)]

    run_virtual(scenario())


def test_a_cut_stream_is_restarted() -> None:
    """By `StreamRecovery`, as if the backend had broken it."""

    async def scenario() -> None:
        clock = FakeClock()
        faults = FaultInjection(script=[Cut(after=2), None], clock=clock)
        stack = rl.standard_stack(clock=clock, recovery="restart")
        pipeline = rl.Pipeline([*stack, faults], ScriptedTransport("One two three"), clock=clock)
        async with await pipeline(STREAM) as response:
            events = [type(event).__name__ async for event in response]
        assert events == [
            "TextDelta",
            "TextDelta",
            "Restarted",
            "TextDelta",
            "TextDelta",
            "TextDelta",
            "Finish",
        ]

    run_virtual(scenario())


def test_a_misplaced_one_is_refused() -> None:
    """Above the classifier its faults would reach the caller as they are."""
    with pytest.raises(rl.CompositionError, match="put FaultInjection after ErrorClassifier"):
        rl.Pipeline([FaultInjection(rate=0.1), rl.ErrorClassifier()], ScriptedTransport("Hello"))
