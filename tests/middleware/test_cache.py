"""Cache, in virtual time: what is given again, what is stored, and what a broken store does."""

from __future__ import annotations

import asyncio
import json
import logging

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import resilient_llm as rl
from resilient_llm.body import ResponseInfo
from resilient_llm.commit import whole
from resilient_llm.events import (
    Finish,
    ReasoningDelta,
    Restarted,
    Result,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    UsageEvent,
)
from resilient_llm.models import Embeddings, Request, Usage
from resilient_llm.testing import Answer, FakeClock, FaultServer, ScriptedTransport, Status, run_virtual

ASK = Request(messages=({"role": "user", "content": "Hello"},), params={"temperature": 0})
STREAM = attrs.evolve(ASK, stream=True)
RICH = [
    ReasoningDelta("let "),
    ReasoningDelta("me see"),
    TextDelta("Hello, "),
    TextDelta("world"),
    ToolCallDelta(0, "c1", "look", '{"a"'),
    ToolCallDelta(0, "", "", ": 1}"),
    ToolCallDelta(1, "c2", "stop", ""),
    UsageEvent(Usage(3, 5, 8, 1, 2)),
    Finish("tool_calls"),
]


def asking(text: str, **changes) -> Request:
    return attrs.evolve(ASK, messages=({"role": "user", "content": text},), **changes)


def cached(*scripts, **options):
    """A pipeline with a cache, the cache, the transport and the clock."""
    clock = FakeClock()
    if "store" not in options:
        options["store"] = rl.MemoryStore(clock=clock)
    cache = rl.Cache(clock=clock, **options)
    transport = ScriptedTransport(*scripts)
    return rl.Pipeline([cache], transport, clock=clock), cache, transport, clock


async def ask(pipeline: rl.Pipeline, request: Request = ASK) -> rl.Completion:
    async with await pipeline(request) as response:
        return await response.completion()


def content(done: rl.Completion):
    return attrs.evolve(done, cached=False, attempts=0, trace=())


class Store:
    """A store that does as it is told."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.seconds = 0.0
        self.error: Exception | None = None
        self.asked = 0

    async def get(self, key):
        await self._happen()
        return self.values.get(key)

    async def set(self, key, value, max_age):
        await self._happen()
        self.values[key] = value

    async def _happen(self):
        self.asked += 1
        if self.seconds:
            await asyncio.sleep(self.seconds)
        if self.error:
            raise self.error


# What is given again ...


@pytest.mark.parametrize("first", [ASK, STREAM], ids=["whole", "streamed"])
@pytest.mark.parametrize("second", [ASK, STREAM], ids=["whole", "streamed"])
def test_an_equal_request_gets_the_same_answer_without_a_call(first, second) -> None:
    """Text, reasoning, tool calls, usage, model, backend and reason are equal, whole or streamed, and it says so."""

    async def scenario() -> None:
        pipeline, _, transport, _ = cached(RICH)
        one, two = await ask(pipeline, first), await ask(pipeline, second)
        assert len(transport.requests) == 1
        assert [call.name for call in one.tool_calls] == ["look", "stop"]
        assert content(two) == content(one)
        assert (one.cached, one.attempts) == (False, 1)
        assert (two.cached, two.attempts, two.trace) == (True, 0, ())

    run_virtual(scenario())


def test_a_hit_is_replayed_as_a_stream() -> None:
    """The reader of a stream gets events, text in one piece, and `Finish` last; the response has completed."""

    async def scenario() -> None:
        pipeline, _, _, _ = cached(RICH)
        await ask(pipeline)
        async with await pipeline(STREAM) as response:
            events = [event async for event in response]
        assert events == [
            ReasoningDelta("let me see"),
            TextDelta("Hello, world"),
            ToolCall(0, "c1", "look", '{"a": 1}'),
            UsageEvent(Usage(3, 5, 8, 1, 2)),
            ToolCall(1, "c2", "stop", ""),
            Finish("tool_calls"),
        ]
        assert response.outcome.kind == "completed"
        assert response.info.cached

    run_virtual(scenario())


def test_fragments_of_tool_calls_are_replayed_to_those_who_ask_for_them() -> None:
    """A reader with `tool_deltas` sees each call as one fragment, and the whole call after it, as always."""

    async def scenario() -> None:
        pipeline, _, transport, _ = cached(RICH)
        await ask(pipeline)
        request = attrs.evolve(STREAM, extensions={"tool_deltas": True})
        async with await pipeline(request) as response:
            calls = [event async for event in response if isinstance(event, ToolCall | ToolCallDelta)]
        fragments = [ToolCallDelta(0, "c1", "look", '{"a": 1}'), ToolCallDelta(1, "c2", "stop", "")]
        wholes = [ToolCall(0, "c1", "look", '{"a": 1}'), ToolCall(1, "c2", "stop", "")]
        assert sorted(calls, key=repr) == sorted(fragments + wholes, key=repr)
        assert calls.index(fragments[0]) < calls.index(wholes[0])
        assert len(transport.requests) == 1

    run_virtual(scenario())


def test_what_else_the_message_carries_comes_back() -> None:
    """Blocks that a backend wants to see again are part of the message, and nobody else's to change."""

    async def transport(request: Request) -> rl.Response:
        info = ResponseInfo(backend="b", model="m", request_id="r", extra={"blocks": [{"signed": "x"}]})
        return whole([TextDelta("a"), Finish("stop")], info, request)

    async def scenario() -> None:
        pipeline = rl.Pipeline([rl.Cache(clock=FakeClock())], transport)
        one, two = await ask(pipeline), await ask(pipeline)
        assert content(two) == content(one)
        assert two.message["blocks"] == [{"signed": "x"}]
        two.message["blocks"].clear()
        three = await ask(pipeline)
        assert (three.message["blocks"], three.cached) == ([{"signed": "x"}], True)

    run_virtual(scenario())


def test_a_legacy_function_call_comes_back() -> None:
    """`functions` of old are stored like tools."""

    async def scenario() -> None:
        pipeline, _, _, _ = cached([ToolCall(0, "", "look", "{}"), Finish("function_call")])
        one, two = await ask(pipeline), await ask(pipeline)
        assert two.function_call == one.function_call == rl.FunctionCall("look", "{}")

    run_virtual(scenario())


def test_vectors_come_back_and_are_ones_own() -> None:
    """Embeddings are stored by default; whoever changes what he got changes nobody else's."""

    async def scenario() -> None:
        answer = Embeddings([[0.1, -2.0]], "m", Usage(1))
        pipeline, _, transport, _ = cached([Result(answer), Finish("stop")])
        request = Request("embed", params={"input": ["a"]})
        expected = repr(answer)
        for _ in range(3):
            result = await (await pipeline(request)).result()
            assert repr(result) == expected
            result.vectors[0][0] = 9.0
            answer.vectors[0][0] = 0.1
        assert len(transport.requests) == 1

    run_virtual(scenario())


def test_what_the_caller_edits_is_not_what_is_stored() -> None:
    """A stage outside edits what it gets, hit or not; a stage inside edits once, and that is stored."""

    async def scenario() -> None:
        clock = FakeClock()
        cache = rl.Cache(store=rl.MemoryStore(clock=clock), clock=clock)

        def adding(mark: str):
            async def stage(request, call_next):
                response = await call_next(request)
                response.on_event(
                    lambda event: TextDelta(event.text + mark) if isinstance(event, TextDelta) else event
                )
                return response

            return stage

        pipeline = rl.Pipeline([adding(">"), cache, adding("<")], ScriptedTransport("Hello"), clock=clock)
        assert [(await ask(pipeline)).text for _ in range(3)] == ["Hello<>"] * 3

    run_virtual(scenario())


# Which requests ...


@pytest.mark.parametrize(
    ("request_", "options", "calls"),
    [
        (ASK, {}, 1),
        (attrs.evolve(ASK, params={}), {}, 2),
        (attrs.evolve(ASK, params={"temperature": 0.7}), {}, 2),
        (attrs.evolve(ASK, params={}, extensions={"cache": True}), {}, 1),
        (attrs.evolve(ASK, extensions={"cache": False}), {}, 2),
        (attrs.evolve(ASK, params={}), {"when": lambda request: True}, 1),
        (ASK, {"when": lambda request: False}, 2),
        (attrs.evolve(ASK, extensions={"recovers": rl.ModelUnavailableError("cut")}), {}, 2),
        (attrs.evolve(ASK, params={"temperature": 0, "x": object()}), {}, 2),
        (Request("models", extensions={"cache": True}), {}, 2),
    ],
)
def test_which_requests_are_cached(request_, options, calls) -> None:
    """Temperature 0 or told so, by the stage or by the call; never what goes on with a broken answer or has no key."""

    async def scenario() -> int:
        pipeline, _, transport, _ = cached("Hello", **options)
        for _ in range(2):
            await ask(pipeline, request_)
        return len(transport.requests)

    assert run_virtual(scenario()) == calls


def test_namespaces_tell_caches_apart_that_share_a_store() -> None:
    """Two backends with one store do not get each other's answers, unless they are meant to."""

    async def scenario(other: str) -> str:
        store = rl.MemoryStore()
        here, cache, _, _ = cached("here", store=store, namespace="a")
        there, _, _, _ = cached("there", store=store, namespace=other)
        await ask(here)
        await cache.aclose()
        return (await ask(there)).text

    assert run_virtual(scenario("b")) == "there"
    assert run_virtual(scenario("a")) == "here"


def test_a_call_says_whether_it_wants_a_cached_answer() -> None:
    """`cache=True` and `cache=False` are options of a call; they do not go into the body."""

    async def scenario() -> None:
        transport = ScriptedTransport("a", "b", "c")
        async with rl.AsyncClient(transport=transport, cache=rl.Cache()) as llm:
            assert (await llm.complete("Hello", cache=True)).text == "a"
            assert (await llm.complete("Hello", cache=True)).cached
            assert (await llm.complete("Hello", temperature=0, cache=False)).text == "b"
            with pytest.raises(rl.ModelInvalidRequestError, match="cache must be True or False"):
                await llm.complete("Hello", cache="yes")
        assert all("cache" not in request.params for request in transport.requests)

    run_virtual(scenario())


# What is stored ...


@pytest.mark.parametrize(
    "script",
    [
        [TextDelta("a"), Finish("length")],
        [TextDelta("a"), Finish("content_filter")],
        [TextDelta("a"), rl.ModelUnavailableError("reset")],
        [TextDelta("a")],
        [TextDelta("a"), Restarted(rl.ModelUnavailableError("cut"), 2), TextDelta("b"), Finish("stop")],
    ],
    ids=["length", "filtered", "failed", "truncated", "restarted"],
)
def test_what_is_no_sound_answer_is_not_stored(script) -> None:
    """Cut by a limit or a filter, broken off, or begun again: the next one calls."""

    async def scenario() -> None:
        pipeline, _, transport, _ = cached(script)
        for request in (STREAM, STREAM, ASK):
            try:
                done = await ask(pipeline, request)
            except rl.LLMError:
                continue
            assert not done.cached
        assert len(transport.requests) == 3

    run_virtual(scenario())


def test_an_answer_that_was_left_is_not_stored() -> None:
    """Closed early, cancelled in the middle, or closed although all had come: only a reader of `Finish` stores."""

    async def scenario() -> None:
        store = Store()
        slow = [TextDelta("a"), 1.0, TextDelta("b"), Finish("stop")]
        pipeline, cache, transport, _ = cached(slow, store=store)
        async with await pipeline(STREAM) as response:
            await anext(response)
        task = asyncio.ensure_future(ask(pipeline, STREAM))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        (await pipeline(ASK)).close()
        await cache.aclose()
        assert store.values == {}
        assert transport.open_bodies == 0
        await ask(pipeline, STREAM)
        await cache.aclose()
        assert len(store.values) == 1

    run_virtual(scenario())


def test_an_answer_to_a_pruned_conversation_is_not_stored() -> None:
    """It is no answer to what was asked, and the window may turn out to be larger."""

    async def scenario() -> None:
        async def pruning(request, call_next):
            response = await call_next(request)
            response.pruned = rl.PruneReport(dropped=2, tokens_before=90, tokens_after=30, budget=50)
            return response

        transport = ScriptedTransport("Hello")
        pipeline = rl.Pipeline([rl.Cache(clock=FakeClock()), pruning], transport)
        for _ in range(2):
            assert not (await ask(pipeline)).cached
        assert len(transport.requests) == 2

    run_virtual(scenario())


def test_answers_grow_too_old() -> None:
    """Given again up to `max_age` after they were stored, and not at it."""

    async def scenario() -> None:
        pipeline, cache, transport, _ = cached("a", "b", max_age=60.0)
        await ask(pipeline)
        await cache.aclose()
        await asyncio.sleep(59.9)
        assert (await ask(pipeline)).text == "a"
        await asyncio.sleep(0.1)
        assert (await ask(pipeline)).text == "b"
        assert len(transport.requests) == 2

    run_virtual(scenario())


steps = st.lists(
    st.tuples(st.sampled_from("aabcd"), st.booleans(), st.sampled_from([0.0, 0.0, 0.0, 0.5, 4.0, 11.0])),
    min_size=10,
    max_size=25,
)


@given(steps)
@settings(max_examples=40, deadline=None)
def test_it_does_what_a_dictionary_would(script) -> None:
    """Any mixture of prompts, whole and streamed, with pauses: calls happen just where a plain model says."""

    async def scenario() -> None:
        clock = FakeClock()
        store = rl.MemoryStore(max_entries=3, clock=clock)
        transport = ScriptedTransport("Hello")
        cache = rl.Cache(store=store, max_age=10.0, store_timeout=0.25, clock=clock)
        pipeline = rl.Pipeline([cache], transport, clock=clock)
        model: dict[str, float] = {}  # least recently used first
        for text, stream, pause in script:
            now = clock.monotonic()
            known = text in model and now < model[text]
            until = model.pop(text) if known else now + 10.0
            model.pop(text, None)
            model[text] = until
            if len(model) > 3:
                del model[next(iter(model))]
            done = await ask(pipeline, asking(text, stream=stream))
            await cache.aclose()
            assert (done.cached, done.text) == (known, "Hello")
            await asyncio.sleep(
                pause or 0.25
            )  # what is on its way to the store is found for 0.25 s, room or not

    run_virtual(scenario())


# Stores that fail ...


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("secret"), TimeoutError()])
def test_a_store_that_raises_never_fails_a_call(error, caplog) -> None:
    """Calls go on without it, it is left alone for 10 s, and one line says so; another when it is back."""

    async def scenario() -> None:
        store = Store()
        store.error = error
        pipeline, _, transport, _ = cached("Hello", store=store)
        for number in range(4):
            assert (await ask(pipeline, asking(str(number)))).text == "Hello"
        assert (store.asked, len(transport.requests)) == (1, 4)
        await asyncio.sleep(10.0)
        await ask(pipeline, asking("x"))
        assert store.asked == 2
        store.error = None
        await asyncio.sleep(10.0)
        await ask(pipeline)
        await asyncio.sleep(1.0)
        assert (await ask(pipeline)).cached

    with caplog.at_level(logging.INFO, "resilient_llm"):
        run_virtual(scenario())
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert lines == [
        ("WARNING", f"llm.cache store=failed error={type(error).__name__}"),
        ("INFO", "llm.cache store=back"),
    ]


def test_a_store_that_hangs_is_waited_for_once() -> None:
    """`store_timeout` seconds for the first call, nothing for those that follow."""

    async def scenario() -> None:
        store = Store()
        store.seconds = 1000.0
        pipeline, cache, _, clock = cached("Hello", store=store, store_timeout=0.5)
        for number in range(5):
            await ask(pipeline, asking(str(number)))
        assert clock.monotonic() == 0.5
        await cache.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(scenario())


def test_writing_holds_nobody_up() -> None:
    """The answer is there for the next call although its store is slow; `aclose` waits for the store."""

    async def scenario() -> None:
        store = Store()
        pipeline, cache, transport, clock = cached("Hello", store=store)
        store.seconds = 0.2
        await ask(pipeline, STREAM)
        assert clock.monotonic() == 0.2  # asked, not told
        assert (await ask(pipeline)).cached
        assert clock.monotonic() == 0.2
        assert store.values == {}
        await cache.aclose()
        assert (len(store.values), clock.monotonic()) == (1, 0.4)
        assert len(transport.requests) == 1

    run_virtual(scenario())


def test_writes_that_hang_are_bounded() -> None:
    """A store that takes nothing holds at most a hundred answers, and none for longer than it may take."""

    class Sink(Store):
        async def get(self, key):
            return None

    async def scenario() -> None:
        store = Sink()
        store.seconds = 1000.0
        pipeline, _, _, _ = cached("Hello", store=store, store_timeout=5.0)
        for number in range(150):
            await ask(pipeline, asking(str(number)))
        assert len(asyncio.all_tasks()) == 101
        await asyncio.sleep(16.0)
        assert len(asyncio.all_tasks()) == 1
        store.seconds = 0.0
        await ask(pipeline)
        await asyncio.sleep(1.0)
        assert len(store.values) == 1

    run_virtual(scenario())


@pytest.mark.parametrize("junk", [b"", b"{}", b'{"events":[["text",{"text":"half"}]]}', 3])
def test_an_unreadable_entry_is_a_miss_and_is_replaced(junk) -> None:
    """What somebody else wrote there is not taken for an answer."""

    async def scenario() -> None:
        store = Store()
        pipeline, cache, _, _ = cached("Hello", store=store)
        await ask(pipeline)
        await cache.aclose()
        (key,) = store.values
        sound, store.values[key] = store.values[key], junk
        await asyncio.sleep(1.0)
        assert not (await ask(pipeline)).cached
        await cache.aclose()
        assert store.values[key] == sound

    run_virtual(scenario())


def test_equal_calls_at_the_same_time_store_once() -> None:
    """Ten misses at once are ten calls (sharing is for `Coalesce`), and one entry."""

    async def scenario() -> None:
        store = Store()
        pipeline, cache, transport, _ = cached([1.0, TextDelta("a"), Finish("stop")], store=store)
        await asyncio.gather(*(ask(pipeline) for _ in range(10)))
        await cache.aclose()
        assert (len(transport.requests), store.asked) == (10, 11)

    run_virtual(scenario())


def test_cancelled_while_the_store_is_asked() -> None:
    """A cancellation passes, nothing is sent, and the store is not blamed."""

    async def scenario() -> None:
        store = Store()
        store.seconds = 0.2
        pipeline, cache, transport, _ = cached("Hello", store=store)
        task = asyncio.ensure_future(ask(pipeline))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert transport.requests == []
        await ask(pipeline)
        await cache.aclose()
        assert (store.asked, len(store.values)) == (3, 1)

    run_virtual(scenario())


# Among other stages ...


def test_a_hit_is_no_attempt_for_anybody(caplog) -> None:
    """Observers are told of none, the log counts none, and an open circuit does not matter."""

    async def scenario() -> None:
        clock = FakeClock()
        told: list[object] = []
        breaker = rl.CircuitBreaker(clock=clock)
        cache = rl.Cache(store=rl.MemoryStore(clock=clock), clock=clock)
        stack = rl.standard_stack(
            clock=clock, cache=cache, coalesce=rl.Coalesce(clock=clock), breaker=breaker
        )
        pipeline = rl.Pipeline(stack, ScriptedTransport("Hello"), clock=clock)
        await ask(pipeline)
        breaker.force_open()
        done = await ask(pipeline, attrs.evolve(ASK, observers=(told.append,)))
        assert (done.cached, done.attempts, done.trace) == (True, 0, ())
        assert not any(isinstance(notice, rl.Attempt) for notice in told)

    with caplog.at_level(logging.INFO, "resilient_llm"):
        run_virtual(scenario())
    calls = [record.llm for record in caplog.records if getattr(record, "llm", {}).get("event") == "llm.call"]
    assert [call["attempts"] for call in calls] == [1, 0]


def test_a_fallback_does_not_answer_for_the_first_backend() -> None:
    """What a fallback answered is not stored under the first one's name; the cache is the first one's alone."""

    async def scenario() -> None:
        first = ScriptedTransport(rl.ModelUnavailableError("down"), "first", name="first")
        second = ScriptedTransport("second", name="second")
        async with rl.AsyncClient(transport=first, cache=rl.Cache(), fallback=[second], max_retries=0) as llm:
            texts = [(await llm.complete("Hello", temperature=0)).text for _ in range(3)]
        assert texts == ["second", "first", "first"]
        assert (len(first.requests), len(second.requests)) == (2, 1)

    run_virtual(scenario())


def test_a_target_with_a_cache_of_its_own_makes_no_attempt() -> None:
    """A hit behind a fallback adds nothing to the trace of what failed before it."""

    async def scenario() -> None:
        first = ScriptedTransport(rl.ModelAuthError("wrong key"), name="first")
        target = rl.Target(ScriptedTransport("second"), stack=[rl.Cache()])
        fallback = rl.Fallback([target], on_auth=True)
        async with rl.AsyncClient(transport=first, fallback=fallback) as llm:
            counts = [(await llm.complete("Hello", temperature=0)).attempts for _ in range(2)]
        assert counts == [2, 1]

    run_virtual(scenario())


def test_a_restarted_stream_asks_the_backend() -> None:
    """A stream that breaks is begun again at the backend, and the answer that came of it is not stored."""

    async def scenario() -> None:
        clock = FakeClock()
        cache = rl.Cache(store=rl.MemoryStore(clock=clock), clock=clock)
        stack = rl.standard_stack(clock=clock, cache=cache, recovery="restart")
        transport = ScriptedTransport([TextDelta("a"), rl.ModelUnavailableError("cut")], "whole")
        pipeline = rl.Pipeline(stack, transport, clock=clock)
        assert (await ask(pipeline, STREAM)).text == "whole"
        assert not (await ask(pipeline, STREAM)).cached
        assert len(transport.requests) == 3

    run_virtual(scenario())


def test_closing_in_one_loop_waits_for_no_other() -> None:
    """What another client's loop is still writing is that client's to wait for."""
    store = Store()
    store.seconds = 0.05
    pipeline, cache, _, _ = cached("Hello", store=store, store_timeout=30.0)
    other = asyncio.new_event_loop()
    other.run_until_complete(ask(pipeline))
    assert store.values == {}
    asyncio.run(cache.aclose())
    other.run_until_complete(cache.aclose())
    assert len(store.values) == 1
    other.close()


def test_an_answer_out_of_an_inner_cache_is_not_stored_again() -> None:
    """Its age would begin anew."""

    async def scenario() -> None:
        clock = FakeClock()
        outer, inner = (
            rl.Cache(store=rl.MemoryStore(clock=clock), max_age=age, clock=clock) for age in (60.0, 20.0)
        )
        transport = ScriptedTransport("a", "b")
        pipeline = rl.Pipeline([outer, inner], transport, validate=False, clock=clock)
        outer.when, texts = (lambda _: False), []
        texts.append((await ask(pipeline)).text)
        await asyncio.sleep(15.0)
        outer.when = lambda _: True
        texts.append((await ask(pipeline)).text)
        await asyncio.sleep(10.0)
        texts.append((await ask(pipeline)).text)
        assert texts == ["a", "a", "b"]

    run_virtual(scenario())


def test_one_cache_serves_one_loop_after_the_other() -> None:
    """What was stored in one `asyncio.run` is found in the next."""
    cache = rl.Cache()
    transport = ScriptedTransport("Hello")
    pipeline = rl.Pipeline([cache], transport)
    dones = [asyncio.run(ask(pipeline)) for _ in range(3)]
    assert [done.cached for done in dones] == [False, True, True]


async def test_the_server_sees_each_question_once() -> None:
    """Over real sockets: equal calls, whole and streamed, are one request, raw body included; others are sent."""
    async with (
        FaultServer([Status.overloaded(), Answer()]) as server,
        rl.AsyncClient(
            "openai-compatible", base_url=server.base_url, model="m", cache=rl.Cache(), max_retries=1
        ) as llm,
    ):
        one = await llm.complete("Hello", temperature=0, initial_backoff=0.01)
        two = await llm.complete("Hello", temperature=0)
        async with llm.stream("Hello", temperature=0) as response:
            three = await response.completion()
        assert (one.attempts, two.attempts, three.attempts) == (2, 0, 0)
        assert content(two) == content(one)
        assert two.raw == one.raw
        assert (three.text, three.usage, three.raw) == (one.text, one.usage, None)
        await llm.complete("Goodbye", temperature=0)
        assert [json.dumps(request.body["messages"]) for request in server.requests].count(
            '[{"role": "user", "content": "Hello"}]'
        ) == 2
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    "options",
    [{"max_age": 0}, {"max_age": None}, {"store_timeout": -1}, {"when": 3}, {"store": {}}, {"store": Store}],
)
def test_options_that_make_no_sense_are_refused(options) -> None:
    """The message names the option."""
    with pytest.raises((TypeError, ValueError), match=next(iter(options))):
        rl.Cache(**options)


def test_its_parts_show_no_answers() -> None:
    """Neither the cache's repr nor the store's holds what it keeps; `clear` forgets it."""

    async def scenario() -> None:
        store = rl.MemoryStore()
        pipeline, cache, _, _ = cached("secret", store=store)
        await ask(pipeline)
        await cache.aclose()
        assert "<MemoryStore 1 entries" in repr(cache)
        assert "secret" not in repr(cache)
        store.clear()
        assert repr(store) == "<MemoryStore 0 entries, 0 bytes>"

    run_virtual(scenario())


@pytest.mark.parametrize("trouble", [None, "raises", "hangs"])
def test_a_store_may_let_go_when_its_client_is_closed(trouble) -> None:
    """After what was on its way to it; whatever it does then, the client closes."""
    told = []

    class Connected(rl.MemoryStore):
        async def set(self, key: str, value: bytes, max_age: float, /) -> None:
            await asyncio.sleep(0.1)
            told.append("set")

        async def release(self) -> None:
            told.append("release")
            if trouble == "raises":
                raise OSError(trouble)
            if trouble == "hangs":
                await asyncio.sleep(1e6)

    async def scenario() -> float:
        cache = rl.Cache(store=Connected(), clock=FakeClock())
        async with rl.AsyncClient(transport=ScriptedTransport("Hello!"), cache=cache) as llm:
            await llm.complete("Hello", temperature=0)
        return asyncio.get_running_loop().time()

    assert run_virtual(scenario()) < 1.0
    assert told == ["set", "release"]
