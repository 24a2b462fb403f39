"""The blocking client: threads, loops, Ctrl-C, forks, endings."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from loopback import PATIENCE, Together, Watched

import resilient_llm as rl
from resilient_llm import sync_job
from resilient_llm.sync_job import Job
from resilient_llm.sync_loop import LoopThread
from resilient_llm.testing import Answer, FakeClock, FaultServer, ScriptedTransport, Stall, Status, serving

NAMES = {"aclose": "close"}
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and forks are POSIX's")


def scripted(*scripts, **options) -> rl.Client:
    return rl.Client(transport=ScriptedTransport(*scripts), **options)


def to(server: FaultServer, **options) -> rl.Client:
    return rl.Client("openai-compatible", base_url=server.base_url, model="m", max_retries=0, **options)


def until(true) -> None:
    """Wait for what another thread brings about."""
    for _ in range(int(1000 * PATIENCE)):
        if true():
            return
        time.sleep(0.001)
    pytest.fail("it did not come about")


def tasks_of(llm: rl.Client) -> int:
    """How many tasks the client's loop has beside the one that serves and the one that asks."""

    async def count(_) -> int:
        return len(asyncio.all_tasks()) - 2

    return llm._thread.run(count)


# Calling ...


def test_the_twins_have_the_same_names_parameters_and_docstrings() -> None:
    """What is public in one is public in the other, by the same signature and the same words."""
    public = {name for name in dir(rl.AsyncClient) if not name.startswith("_")}
    assert {NAMES.get(name, name) for name in public} == {n for n in dir(rl.Client) if not n.startswith("_")}
    for name in [*public, "__init__"]:
        theirs, ours = getattr(rl.AsyncClient, name), getattr(rl.Client, NAMES.get(name, name))
        assert inspect.signature(ours).parameters == inspect.signature(theirs).parameters, name
        words = (theirs.__doc__ or "").replace("async with", "with").replace("async for", "for")
        assert (ours.__doc__ or "") == words, name


def test_calls_answer_as_the_async_client_does() -> None:
    """Each call gives what its twin gives."""
    context = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    with scripted("Rhine, Danube, Elbe", "one", "two", model="m") as llm:
        done = llm.complete("Name three rivers.", system="Be terse.", temperature=0.1)
        assert (done.text, done.attempts, done.backend) == ("Rhine, Danube, Elbe", 1, "scripted")
        assert llm.generate("Hello", max_tokens=5) == "one"
        assert llm.generate_with_context("Tell me a joke", context) == "two"
        assert [len(request.messages) for request in llm.transport.requests] == [2, 1, 3]
        assert llm.transport.requests[0].params == {"temperature": 0.1}
        assert llm.count_tokens("Hello, world!") == 4
        assert repr(llm) == "<Client scripted model='m'>"
    with rl.Client("offline") as llm:
        assert len(llm.embed(["a", "b"]).vectors) == 2
        assert [model.id for model in llm.models()] == ["offline"]
        with llm.send(rl.Request("models")) as response:
            assert response.result() == llm.models()


def test_the_standard_stack_is_at_work() -> None:
    """Options go to the stack, and what is transient is retried."""
    with scripted(rl.ModelOverloadedError("busy"), "Hello", clock=FakeClock()) as llm:
        done = llm.complete("Hello", initial_backoff=0.001)
        assert (done.text, done.attempts) == ("Hello", 2)


def test_a_client_comes_from_settings() -> None:
    """A mapping says which backend it is."""
    with rl.Client.from_settings({"llm_provider": "offline", "llm_max_tokens": 3}) as llm:
        assert len(llm.generate("Hello").split()) == 3


def test_things_of_another_loop_are_refused() -> None:
    """A connector or a session cannot be used on a loop that did not make it."""
    for name in ("connector", "session"):
        with pytest.raises(TypeError, match="belong to the event loop that made them"):
            rl.Client("lmstudio", **{name: object()})


def test_an_error_leads_to_the_line_that_called() -> None:
    """The traceback begins at the caller's line and ends where the error was raised."""
    with serving(Status.overloaded()) as server, to(server) as llm:
        with pytest.raises(rl.ModelOverloadedError) as caught:
            llm.generate("Hello")  # this line
        frames = traceback.extract_tb(caught.value.__traceback__)
        assert frames[0].line == 'llm.generate("Hello")  # this line'
        assert {"complete", "__call__"} <= {frame.name for frame in frames}


def test_an_error_keeps_nothing_alive() -> None:
    """Neither the wait nor the job makes a cycle of the error and the caller's frames."""

    class Precious:
        """Held by a frame of the traceback."""

    def call(llm: rl.Client) -> weakref.ref[Precious]:
        precious = Precious()
        with contextlib.suppress(LookupError):
            llm.generate("Hello")
        return weakref.ref(precious)

    async def fail(request: rl.Request, call_next: rl.Handler) -> rl.Response:
        raise LookupError

    with scripted("a", middleware=[fail]) as llm:
        call(llm)
        gc.collect()
        gc.disable()
        try:
            assert call(llm)() is None
        finally:
            gc.enable()


def test_context_variables_of_the_caller_are_seen() -> None:
    """Stages see the variables of the thread that calls, each call its own, and cannot change them there."""
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="?")
    seen = []

    async def look(request: rl.Request, call_next: rl.Handler) -> rl.Response:
        seen.append(var.get())
        var.set("changed")
        return await call_next(request)

    with scripted("a", middleware=[look]) as llm:
        for value in ("first", "second"):
            var.set(value)
            llm.generate("Hello")
        with llm.stream("Hello") as response:
            response.completion()
        assert (seen, var.get()) == (["first", "second", "second"], "second")


# Streaming ...


def test_a_stream_is_an_ordinary_iterator() -> None:
    """Events come in order, `Finish` last, and the completion is that of the async client."""
    with scripted("a b c") as llm, llm.stream("Hello") as response:
        assert next(response) == rl.TextDelta("a ")
        assert list(response) == [rl.TextDelta("b "), rl.TextDelta("c"), rl.Finish("stop")]
        assert list(response) == []
        done = response.completion()
        assert (done.text, done.attempts, len(response.trace)) == ("a b c", 1, 1)
        assert response.request.stream
        assert response.pruned is None
        assert repr(response) == "<SyncResponse completed from scripted>"
    assert response.completion().text == "a b c"


def test_a_stream_that_is_not_entered_sends_nothing() -> None:
    """Making the stream object is free; wrong options are refused there."""
    with scripted("a") as llm:
        llm.stream("Hello")
        with pytest.raises(rl.ModelInvalidRequestError, match="max_retries"):
            llm.stream("Hello", max_retries=-1)
        assert llm.transport.requests == []


def test_leaving_early_abandons_the_response() -> None:
    """The connection is closed, nothing is left on the loop, the breaker is not told of a failure."""
    fault = Watched(Stall(after=2))
    with serving(fault, Answer()) as server, to(server, breaker=rl.CircuitBreaker(fail_max=1)) as llm:
        with llm.stream("Hello") as response:
            assert next(response) == rl.TextDelta("A")
        assert fault.over.wait(PATIENCE)
        assert response.outcome is not None
        assert response.outcome.kind == rl.OutcomeKind.ABANDONED
        assert tasks_of(llm) == 0
        with pytest.raises(rl.ModelResponseInvalidError, match="closed before its end") as caught:
            response.completion()
        assert caught.value.partial.text.startswith("A")
        assert llm.generate("again").endswith("again")


def test_an_error_in_the_loop_body_abandons_the_response() -> None:
    """What the caller raised comes out as it is."""
    fault = Watched(Stall(after=2))
    with serving(fault) as server, to(server) as llm:
        with pytest.raises(ZeroDivisionError), llm.stream("Hello") as response:
            divmod(1, len([next(response)]) - 1)
        assert fault.over.wait(PATIENCE)


def test_time_limits_bound_a_stream() -> None:
    """A stream that stalls fails in time, after what had come; so does one that never begins."""
    with serving(Stall(after=2)) as server, to(server, idle_timeout=0.1, first_token_timeout=0.1) as llm:
        with llm.stream("Hello") as response:
            assert [next(response), next(response)] == [rl.TextDelta("A"), rl.TextDelta(" sound")]
            with pytest.raises(rl.ModelTimeoutError) as caught:
                next(response)
            assert list(response) == []
        assert caught.value.partial.text == "A sound"
    with serving(Stall()) as server, to(server, first_token_timeout=0.1) as llm:
        with pytest.raises(rl.ModelTimeoutError), llm.stream("Hello"):
            pytest.fail("there is nothing to read")  # pragma: no cover
        assert tasks_of(llm) == 0


def test_the_loop_reads_ahead_but_not_without_bound() -> None:
    """A thread that does not read holds the stream up; when it reads, all of it comes."""
    seen = []

    async def spy(request: rl.Request, call_next: rl.Handler) -> rl.Response:
        response = await call_next(request)
        response.on_event(lambda event: seen.append(event) or event)
        return response

    words = " ".join(["word"] * 2000)
    with scripted(words, middleware=[spy]) as llm, llm.stream("Hello") as response:
        next(response)
        tasks_of(llm)  # when this is answered the reader waits
        assert sync_job.READ_ON < len(seen) <= sync_job.READ_AHEAD + 2
        assert response.outcome is None
        assert response.completion().text == words
        assert len(seen) == 2001


def test_a_response_tells_who_answers_and_what_it_costs() -> None:
    """As its twin does."""
    told = rl.UsageEvent(rl.Usage(3, 2, 5))
    spare = rl.Target(ScriptedTransport([rl.TextDelta("Hi"), told, rl.Finish("stop")]), name="spare")
    with (
        scripted(rl.ModelNotFoundError("gone"), fallback=[spare]) as llm,
        llm.stream("Hello") as response,
    ):
        assert response.target is spare
        for _ in response:
            pass
        assert response.usage == told.usage


def test_a_response_that_is_held_up_can_be_closed() -> None:
    """Leaving while the reader waits for room ends it."""
    with scripted(" ".join(["word"] * 2000)) as llm:
        with llm.stream("Hello") as response:
            next(response)
            until(lambda: response._job._room is not None)
        assert (response.outcome.kind, llm.transport.open_bodies) == (rl.OutcomeKind.ABANDONED, 0)
        assert tasks_of(llm) == 0


def test_a_response_that_is_dropped_warns_and_is_abandoned() -> None:
    """As the async client's does."""
    fault = Watched(Stall(after=2))
    with serving(fault) as server, to(server) as llm:
        response = llm.send(rl.Request("chat", [{"role": "user", "content": "Hi"}], "m", stream=True))
        next(response)
        held = [response]
        del response
        with pytest.warns(ResourceWarning, match="dropped without being closed"):
            held.clear()
        assert fault.over.wait(PATIENCE)


def test_a_stream_keeps_its_client_alive() -> None:
    """A client that nothing but its stream refers to is not ended under it."""
    with rl.Client("offline").stream("Hello") as response:
        gc.collect()
        assert response.completion().finish_reason == "stop"
        thread = response._thread._running.thread
    del response
    gc.collect()
    thread.join(PATIENCE)
    assert not thread.is_alive()


# Threads and loops ...


def test_threads_call_side_by_side() -> None:
    """Requests of many threads are on the wire at a time: this server answers none before all have come."""
    with serving(Together(8)) as server, to(server) as llm, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(llm.generate, map(str, range(8))))
        assert [answer.rsplit(maxsplit=1)[-1] for answer in answers] == list(map(str, range(8)))


def test_threads_stream_side_by_side() -> None:
    """Each gets its own stream's events."""

    def text(llm: rl.Client, prompt: str) -> str:
        with llm.stream(prompt) as response:
            return "".join(event.text for event in response if isinstance(event, rl.TextDelta))

    with serving(Together(4)) as server, to(server) as llm, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda number: text(llm, str(number)), range(4)))
        assert [answer[-1] for answer in answers] == list("0123")


def test_threads_share_one_loop() -> None:
    """The first calls of many threads start one thread between them, and none is started before."""
    llm = rl.Client("offline")
    assert llm._thread._running is None
    loops = set()

    async def running(_) -> None:
        loops.add(asyncio.get_running_loop())

    with llm, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: llm._thread.run(running), range(32)))
    assert len(loops) == 1


async def test_a_running_loop_is_no_hindrance() -> None:
    """In a notebook's running loop the client blocks, and answers."""
    with rl.Client("offline") as llm:
        assert llm.generate("Hello")
        with llm.stream("Hello") as response:
            assert list(response)[-1] == rl.Finish("stop")


def test_a_call_in_the_clients_own_loop_is_refused() -> None:
    """It would wait for itself."""

    async def stage(request: rl.Request, call_next: rl.Handler) -> rl.Response:
        llm.generate("Hello")
        return await call_next(request)

    with scripted("a", middleware=[stage]) as llm, pytest.raises(RuntimeError, match="wait for itself"):
        llm.generate("Hello")


def test_whatever_a_stage_raises_reaches_the_caller_and_not_the_loop() -> None:
    """Even SystemExit, which would end the loop."""
    errors = [SystemExit(3)]

    async def stage(request: rl.Request, call_next: rl.Handler) -> rl.Response:
        if errors:
            raise errors.pop()
        return await call_next(request)

    with scripted("a", middleware=[stage]) as llm:
        with pytest.raises(SystemExit):
            llm.generate("Hello")
        assert llm.generate("Hello") == "a"


def test_a_wait_on_windows_looks_up_now_and_then(monkeypatch) -> None:
    """Where a lock is deaf to Ctrl-C the wait is cut into pieces, and ends all the same."""
    monkeypatch.setattr(sync_job, "TICK", 0.01)
    with serving(Answer(latency=0.05)) as server, to(server) as llm:
        assert llm.generate("Hello").endswith("Hello")


def test_without_a_thread_to_be_had_the_error_is_the_systems(monkeypatch) -> None:
    """Nothing is left of the attempt; the next call tries again."""

    def fail(_) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    with rl.Client("offline") as llm:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            with pytest.raises(RuntimeError, match="can't start"):
                llm.generate("Hello")
        assert llm.generate("Hello")


def test_a_job_that_is_cancelled_before_it_began_ends() -> None:
    """Whoever waits for it is told."""
    thread = LoopThread(None, lambda: None)
    blocked, free = threading.Event(), threading.Event()

    async def nothing(_) -> None:
        pytest.fail("it was cancelled")  # pragma: no cover

    async def block(_) -> None:
        blocked.set()
        free.wait(PATIENCE)

    first, second = Job(block), Job(nothing)
    thread.submit(first)
    assert blocked.wait(PATIENCE)
    thread.submit(second)
    second.cancel()
    free.set()
    with pytest.raises(RuntimeError, match="cancelled"):
        second.result()
    thread.close(block)


# Ctrl-C ...


@posix
@pytest.mark.parametrize("streamed", [False, True])
def test_ctrl_c_ends_the_call_and_leaves_nothing_behind(*, streamed) -> None:
    """The main thread gets KeyboardInterrupt; connection, task and permit are gone; the client goes on."""
    fault = Watched(Stall())
    breaker = rl.CircuitBreaker(fail_max=1)
    with serving(fault, Answer()) as server, to(server, breaker=breaker) as llm:
        presser = threading.Thread(target=lambda: fault.begun.wait(PATIENCE) and interrupt())
        presser.start()
        call = llm.stream("Hello").__enter__ if streamed else lambda: llm.generate("Hello")
        with pytest.raises(KeyboardInterrupt):
            call()
        assert fault.over.wait(PATIENCE)
        presser.join()
        assert tasks_of(llm) == 0
        assert llm._client._calls._opening == set()
        assert llm.generate("again").endswith("again")


@posix
def test_ctrl_c_in_the_midst_of_a_stream_abandons_it() -> None:
    """The `with` is left by KeyboardInterrupt, and the response is abandoned."""
    fault, presser = Watched(Stall(after=2)), Presser()
    with serving(fault) as server, to(server) as llm:
        with pytest.raises(KeyboardInterrupt), llm.stream("Hello") as response:
            deque(map(presser.tell, response), maxlen=0)
        assert response.outcome.kind == rl.OutcomeKind.ABANDONED
        assert fault.over.wait(PATIENCE)
        assert tasks_of(llm) == 0


class Presser:
    """Presses Ctrl-C once it has been told of two events."""

    def __init__(self) -> None:
        self.events = 0

    def tell(self, _: rl.Event) -> None:
        self.events += 1
        if self.events == 2:
            threading.Timer(0.05, interrupt).start()


def interrupt() -> None:
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-X", "dev", "-W", "error", "-W", "ignore:.*fork:DeprecationWarning", "-c"]
    return subprocess.Popen(
        [*command, program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )


def quiet(stderr: str) -> str:
    """What was printed, but for asyncio's remarks on slow callbacks."""
    return "".join(line for line in stderr.splitlines(True) if not line.startswith("Executing <"))


@posix
def test_ctrl_c_ends_a_program_without_more_than_its_traceback() -> None:
    """The client was not closed; the server sees the connection go, and nothing complains."""
    fault = Watched(Stall())
    program = (
        "import sys, resilient_llm as rl\n"
        "rl.Client('openai-compatible', base_url=sys.argv[1], model='m').generate('Hello')"
    )
    with serving(fault) as server:
        child = start(program, server.base_url)
        assert fault.begun.wait(PATIENCE)
        child.send_signal(signal.SIGINT)
        _, stderr = child.communicate(timeout=PATIENCE)
        assert fault.over.wait(PATIENCE)
    assert child.returncode == -signal.SIGINT
    assert quiet(stderr).startswith("Traceback")
    assert quiet(stderr).count("Traceback") == 1
    assert stderr.rstrip().endswith("KeyboardInterrupt")


# Endings ...


def test_a_closed_client_refuses_calls() -> None:
    """And can be closed again; its thread is gone."""
    llm = rl.Client("offline")
    llm.generate("Hello")
    thread = llm._thread._running.thread
    llm.close()
    llm.close()
    assert not thread.is_alive()
    for call in (lambda: llm.generate("Hello"), lambda: llm.stream("Hello").__enter__(), llm.models):
        with pytest.raises(RuntimeError, match="the client is closed"):
            call()


def test_several_threads_may_close_at_once() -> None:
    """One of them does it; for the others nothing is left to do, whether there were calls or not."""
    with ThreadPoolExecutor(4) as pool:
        for _ in range(15):
            llm, together = scripted("hi"), threading.Barrier(4)

            def close(llm: rl.Client = llm, together: threading.Barrier = together) -> None:
                together.wait(PATIENCE)
                llm.close()

            for closing in [pool.submit(close) for _ in range(4)]:
                closing.result(PATIENCE)


def test_closing_lets_calls_of_other_threads_finish() -> None:
    """Within the grace time."""
    fault = Watched(Answer(latency=0.1))
    with serving(fault) as server, ThreadPoolExecutor(1) as pool:
        llm = to(server)
        answer = pool.submit(llm.generate, "Hello")
        assert fault.begun.wait(PATIENCE)
        llm.close()
        assert answer.result(PATIENCE).endswith("Hello")


def test_closing_ends_calls_that_take_longer() -> None:
    """The thread that waits is told why."""
    fault = Watched(Stall())
    with serving(fault) as server, ThreadPoolExecutor(1) as pool:
        llm = to(server)
        answer = pool.submit(llm.generate, "Hello")
        assert fault.begun.wait(PATIENCE)
        llm.close(grace=0.01)
        with pytest.raises(RuntimeError, match="closed while it ran"):
            answer.result(PATIENCE)
        assert fault.over.wait(PATIENCE)


def test_closing_ends_the_streams_of_the_closing_thread_at_once() -> None:
    """Nobody could read them to their end while it waits, so it does not wait."""
    fault = Watched(Stall(after=2))
    with serving(fault) as server:
        llm = to(server)
        with llm.stream("Hello") as response:
            next(response)
            llm.close(grace=10 * PATIENCE)
            assert fault.over.wait(PATIENCE)
            assert response.outcome.kind == rl.OutcomeKind.ABANDONED
            with pytest.raises(rl.ModelResponseInvalidError, match="client was closed"):
                list(response)  # which would look like a whole answer if it just ended


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "print(llm.generate('Hello'))",
        "print(next(llm.stream('Hello').__enter__()))",
        "response = llm.stream('Hello').__enter__(); next(response)",
        # from 3.12 on no thread can be begun once the main one has ended: the client has been used before
        "llm.generate('Hi'); import threading; threading.Thread(target=lambda: print(llm.generate('Hello'))).start()",
        "llm.generate('Hi'); import atexit; atexit.register(lambda: print(llm.generate('Hello')))",
        "llm.generate('Hello'); raise SystemExit",
    ],
)
def test_a_program_may_end_without_closing(rest) -> None:
    """It neither hangs nor prints a warning, whatever the client is at."""
    program = (
        "import sys, resilient_llm as rl\n"
        "llm = rl.Client('openai-compatible', base_url=sys.argv[1], model='m')\n"
    )
    if rest.startswith("print(next"):  # dropped at once, which warns by design
        rest = f"import warnings; warnings.simplefilter('ignore'); {rest}"
    with serving(Answer(interval=0.01)) as server:
        child = start(program + rest, server.base_url)
        _, stderr = child.communicate(timeout=PATIENCE)
    assert (child.returncode, quiet(stderr)) == (0, "")


def test_a_program_may_end_while_a_daemon_thread_waits() -> None:
    """The thread ends with the program, without a word."""
    fault = Watched(Stall())
    program = (
        "import sys, threading, resilient_llm as rl\n"
        "llm = rl.Client('openai-compatible', base_url=sys.argv[1], model='m')\n"
        "threading.Thread(target=llm.generate, args=('Hello',), daemon=True).start()\n"
        "sys.stdin.readline()"
    )
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    with serving(fault) as server:
        child = subprocess.Popen(
            [*command, server.base_url], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert fault.begun.wait(PATIENCE)
        _, stderr = child.communicate("go\n", timeout=PATIENCE)
        assert fault.over.wait(PATIENCE)
    assert (child.returncode, quiet(stderr)) == (0, "")


# Forks ...

FORK = """
import gc, os, sys, threading
import resilient_llm as rl
llm = rl.Client("openai-compatible", base_url=sys.argv[1], model="m", max_retries=0)
busy, over = sys.argv[2] == "busy", threading.Event()
def work():
    while not over.is_set():
        llm.generate("Hello")
def ask(number):
    return llm.generate(f"from {number}").rsplit(maxsplit=1)[-1]
threads = [threading.Thread(target=work) for _ in range(2 * busy)]
assert ask(0) == "0"
for thread in threads:
    thread.start()
stream = llm.stream("Hello")
response = stream.__enter__()
for number in range(1, 6):
    child = os.fork()
    if child == 0:
        assert ask(number) == str(number)
        try:
            response.completion()
        except RuntimeError as error:
            assert "by the process that asked" in str(error), error
        if number % 2:
            llm.close()
        del llm, stream, response
        gc.collect()  # what was inherited is the parent's
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0
    assert ask(number) == str(number)
assert response.completion().text.endswith("Hello")
over.set()
for thread in threads:
    thread.join()
import multiprocessing
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(ask, range(4)) == list("0123")
llm.close()
print("done")
"""


@posix
@pytest.mark.parametrize("load", ["idle", "busy"])
def test_parent_and_child_both_go_on_after_a_fork(load) -> None:
    """The child has a thread and connections of its own; the parent's are untouched, a stream that is open too."""
    with serving(Answer(interval=0.002)) as server:
        child = start(FORK, server.base_url, load)
        stdout, stderr = child.communicate(timeout=6 * PATIENCE)
    assert (child.returncode, quiet(stderr), stdout) == (0, "", "done\n")


@posix
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_lets_the_loops_go_on() -> None:
    """Before a fork they stand still, in the parent they are released at once, even while calls run."""
    fault = Watched(Answer(latency=0.05))
    with serving(fault) as server, to(server) as llm, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(llm.generate, "Hello")
        assert fault.begun.wait(PATIENCE)
        child = os.fork()
        if child == 0:  # pragma: no cover - which is not seen here
            os._exit(not llm._thread._running.inherited)
        assert os.waitpid(child, 0)[1] == 0
        assert answer.result(PATIENCE).endswith("Hello")
        assert not llm._thread._running.inherited


@posix
def test_a_fork_waits_until_the_loop_holds_no_lock() -> None:
    """A stage is in the midst of something under a lock; the child finds that lock free."""
    program = """
import os, sys, threading, time
import resilient_llm as rl
lock, entered = threading.Lock(), threading.Event()
async def stage(request, call_next):
    with lock:
        entered.set()
        time.sleep(0.2)
    return await call_next(request)
llm = rl.Client("offline", middleware=[stage])
thread = threading.Thread(target=llm.generate, args=("Hello",))
thread.start()
entered.wait()
child = os.fork()
if child == 0:
    os._exit(0 if lock.acquire(timeout=2) and llm else 1)
assert os.waitpid(child, 0)[1] == 0
thread.join()
llm.close()
"""
    _, stderr = (child := start(program)).communicate(timeout=PATIENCE)
    assert (child.returncode, quiet(stderr)) == (0, "")
