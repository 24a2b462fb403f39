"""A model in this process: threads, cancellation, order, sharing; the engine is a fake."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import weakref

import pytest
from transports.engines import SECONDS, FakeEngine

import resilient_llm as rl
from resilient_llm.events import Finish, TextDelta
from resilient_llm.transports import in_process
from resilient_llm.transports.engine import ModelFile
from resilient_llm.transports.in_process import SharedModel, shared


class Loads(list):
    """What is loaded next, and how often something was."""

    count = 0

    def next(self):
        self.count += 1
        made = self.pop(0) if len(self) > 1 else self[0]
        if isinstance(made, Exception):
            raise made
        return made


@pytest.fixture
def loads(monkeypatch):
    """Every model file loads one of these."""
    loads = Loads([FakeEngine()])
    monkeypatch.setattr(ModelFile, "load", lambda _: loads.next())
    monkeypatch.setattr(in_process, "_shared", weakref.WeakValueDictionary())
    return loads


@pytest.fixture
def gated(loads):
    """An engine whose words wait to be let out."""
    loads[0] = FakeEngine(gated=True)
    return loads[0]


def ask(text="Hi", *, stream=False):
    return rl.Request(messages=[{"role": "user", "content": text}], stream=stream)


def transport(path="m.gguf", **options):
    return rl.OfflineTransport(model_path=path, **options)


def let_out(engine, words=1):
    engine.gate.release(words)


async def ended(engine):
    """Wait until the engine has come back from a call."""
    assert await asyncio.to_thread(engine.ended.acquire, timeout=SECONDS)


async def test_the_loop_goes_on_while_the_model_works(gated):
    """Each word is let out by the loop itself, so a model on the loop's thread would wait for ever."""
    response_coming = asyncio.ensure_future(transport()(ask(stream=True)))
    await asyncio.sleep(0)
    let_out(gated)
    response = await response_coming
    texts = []
    async for event in response:
        if isinstance(event, TextDelta):
            texts.append(event.text)
            let_out(gated)
    assert texts == gated.words
    assert threading.get_ident() not in gated.threads


async def test_a_whole_answer_tells_who_gave_it(loads):
    """Text, usage, end and the model's name, which is that of the file."""
    done = await (await transport("some/river.gguf")(ask())).completion()
    assert (done.text, done.finish_reason, done.usage.completion_tokens) == ("onetwothree", "stop", 3)
    assert (done.model, done.backend) == ("river", "offline")


async def test_a_closed_stream_stops_the_model(gated):
    """After the next word at the latest; the thread is free for the next call."""
    backend = transport()
    let_out(gated)
    response = await backend(ask(stream=True))
    response.close()
    let_out(gated)
    await ended(gated)
    assert gated.said == ["one", "two"]
    let_out(gated, 3)
    assert (await (await backend(ask())).completion()).text == "onetwothree"


async def test_a_cancelled_call_stops_the_model(gated):
    """The same for a call that is cancelled while it waits for its first word."""
    call = asyncio.ensure_future(transport()(ask()))
    await until(lambda: gated.asked)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    let_out(gated)
    await ended(gated)
    assert gated.said == ["one"]


async def test_a_call_cancelled_in_the_queue_is_never_made(gated):
    """The model does not see it."""
    backend = transport()
    first, second, third = (asyncio.ensure_future(backend(ask(name))) for name in "abc")
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    let_out(gated, 6)
    await asyncio.gather(first, third)
    assert gated.asked == ["a", "c"]


async def test_calls_are_made_in_order_one_at_a_time(loads):
    """First come, first served, also over several transports."""
    backends = [transport(), transport()]
    await asyncio.gather(*(backends[number % 2](ask(str(number))) for number in range(20)))
    (engine,) = loads
    assert engine.asked == [str(number) for number in range(20)]
    assert engine.most_running == 1


async def test_a_model_is_loaded_once_when_it_is_first_used(loads):
    """Nothing at construction, one load for all who have the same file, another one for other options."""
    backends = [transport() for _ in range(3)]
    assert loads.count == 0
    assert [backend.context_window("") for backend in backends] == [None] * 3
    await asyncio.gather(*(backend(ask()) for backend in backends))
    assert loads.count == 1
    assert backends[0].context_window("") == 64
    await transport(context_length=16)(ask())
    assert loads.count == 2


async def test_a_model_is_freed_when_the_last_has_closed(loads):
    """With the first it stays; who calls after closing loads it again."""
    loads[:] = [FakeEngine(), FakeEngine()]
    engine = weakref.ref(loads[0])
    first, second = transport(), transport()
    await first(ask())
    await second(ask())
    await first.aclose()
    gc.collect()
    assert engine() is not None
    await second.aclose()
    await until(lambda: gc.collect() is not None and engine() is None)
    await second(ask())
    assert loads.count == 2


async def until(true):
    """Wait for what a thread is about to do."""
    async with asyncio.timeout(SECONDS):
        while not true():  # noqa: ASYNC110 - a thread tells no event
            await asyncio.sleep(0.001)


async def test_a_failed_load_is_told_to_all_and_tried_again(loads):
    """The error is typed, names backend and model, and is nobody's fault for ever."""
    loads[:] = [rl.ModelNotFoundError("no"), rl.ModelNotFoundError("no"), FakeEngine()]
    backend = transport()
    results = await asyncio.gather(backend(ask()), backend(ask()), return_exceptions=True)
    for error in results:
        assert isinstance(error, rl.ModelNotFoundError)
        assert (error.backend, error.model) == ("offline", "m")
    assert (await (await backend(ask())).completion()).text == "onetwothree"


async def test_what_the_engine_raises_is_typed(loads):
    """An unknown exception is an unavailable model, with the partial answer and the cause."""
    loads[0].failure = RuntimeError("out of memory")
    with pytest.raises(rl.ModelUnavailableError, match="RuntimeError: out of memory") as caught:
        await transport()(ask())
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert caught.value.partial.text == "onetwothree"


async def test_a_panic_of_native_code_ends_one_call_alone(loads):
    """Bindings to Rust raise what is no `Exception`: the call fails, and the next one is made."""

    class PanicError(BaseException):
        pass

    loads[0].failure = PanicError("index out of bounds")
    backend = transport()
    async with asyncio.timeout(SECONDS):
        with pytest.raises(rl.ModelUnavailableError, match="PanicError: index out of bounds"):
            await backend(ask())
        loads[0].failure = None
        assert (await (await backend(ask())).completion()).text == "onetwothree"


async def test_what_a_server_would_have_refused_goes_to_the_classifier(loads):
    """The overflow of llama.cpp becomes the error of a context that is too long, with its figures."""
    body = '{"error":{"code":400,"type":"exceed_context_size_error","n_prompt_tokens":99,"n_ctx":64,"message":"no"}}'
    loads[0].words, loads[0].failure = [], rl.errors.BackendFailure(200, {}, body, surface="stream")
    async with rl.AsyncClient(transport=transport(), max_retries=0, token_budget=None) as llm:
        with pytest.raises(rl.ModelContextLengthError) as caught:
            await llm.complete("Hi")
    assert (caught.value.context_limit, caught.value.context_requested) == (64, 99)


async def test_an_answer_without_an_end_is_invalid(loads):
    """It neither hangs nor passes for an answer."""
    loads[0].finishes = False
    with pytest.raises(rl.ModelResponseInvalidError):
        await transport()(ask())


async def test_a_reader_wakes_when_another_task_closes(gated):
    """Whoever waits for the next word ends at once, not at the next word."""
    let_out(gated)
    response = await transport()(ask(stream=True))
    await anext(response)
    reader = asyncio.ensure_future(anext(response, None))
    await asyncio.sleep(0)
    await asyncio.to_thread(response.close)
    async with asyncio.timeout(SECONDS):
        assert await reader is None
    let_out(gated)
    await ended(gated)
    assert gated.said == ["one", "two"]


def test_a_closed_loop_stops_the_model(gated):
    """Nobody is there to be told: the thread ends instead of working on."""

    async def leave() -> rl.Response:
        let_out(gated)
        return await transport()(ask(stream=True))

    loop = asyncio.new_event_loop()
    response = loop.run_until_complete(leave())
    loop.close()
    let_out(gated, 2)
    assert gated.ended.acquire(timeout=SECONDS)
    assert gated.said == ["one", "two"]
    response.close()


async def test_counting_does_not_wait_for_an_answer(gated):
    """The tokenizer is asked beside the queue."""
    backend = transport()
    let_out(gated)
    response = await backend(ask(stream=True))
    assert await backend.count_tokens("a b c") == 3
    assert await backend.count_tokens([{}], tools=[{}]) == 2
    response.close()
    let_out(gated)


async def test_embeddings_are_made_by_the_model(loads):
    """One vector for each text; a single text is one."""
    async with rl.AsyncClient(transport=transport()) as llm:
        assert (await llm.embed(["a", "b"])).vectors == [[1.0], [1.0]]
    request = rl.Request("embed", params={"input": "a"})
    assert (await (await transport()(request)).result()).vectors == [[1.0]]
    assert loads[0].said == ["a", "b", "a"]


async def test_cancelled_embeddings_stop_after_a_text(gated):
    """Not all texts of a large batch are worked through."""
    call = asyncio.ensure_future(transport()(rl.Request("embed", params={"input": ["a", "b", "c"]})))
    await until(lambda: gated.asked)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    let_out(gated)
    await ended(gated)
    assert gated.said == ["a"]


def test_several_loops_share_a_model(loads):
    """The blocking client has a loop of its own; both get their own answers."""
    with rl.Client("offline", model="m.gguf") as llm:
        assert llm.complete("Hi").text == asyncio.run(_text(transport())) == "onetwothree"
    assert loads.count == 1


async def _text(backend):
    return (await (await backend(ask())).completion()).text


async def test_a_thread_that_cannot_start_is_told_and_forgotten(loads, monkeypatch):
    """The next call is made as if nothing had been."""
    backend = transport()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _refused)
        with pytest.raises(RuntimeError, match="thread"):
            await backend(ask())
    assert (await (await backend(ask())).completion()).finish_reason == "stop"
    assert loads[0].asked == ["Hi"]


def _refused(_):
    msg = "can't start new thread"
    raise RuntimeError(msg)


async def test_a_forked_child_loads_anew(gated, loads):
    """What waits in the parent is not for the child, and the parent's engine is neither used nor freed there."""
    backend = transport()
    response = asyncio.ensure_future(backend(ask()))
    await until(lambda: gated.asked)
    loads[:] = [FakeEngine(["child"])]
    in_process._after_fork()
    assert (await (await backend(ask())).completion()).text == "child"
    let_out(gated, 3)
    await response
    assert loads.count == 2


def test_the_same_file_is_the_same_model(tmp_path):
    """As long as somebody has it."""
    file = ModelFile(tmp_path / "m.gguf")
    model = shared(file)
    assert shared(ModelFile(tmp_path / "m.gguf")) is model
    assert shared(ModelFile(tmp_path / "m.gguf", 16)) is not model
    assert isinstance(model, SharedModel)


def test_a_program_ends_though_the_model_does_not():
    """An endless answer that nobody closes holds up no exit for longer than a token."""
    program = """
import asyncio, time
import resilient_llm as rl
from resilient_llm.events import TextDelta
from resilient_llm.transports.engine import ModelFile
class Endless:
    window = 64
    def chat(self, request, emit):
        while not emit([TextDelta("x")]):
            time.sleep(0.001)
        print("stopped", flush=True)
ModelFile.load = lambda self: Endless()
loop = asyncio.new_event_loop()
request = rl.Request(messages=[{"role": "user", "content": "Hi"}], stream=True)
response = loop.run_until_complete(rl.OfflineTransport(model_path="m.gguf")(request))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "stopped"), done.stderr


async def test_finish_is_the_last_event(loads):
    """As in every stream."""
    events = [event async for event in await transport()(ask(stream=True))]
    assert events[-1] == Finish("stop")
