"""How answers end, over real sockets: the code, what was delivered, and `partial`; and what recovers of it."""

from __future__ import annotations

import asyncio

import attrs
import pytest

import resilient_llm as rl
from resilient_llm.testing import (
    Answer,
    Call,
    Cut,
    ErrorEvent,
    FaultServer,
    Hollow,
    KeepAlive,
    Malformed,
    Reply,
    Stall,
    Status,
    serving,
)
from resilient_llm.testing.fault_server.faults import Pace

INVALID, TIMEOUT = rl.ErrorCode.MODEL_RESPONSE_INVALID, rl.ErrorCode.MODEL_TIMEOUT
OVERLOADED = rl.ErrorCode.MODEL_OVERLOADED
TEXT = "Rhine, Danube and  Volga\nare rivers."
SOME = "Rhine, Danube and"
ARGUMENTS = '{"a": 12345678901234, "b": 2}'
DIALECTS = ("openai-compatible", "anthropic", "ollama")


@attrs.frozen(kw_only=True)
class Unfinished(Pace):
    """A stream that brings some pieces and its end marker, and no finish reason though it names them."""

    async def play(self, exchange) -> None:
        written = await self.begin(exchange)
        await self.bring(exchange, written.pieces[:3])
        await exchange.chunk(written.finish.replace(b'"stop"', b"null").replace(b'"end_turn"', b"null"))
        await exchange.chunk(written.end)
        await exchange.end_chunks()


@attrs.frozen(kw_only=True)
class ResetLate(Pace):
    """A stream whose connection is reset, after some pieces or after the finish reason."""

    finished: bool = False

    async def play(self, exchange) -> None:
        written = await self.begin(exchange)
        await self.bring(exchange, written.pieces if self.finished else written.pieces[:3])
        await exchange.chunk(written.finish if self.finished else b"")
        await asyncio.sleep(0.02)  # what was sent arrives
        exchange.reset()


@attrs.frozen(kw_only=True)
class Measured(Pace):
    """A stream with a length, of which half comes before the connection ends."""

    async def play(self, exchange) -> None:
        written = exchange.written(self.reply)
        data = written.opening + b"".join(written.pieces[:3])
        await exchange.respond(200, data, kind=exchange.dialect.kind, length=len(written.all))
        exchange.cut()


def tool(arguments: str = ARGUMENTS, **more) -> Reply:
    return Reply("Let me see. ", calls=[Call("add", arguments)], **more)


def client(dialect: str, server: FaultServer, *, limit: float = 20.0, **options) -> rl.AsyncClient:
    """A client whose patience is short where it is tried, and long where a slow machine would try it."""
    url = server.base_url if dialect == "openai-compatible" else server.url
    key = None if dialect == "llamacpp" else "key"
    limits = dict.fromkeys(("first_token_timeout", "idle_timeout", "attempt_timeout"), limit)
    options = {"max_retries": 0, **limits, **options}
    return rl.AsyncClient(dialect, base_url=url, api_key=key, model="claude-3-haiku", **options)


def patience(code: rl.ErrorCode) -> float:
    return 0.25 if code is TIMEOUT else 20.0


async def streamed(llm: rl.AsyncClient, **options):
    """The events of a stream, the error that ended it, and how often it was settled."""
    events, error, outcomes = [], None, []
    try:
        async with llm.stream("Name three rivers.", **options) as response:
            response.on_settle(outcomes.append)
            async for event in response:
                events.append(event)  # noqa: PERF401 - what came before the error counts
    except rl.LLMError as exc:
        error = exc
    assert len(outcomes) <= 1
    return events, error


def text_of(events) -> str:
    return "".join(event.text for event in events if isinstance(event, rl.TextDelta))


# Streams that end as they should not ...


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("fault", "code", "delivered"),
    [
        (Cut(after=3, clean=True), INVALID, SOME),
        (Cut(after=3), INVALID, SOME),
        (Measured(), INVALID, SOME),
        (Cut(after=0, clean=True), INVALID, ""),
        (Cut(after=0), INVALID, ""),
        (Hollow(), INVALID, ""),
        (ErrorEvent(after=0), OVERLOADED, ""),
        (ErrorEvent(after=3), OVERLOADED, SOME),
        (Malformed(after=3), INVALID, SOME),
        (ResetLate(), INVALID, SOME),
        (Stall(after=3), TIMEOUT, SOME),
        (Stall(after=0), TIMEOUT, ""),
        (Stall(after=None), TIMEOUT, ""),
        (KeepAlive(after=3, every=0.05), TIMEOUT, SOME),
        (Answer(reply=tool(ARGUMENTS[:20])), INVALID, "Let me see. "),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Pace) else None,
)
async def test_a_stream_that_breaks_off(fault, code, delivered, dialect) -> None:
    """It ends in a typed error, with all that was delivered as `partial`; half a tool call is never delivered."""
    async with (
        FaultServer(fault, reply=TEXT) as server,
        client(dialect, server, limit=patience(code)) as llm,
    ):
        events, error = await streamed(llm)
    assert error is not None
    assert (error.code, text_of(events)) == (code, delivered)
    assert not any(isinstance(event, rl.ToolCall | rl.Finish) for event in events)
    assert (error.partial.text if error.partial else "") == delivered
    assert (error.partial is None) == (not delivered)
    assert error.backend == dialect
    assert len(server.requests) == error.attempts == 1


@pytest.mark.parametrize("dialect", ["openai-compatible", "anthropic"])
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Cut(after=5, reply=tool()), INVALID),
        (Cut(after=5, clean=True, reply=tool()), INVALID),
        (Stall(after=5, reply=tool()), TIMEOUT),
    ],
    ids=["cut", "clean cut", "stall"],
)
async def test_a_stream_that_breaks_off_in_a_call(fault, code, dialect) -> None:
    """Half a tool call is never delivered; Ollama sends calls whole."""
    async with FaultServer(fault) as server, client(dialect, server, limit=patience(code)) as llm:
        events, error = await streamed(llm)
    assert error is not None
    assert (error.code, text_of(events), error.partial.text) == (code, "Let me see. ", "Let me see. ")
    assert not any(isinstance(event, rl.ToolCall | rl.Finish) for event in events)


@pytest.mark.parametrize("dialect", ["openai-compatible", "anthropic"])
async def test_an_end_marker_without_a_reason_is_an_interruption(dialect) -> None:
    """Where reasons are named, one that is null is missing; Ollama's `done` is an end by itself."""
    async with FaultServer(Unfinished(), reply=TEXT) as server, client(dialect, server) as llm:
        events, error = await streamed(llm)
    assert error is not None
    assert (error.code, text_of(events), error.partial.text) == (INVALID, SOME, SOME)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Cut(clean=True), INVALID),
        (Cut(), INVALID),
        (Hollow(), INVALID),
        (ErrorEvent(), OVERLOADED),
        (Malformed(), INVALID),
        (Stall(after=None), TIMEOUT),
        (KeepAlive(every=0.05), TIMEOUT),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Pace) else None,
)
async def test_a_whole_answer_that_breaks_off(fault, code, dialect) -> None:
    """It is the same error, and a retry gets the answer without a word about it."""
    async with FaultServer(fault, reply=TEXT) as server, client(dialect, server) as llm:
        with pytest.raises(rl.LLMError) as caught:
            await llm.complete("Name three rivers.", attempt_timeout=patience(code))
        assert (caught.value.code, caught.value.attempts) == (code, 1)
        if code is not TIMEOUT:
            server.begin(fault, Answer())
            done = await llm.complete("Name three rivers.", max_retries=1, initial_backoff=0.001)
            assert (done.text, done.attempts, len(server.requests)) == (TEXT, 2, 2)


async def test_a_whole_answer_with_half_a_call_is_none() -> None:
    """What came of it is attached."""
    fault = Answer(reply=tool(ARGUMENTS[:20]))
    async with FaultServer(fault) as server, client("openai-compatible", server) as llm:
        with pytest.raises(rl.ModelResponseInvalidError, match="add") as caught:
            await llm.complete("Add.")
    assert caught.value.partial.text == "Let me see. "


# Streams that are complete, whatever becomes of their connection ...


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "fault",
    [Answer(), Cut(finished=True), Cut(finished=True, clean=True), ResetLate(finished=True)],
    ids=["sound", "cut", "no end marker", "reset"],
)
async def test_a_finish_reason_is_an_end(fault, dialect) -> None:
    """After it nothing can be missing: neither the end marker nor a connection that ends well."""
    async with FaultServer(fault, reply=TEXT) as server, client(dialect, server) as llm:
        events, error = await streamed(llm)
        assert error is None
        assert (text_of(events), events[-1]) == (TEXT, rl.Finish("stop"))
        server.begin(Answer())
        assert (await llm.complete("Again.")).text == TEXT


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_length_in_the_middle_of_a_call_is_a_completion(dialect) -> None:
    """It says so, and the call that was cut is not handed over; those before it are."""
    calls = [Call("add", ARGUMENTS), Call("add", ARGUMENTS[:20])]
    reply = Reply("Let me see. ", calls=calls, finish_reason="length")
    async with FaultServer(Answer(reply=reply)) as server, client(dialect, server) as llm:
        events, error = await streamed(llm)
    assert error is None
    assert events[-1] == rl.Finish("length")
    (call,) = [event for event in events if isinstance(event, rl.ToolCall)]
    assert (call.name, call.arguments) == ("add", ARGUMENTS)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "streamed"])
async def test_an_answer_that_only_reasoned_is_a_completion(whole, dialect) -> None:
    """Its length was used up by the thoughts."""
    reply = Reply(reasoning="one two three", finish_reason="length")
    async with FaultServer(Answer(reply=reply)) as server, client(dialect, server) as llm:
        if whole:
            done = await llm.complete("Think.")
        else:
            async with llm.stream("Think.") as response:
                done = await response.completion()
    assert (done.text, done.reasoning, done.finish_reason) == ("", "one two three", "length")


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_tool_call_is_delivered_when_it_is_whole(dialect) -> None:
    """Streamed in fragments, it comes once, and parses."""
    async with FaultServer(Answer(reply=tool())) as server, client(dialect, server) as llm:
        events, error = await streamed(llm)
    assert error is None
    (call,) = [event for event in events if isinstance(event, rl.ToolCall)]
    assert call.arguments == ARGUMENTS
    assert events[-1] == rl.Finish("tool_calls")


# What recovers ...

BREAKS = [
    Cut(after=3, clean=True),
    Cut(after=3),
    ErrorEvent(after=3),
    Malformed(after=3),
    ResetLate(),
    Stall(after=3),
]


def going_on(body):
    """A model that goes on with an answer which was begun."""
    last = body["messages"][-1]
    if last["role"] != "assistant":
        return TEXT
    content = last["content"]
    begun = content if isinstance(content, str) else content[0]["text"]
    assert TEXT.startswith(begun)
    assert begun == begun.rstrip()
    return TEXT.removeprefix(begun)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("fault", BREAKS, ids=str)
async def test_a_broken_stream_restarts(fault, dialect) -> None:
    """Whatever broke it, the answer is begun anew, and the completion is the new answer alone."""
    async with FaultServer([fault, Answer()], reply=TEXT) as server, client(dialect, server) as llm:
        options = {"recovery": "restart", "max_retries": 1, "initial_backoff": 0.001}
        options["idle_timeout"] = 0.5 if isinstance(fault, Stall) else 20.0
        events, error = await streamed(llm, **options)
        assert error is None
        (told,) = [place for place, event in enumerate(events) if isinstance(event, rl.Restarted)]
        assert (text_of(events[:told]), text_of(events[told:])) == (SOME, TEXT)
        assert len(server.requests) == 2
        server.begin(fault, Answer())
        async with llm.stream("Name three rivers.", **options) as response:
            done = await response.completion()
    assert (done.text, done.attempts, len(server.requests)) == (TEXT, 2, 2)


@pytest.mark.parametrize("after", range(1, 6))
async def test_a_broken_stream_goes_on(after) -> None:
    """With a model that honours a prefill the text goes on where it broke, in the middle of white space too."""
    faults = [Cut(after=after), Answer()]
    async with FaultServer(faults, reply=going_on) as server, client("anthropic", server) as llm:
        events, error = await streamed(llm, recovery="resume", max_retries=1, initial_backoff=0.001)
    assert error is None
    assert text_of(events) == TEXT
    assert not any(isinstance(event, rl.Restarted) for event in events)
    assert server.requests[1].body["messages"][-1]["role"] == "assistant"
    assert len(server.requests) == 2


@pytest.mark.parametrize("dialect", ["openai-compatible", "llamacpp"])
async def test_where_nothing_can_go_on_it_restarts(dialect) -> None:
    """A backend that is not known to go on, and a llama.cpp that cannot be asked, begin anew."""
    faults = [Cut(after=3), Answer()]
    async with FaultServer(faults, reply=TEXT) as server, client(dialect, server) as llm:
        options = {"recovery": "resume", "max_retries": 2, "initial_backoff": 0.001}
        events, error = await streamed(llm, **options)
    assert error is None
    assert text_of(events) == SOME + TEXT
    assert sum(isinstance(event, rl.Restarted) for event in events) == 1
    assert len(server.requests) == 2


async def test_a_stream_that_cannot_be_recovered_keeps_what_came() -> None:
    """The backend is down from then on: the error of the last attempt, the text of the first."""
    faults = [Cut(after=3), Status.failed()]
    async with FaultServer(faults, reply=TEXT) as server, client("anthropic", server) as llm:
        events, error = await streamed(llm, recovery="resume", max_retries=2, initial_backoff=0.001)
    assert (text_of(events), error.partial.text) == (SOME, SOME)
    assert (error.code, error.attempts, len(server.requests)) == ("MODEL_UNAVAILABLE", 3, 3)


async def test_a_closed_response_ends_its_reader_over_sockets() -> None:
    """The connection that is closed under a read is not the reader's error."""
    events, arrived = [], asyncio.Event()
    async with (
        FaultServer(Stall(after=3), reply=TEXT) as server,
        client("openai-compatible", server) as llm,
        llm.stream("Name three rivers.") as response,
    ):

        async def read() -> None:
            async for event in response:
                events.append(event)
                if len(events) == 3:
                    arrived.set()

        reader = asyncio.ensure_future(read())
        await asyncio.wait_for(arrived.wait(), 20.0)
        await asyncio.sleep(0.01)
        response.close()
        await asyncio.wait_for(reader, 10.0)
    assert text_of(events) == SOME


def test_a_thread_that_reads_a_stream_is_told_of_its_restart() -> None:
    """The blocking client's iterator brings the same events, and its completion is the new answer."""
    with (
        serving(Cut(after=3), Answer(), reply=TEXT) as server,
        rl.Client("openai-compatible", base_url=server.base_url, model="m", recovery="restart") as llm,
        llm.stream("Name three rivers.", initial_backoff=0.001) as response,
    ):
        events = list(response)
        done = response.completion()
    assert [type(event) for event in events].count(rl.Restarted) == 1
    assert (text_of(events), done.text, done.attempts) == (SOME + TEXT, TEXT, 2)


async def test_a_target_that_stays_down_hands_a_broken_stream_to_the_next() -> None:
    """The text cannot go on elsewhere: the next target begins anew, whatever it could do with its own."""
    async with (
        FaultServer([Cut(after=3), Status.failed()], reply=TEXT) as first,
        FaultServer(Answer(), reply=going_on) as second,
        client("anthropic", first, max_retries=1, fallback=[fallback_to(second)], recovery="resume") as llm,
    ):
        events, error = await streamed(llm, initial_backoff=0.001)
    assert error is None
    assert text_of(events) == SOME + TEXT
    assert sum(isinstance(event, rl.Restarted) for event in events) == 1
    assert (len(first.requests), len(second.requests)) == (2, 1)
    assert [request.body["messages"][-1]["role"] for request in first.requests] == ["user", "assistant"]
    assert second.requests[0].body["messages"][-1]["role"] == "user"


def fallback_to(server: FaultServer) -> rl.AnthropicTransport:
    return rl.AnthropicTransport(base_url=server.url, api_key="key", model="claude-3-haiku", name="second")
