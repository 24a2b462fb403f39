"""`rl.resilient` around functions and generators that are not asynchronous."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import resilient_llm as rl

if TYPE_CHECKING:
    from collections.abc import Iterator

BUSY = rl.BackendFailure(503, {}, b"busy")
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and forks are POSIX's")


class MineError(Exception):
    """A program's own."""


def soon() -> Iterator[float]:
    while True:
        yield 0.01


def guard(function: Any, **options: Any) -> Any:
    return rl.resilient(wait=soon, jitter=None, **options)(function)


class Script:
    """A function that fails, or answers, as told, the last time for ever."""

    def __init__(self, *steps: Any) -> None:
        self.steps = steps
        self.threads: list[int] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        step = self.steps[min(len(self.threads), len(self.steps) - 1)]
        self.threads.append(threading.get_ident())
        if callable(step):
            step = step()
        if isinstance(step, BaseException):
            raise step
        return step or (args, kwargs)


def items_of(*steps: list[Any], left: list[str] | None = None) -> Any:
    attempts = iter(steps)

    def stream() -> Iterator[Any]:
        try:
            for step in next(attempts, steps[-1]):
                if isinstance(step, BaseException):
                    raise step
                yield step
        finally:
            if left is not None:
                left.append("closed")

    return stream


def test_a_function_is_retried_in_its_callers_thread() -> None:
    """It stays an ordinary function; arguments and result pass untouched."""
    function = Script(BUSY, ConnectionResetError(), None)
    ask = guard(function)
    assert not inspect.iscoroutinefunction(ask)
    given = object()
    args, kwargs = ask(given, name=2)
    assert args == (given,)
    assert kwargs == {"name": 2}
    assert function.threads == [threading.get_ident()] * 3


def test_an_sdks_failure_becomes_ours() -> None:
    """With the attempts and the cause."""
    with pytest.raises(rl.ModelOverloadedError) as caught:
        guard(Script(BUSY), max_retries=1, name="ask")()
    assert caught.value.__cause__ is BUSY
    assert (caught.value.attempts, caught.value.backend) == (2, "ask")


@pytest.mark.parametrize(
    "own", [MineError("reset by peer"), StopIteration(3), StopAsyncIteration(), GeneratorExit()]
)
def test_a_programs_own_exception_passes_unchanged(own: BaseException) -> None:
    """Even those that asyncio cannot carry; once, and with the function at the end of the traceback."""
    function = Script(own)
    with pytest.raises(type(own)) as caught:
        guard(function)()
    assert caught.value is own
    assert len(function.threads) == 1


def test_it_works_inside_a_running_loop() -> None:
    """Blocking the loop as the function itself would, without waiting for it; from several loops and threads."""

    async def main() -> Any:
        return guard(Script(BUSY, "Hi"))(), await asyncio.to_thread(guard(Script(BUSY, "Ho")))

    assert asyncio.run(main()) == ("Hi", "Ho")


def test_decorated_functions_may_call_each_other() -> None:
    """The function does not run on the loop that its stages need."""
    inner = guard(Script(BUSY, "Hi"))
    assert guard(lambda: inner() + "!")() == "Hi!"
    assert asyncio.run(guard(_calling(inner))()) == "Hi"


def _calling(function: Any) -> Any:
    async def call() -> Any:
        return function()

    return call


def test_an_awaitable_is_no_result() -> None:
    """A function that hides that it is async is not taken for a success: the error says what to decorate."""
    hidden = Script(lambda: asyncio.sleep(0))
    with pytest.raises(TypeError, match="Script returned an awaitable"):
        guard(hidden)()
    assert len(hidden.threads) == 1


def test_many_threads_share_a_functions_limits() -> None:
    """At most two at a time, whoever calls."""
    running: list[int] = []
    most: list[int] = []

    def work() -> None:
        running.append(1)
        most.append(len(running))
        time.sleep(0.01)
        running.pop()

    ask = guard(work, concurrency=2)
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(most) == 8
    assert max(most) == 2


def test_context_variables_flow() -> None:
    """The stages see the caller's, and what the function sets stays set."""
    variable = contextvars.ContextVar("variable", default=0)
    seen: list[int] = []

    async def stage(request: rl.Request, call_next: rl.Handler) -> rl.Response:
        seen.append(variable.get())
        return await call_next(request)

    def ask() -> None:
        variable.set(8)

    variable.set(7)
    rl.resilient(middleware=[stage])(ask)()  # type: ignore[arg-type]
    assert (seen, variable.get()) == ([7], 8)


def test_a_result_after_the_deadline_is_an_error() -> None:
    """Nothing interrupts the function, and it is not called again."""
    function = Script(lambda: time.sleep(0.4) or "late")
    with pytest.raises(rl.DeadlineExceededError):
        guard(function, deadline=0.1)()
    assert len(function.threads) == 1


@pytest.mark.parametrize("function", [Script(1), items_of([1])])
@pytest.mark.parametrize("option", ["attempt_timeout", "first_token_timeout", "idle_timeout"])
def test_limits_that_could_not_be_kept_are_refused(function: Any, option: str) -> None:
    """A time limit for an attempt belongs to the function's own client."""
    with pytest.raises(TypeError, match=f"{option} cannot interrupt"):
        guard(function, **{option: 5})


def test_limits_of_a_given_stack_do_not_end_what_they_cannot_interrupt() -> None:
    """An `AttemptTimeout` that is there already has no effect."""
    stack = [rl.Retry(), rl.AttemptTimeout(whole=0.05, first_token=0.05), rl.ErrorClassifier()]
    function = Script(lambda: time.sleep(0.2) or "Hi")
    assert rl.resilient(middleware=stack)(function)() == "Hi"
    assert len(function.threads) == 1


@posix
def test_ctrl_c_ends_the_call() -> None:
    """In the function and while the stages wait; the permit comes back."""
    ask = guard(Script(lambda: os.kill(os.getpid(), signal.SIGINT) or time.sleep(10), "Hi"), concurrency=1)
    with pytest.raises(KeyboardInterrupt):
        ask()
    assert ask() == "Hi"


@posix
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_can_call() -> None:
    """With a loop of its own."""
    ask = guard(Script(BUSY, "Hi"))
    assert ask() == "Hi"
    child = os.fork()
    if child == 0:
        os._exit(0 if ask() == "Hi" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert ask() == "Hi"


def test_messages_are_pruned() -> None:
    """As for functions that are asynchronous."""
    given = [{"role": "user", "content": "word " * 50} for _ in range(100)]
    assert 0 < len(guard(lambda messages: messages, context_window=1000)(given)) < 100


# Generators ...


def test_a_stream_is_retried_before_its_first_item() -> None:
    """In its reader's thread, item by item: nothing is read ahead of the reader."""
    progress: list[Any] = []

    def stream() -> Iterator[int]:
        progress.append(threading.get_ident())
        if len(progress) == 1:
            raise ConnectionResetError
        yield 1
        progress.append("asked for the second")
        yield 2

    ask = guard(stream)
    assert inspect.isgeneratorfunction(ask)
    items = ask()
    assert not progress
    assert next(items) == 1
    assert progress == [threading.get_ident()] * 2
    assert list(items) == [2]


def test_a_stream_is_not_retried_after_its_first_item() -> None:
    """The failure is classified; a program's own passes."""
    seen: list[int] = []
    with pytest.raises(rl.ModelOverloadedError):
        seen += guard(items_of([1, 2, BUSY], [3]))()
    items = guard(items_of([1, mine := MineError()], [3]))()
    assert next(items) == 1
    with pytest.raises(MineError) as caught:
        next(items)
    assert caught.value is mine
    assert seen == [1, 2]


def test_closing_early_closes_the_generator_inside() -> None:
    """Before `close` returns, and its permit comes back."""
    left: list[str] = []
    ask = guard(items_of([1, 2, None], left=left), concurrency=1)
    for _ in range(3):
        items = ask()
        assert next(items) == 1
        items.close()
        assert left.pop() == "closed"
    assert list(ask()) == [1, 2, None]


def test_dropping_a_stream_closes_it() -> None:
    """As dropping a generator does."""
    left: list[str] = []
    items = guard(items_of([1, 2], left=left))()
    next(items)
    del items
    assert left == ["closed"]


def test_breaks_of_streams_count_for_the_circuit() -> None:
    """And an open circuit calls nothing."""
    ask = guard(items_of([1, BUSY]), breaker=rl.CircuitBreaker(fail_max=1))
    with pytest.raises(rl.ModelOverloadedError):
        list(ask())
    with pytest.raises(rl.CircuitOpenError):
        list(ask())
