"""`rl.resilient` around async functions and async generators."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
import json
import pickle
import random
import traceback
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import attrs
import httpx
import pytest

import resilient_llm as rl
from resilient_llm.testing import FakeClock, run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

HELLO = {"role": "user", "content": "Hello"}
BUSY = rl.BackendFailure(503, {}, b"busy")


class MineError(Exception):
    """A program's own."""


class Script:
    """An async function that fails, or answers, as told, the last time for ever."""

    def __init__(self, *steps: Any) -> None:
        self.steps = steps
        self.calls: list[tuple[Any, ...]] = []

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        step = self.steps[min(len(self.calls), len(self.steps) - 1)]
        self.calls.append((args, kwargs))
        return await act(step)


async def act(step: Any) -> Any:
    if callable(step):
        step = await step()
    if isinstance(step, BaseException):
        raise step
    return step


def guard(function: Any, **options: Any) -> Any:
    """Decorated, in virtual time, with the same waits each time."""
    return rl.resilient(clock=FakeClock(), rng=random.Random(1), jitter=None, **options)(function)


def status(code: int, body: str = "", **headers: str) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "http://host/v1/chat/completions")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = httpx.Response(code, text=body, headers=named, request=request)
    return httpx.HTTPStatusError(f"status {code}", request=request, response=answer)


# What it is ...


def test_a_decorated_function_looks_like_the_function() -> None:
    """Kind, name, signature and docstring stay; the decorator takes options or none."""

    @rl.resilient
    async def whole(messages: list[Any], *, model: str = "m") -> str:
        """Ask."""
        return model

    @rl.resilient(max_retries=1)
    async def items() -> AsyncIterator[int]:
        """Count."""
        yield 1

    assert inspect.iscoroutinefunction(whole)
    assert inspect.isasyncgenfunction(items)
    assert (whole.__name__, whole.__doc__, items.__doc__) == ("whole", "Ask.", "Count.")
    assert str(inspect.signature(whole)) == "(messages: 'list[Any]', *, model: 'str' = 'm') -> 'str'"


def test_methods_of_all_kinds_work() -> None:
    """Instances, classes and neither, with the decorator on either side of the others."""

    class Bot:
        name = "bot"

        @rl.resilient
        async def own(self, word: str) -> str:
            return self.name + word

        @classmethod
        @rl.resilient
        async def inner(cls, word: str) -> str:
            return cls.name + word

        @rl.resilient
        @classmethod
        async def outer(cls, word: str) -> str:
            return cls.name + word

        @rl.resilient
        @staticmethod
        async def free(word: str) -> str:
            return word

    async def main() -> list[str]:
        bot = Bot()
        return [await bot.own("!"), await Bot.inner("!"), await bot.outer("!"), await Bot.free("!")]

    assert run_virtual(main()) == ["bot!", "bot!", "bot!", "!"]


def test_what_wraps_an_async_function_is_one() -> None:
    """An SDK's own decorators, a partial, an object with an async `__call__`: all are awaited."""

    async def ask(word: str) -> str:
        return word

    @functools.wraps(ask)
    def checked(*args: Any) -> Any:
        return ask(*args)

    class Asker:
        async def __call__(self, word: str) -> str:
            return word

    for function in (checked, functools.partial(ask), Asker(), AsyncMock(return_value="Hi")):
        decorated: Any = rl.resilient(function)
        assert inspect.iscoroutinefunction(decorated)
        assert run_virtual(decorated("Hi")) == "Hi"


@pytest.mark.parametrize("wrong", [int, 3, None.__class__, "ask"])
def test_what_cannot_be_called_is_refused(wrong: Any) -> None:
    """A class or a value is no function."""
    with pytest.raises(TypeError, match="decorates functions"):
        rl.resilient()(wrong)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"recovery": "restart"}, "recovery is not for functions"),
        ({"fallback": []}, "fallback is not for functions"),
        ({"cache": None}, "cache is not for functions"),
        ({"coalesce": None}, "coalesce is not for functions"),
        ({"max_retry": 2}, "unknown option 'max_retry'"),
        ({"middleware": [], "max_retries": 2}, "max_retries is an option of the standard stack"),
        ({"middleware": [rl.Cache()]}, "Cache is not for functions"),
        ({"middleware": [rl.StreamRecovery("restart"), rl.Retry()]}, "StreamRecovery is not for functions"),
    ],
)
def test_options_that_mean_nothing_here_are_refused(options: Any, says: str) -> None:
    """When the function is decorated, not when it is called."""
    with pytest.raises(TypeError, match=says):
        rl.resilient(**options)(Script(1))


def test_decorating_twice_warns_and_changes_nothing() -> None:
    """Two stacks would multiply their retries."""
    once = rl.resilient(Script(1))
    with pytest.warns(UserWarning, match="resilient already"):
        assert rl.resilient(max_retries=1)(once) is once


# Whole calls ...


def test_arguments_and_results_pass_untouched() -> None:
    """Whatever they are: the same objects."""
    value, given = object(), object()
    function = Script(value)
    assert run_virtual(guard(function)(given, 2, name=given)) is value
    assert function.calls == [((given, 2), {"name": given})]


@pytest.mark.parametrize("value", [None, BUSY, [], StopIteration])
def test_any_value_is_a_result(value: Any) -> None:
    """None, and an exception that is returned, are results like others."""

    async def ask() -> Any:
        return value

    assert run_virtual(guard(ask)()) is value


def test_a_librarys_failure_is_retried() -> None:
    """With the back-off of the stack."""
    function = Script(httpx.ReadError("reset"), status(503), "Hi")

    async def main() -> tuple[str, float]:
        return await guard(function)(1), asyncio.get_running_loop().time()

    assert run_virtual(main()) == ("Hi", 1.5)
    assert len(function.calls) == 3


def test_a_servers_delay_is_kept() -> None:
    """The header of the answer that the exception carries is a floor."""

    async def main() -> float:
        await guard(Script(status(429, retry_after="7"), "Hi"))()
        return asyncio.get_running_loop().time()

    assert 7.0 <= run_virtual(main()) < 9.0


def test_the_caller_gets_our_error_and_the_exception_as_its_cause() -> None:
    """With code, status, the function's name, the model and the trace of its attempts."""
    last = status(401, '{"error": {"code": "invalid_api_key", "message": "wrong key"}}')

    async def ask(model: str) -> None:
        raise last

    with pytest.raises(rl.ModelAuthError) as caught:
        run_virtual(guard(ask)("gpt-x"))
    error = caught.value
    assert error.__cause__ is last
    assert (error.backend, error.model, error.status, error.attempts) == ("ask", "gpt-x", 401, 1)
    assert pickle.loads(pickle.dumps(error)).code == "MODEL_AUTH"


def test_the_name_can_be_given() -> None:
    """Errors then speak of it."""
    with pytest.raises(rl.ModelOverloadedError, match="azure") as caught:
        run_virtual(guard(Script(BUSY), name="azure", max_retries=0)())
    assert caught.value.backend == "azure"


def test_the_last_failure_is_raised_when_retries_are_used_up() -> None:
    """`max_retries` attempts after the first, each on the trace, told to the observers."""
    told: list[Any] = []
    function = Script(BUSY)
    with pytest.raises(rl.ModelOverloadedError) as caught:
        run_virtual(guard(function, max_retries=2, observers=[told.append])())
    assert len(function.calls) == caught.value.attempts == len(caught.value.trace) == 3
    assert len([notice for notice in told if isinstance(notice, rl.Waiting)]) == 2


def test_a_programs_own_exception_passes_unchanged() -> None:
    """The same object, not retried, with the cause, the context and the traceback that it had."""

    async def ask() -> None:
        calls.append(1)
        try:
            {}["key"]
        except KeyError:
            raise mine from cause

    calls: list[int] = []
    mine, cause = MineError("reset by peer"), httpx.ReadError("reset")
    with pytest.raises(MineError) as caught:
        run_virtual(guard(ask)())
    assert caught.value is mine
    assert mine.__cause__ is cause
    assert isinstance(mine.__context__, KeyError)
    assert len(calls) == 1
    assert traceback.extract_tb(mine.__traceback__)[-1].name == "ask"


def test_a_programs_own_exception_says_nothing_about_the_backend() -> None:
    """It neither opens the circuit nor closes a run of failures, nor does it cost the retry budget."""
    breaker = rl.CircuitBreaker(fail_max=2, clock=FakeClock())
    function = Script(*[MineError()] * 5, BUSY, MineError(), BUSY, "Hi")
    ask = guard(function, breaker=breaker, max_retries=0)

    async def main() -> None:
        for _ in range(8):
            with pytest.raises((MineError, rl.ModelOverloadedError)):
                await ask()
        with pytest.raises(rl.CircuitOpenError):
            await ask()

    run_virtual(main())
    assert len(function.calls) == 8


def test_each_function_has_a_circuit_of_its_own_shared_by_its_callers() -> None:
    """One decorator for two functions: what one suffers does not concern the other."""
    decorate = rl.resilient(clock=FakeClock(), max_retries=0)
    ill, well = Script(BUSY), Script("Hi")
    first, second = decorate(ill.__call__), decorate(well)

    async def main() -> None:
        for _ in range(5):
            with pytest.raises(rl.ModelOverloadedError):
                await first()
        with pytest.raises(rl.CircuitOpenError, match="circuit '__call__' is open") as caught:
            await first()
        assert isinstance(caught.value.__cause__, rl.ModelOverloadedError)
        assert await second() == "Hi"

    run_virtual(main())
    assert len(ill.calls) == 5


def test_the_deadline_bounds_the_call() -> None:
    """A function that hangs is cancelled, and the caller gets the typed error."""
    left: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            left.append("cancelled")
            raise

    async def main() -> float:
        with pytest.raises(rl.DeadlineExceededError):
            await guard(hang, deadline=20)()
        return asyncio.get_running_loop().time()

    assert 20.0 <= run_virtual(main()) <= 20.2
    assert left == ["cancelled"]


def test_an_attempt_that_hangs_is_repeated() -> None:
    """`attempt_timeout` makes a `MODEL_TIMEOUT` of it."""
    function = Script(lambda: asyncio.sleep(1000), "Hi")
    assert run_virtual(guard(function, attempt_timeout=10)()) == "Hi"


def test_cancellation_passes_and_returns_the_permit() -> None:
    """It is not retried, and the next caller is served."""
    function = Script(lambda: asyncio.sleep(1000), "Hi")
    ask = guard(function, concurrency=1)

    async def main() -> str:
        task = asyncio.create_task(ask())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await ask()

    assert run_virtual(main()) == "Hi"
    assert len(function.calls) == 2


def test_context_variables_flow_both_ways() -> None:
    """The function runs in its caller's task."""
    variable = contextvars.ContextVar("variable", default=0)

    async def ask() -> int:
        variable.set(variable.get() + 1)
        return variable.get()

    async def main() -> tuple[int, int]:
        variable.set(6)
        return await guard(ask)(), variable.get()

    assert run_virtual(main()) == (7, 7)


def test_stages_of_ones_own_are_used() -> None:
    """They see request and result, and may change both; one that answers by itself needs a result."""

    async def shout(request: rl.Request, call_next: rl.Handler) -> rl.Response:
        assert request.model == "m"
        response = await call_next(attrs.evolve(request, model="n"))
        response.on_event(
            lambda event: rl.Result(event.value.upper()) if isinstance(event, rl.Result) else event
        )
        return response

    async def silent(request: rl.Request, call_next: rl.Handler) -> rl.Response:
        response = await call_next(request)
        await response.receive()
        return response

    async def ask(model: str) -> str:
        return model

    assert run_virtual(rl.resilient(middleware=[shout])(ask)("m")) == "N"  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a stage answered ask by itself"):
        run_virtual(rl.resilient(middleware=[silent])(ask)("m"))
    with pytest.raises(TypeError, match="a request of its own"):
        run_virtual(rl.resilient(middleware=[lambda _, call_next: call_next(rl.Request())])(ask)("m"))
    with pytest.raises(rl.BackendFailure):
        run_virtual(rl.resilient(middleware=[rl.Retry()])(Script(BUSY))())


# Conversations ...


def long(count: int = 100) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": f"{i} " + "word " * 50} for i in range(count)]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("options", [{"context_window": 1000}, {"model": "gpt-4"}])
def test_messages_are_pruned_to_a_known_window(options: Any, named: bool) -> None:
    """By the option, or by the model's published window; the newest turns stay, the caller's list as it was."""
    told: list[Any] = []

    async def ask(messages: list[Any], max_tokens: int = 200) -> list[Any]:
        return messages

    given = long(200)
    decorated = guard(ask, observers=[told.append], **options)
    sent = run_virtual(decorated(messages=given) if named else decorated(given))
    assert 0 < len(sent) < len(given) == 200
    assert sent == given[-len(sent) :]
    assert [type(notice) for notice in told].count(rl.PruneReport) == 1


def test_the_model_argument_says_the_window() -> None:
    """And goes before the option."""

    async def ask(messages: list[Any], model: str) -> int:
        return len(messages)

    decorated = guard(ask, model="gpt-4o")
    assert run_virtual(decorated(long(200), "gpt-4")) < 200
    assert run_virtual(decorated(long(200), "gpt-4o")) == 200


def test_an_overflow_is_learned_from_and_sent_once_more() -> None:
    """As an SDK's exception tells it."""
    lengths: list[int] = []

    async def ask(messages: list[Any]) -> str:
        lengths.append(len(messages))
        if len(messages) > 20:
            text = "This model's maximum context length is 1000 tokens. However, your messages resulted in 5600 tokens."
            raise status(400, json.dumps({"error": {"code": "context_length_exceeded", "message": text}}))
        return "Hi"

    assert run_virtual(guard(ask)(long(100))) == "Hi"
    assert lengths[0] == 100
    assert len(lengths) == 2


def test_what_cannot_fit_is_refused_before_the_function_is_called() -> None:
    """The newest turn alone is too long."""
    function = Script("Hi")
    with pytest.raises(rl.TokenLimitExceededError):
        run_virtual(guard(function, context_window=100)(messages=[{**HELLO, "content": "word " * 500}]))
    assert not function.calls


# Streams ...


def items_of(*steps: Any, left: list[str] | None = None) -> tuple[Callable[..., Any], list[int]]:
    """An async generator function: for each attempt a list of items, seconds to wait (floats), exceptions."""
    calls: list[int] = []

    async def stream(**_: Any) -> AsyncIterator[Any]:
        steps_now = steps[min(len(calls), len(steps) - 1)]
        calls.append(1)
        try:
            for step in steps_now:
                if isinstance(step, float):
                    await asyncio.sleep(step)
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
        finally:
            if left is not None:
                await asyncio.sleep(0)
                left.append("closed")

    return stream, calls


async def read(stream: Any, into: list[Any]) -> None:
    async for item in stream:
        into += [item]


def test_a_stream_is_retried_before_its_first_item() -> None:
    """The items of the attempt that worked are all that is seen."""
    stream, calls = items_of([BUSY], [httpx.ReadError("reset")], [1, 2, 3])
    seen: list[Any] = []
    run_virtual(read(guard(stream)(), seen))
    assert (seen, len(calls)) == ([1, 2, 3], 3)


def test_a_stream_is_not_retried_after_its_first_item() -> None:
    """The failure is classified and raised where it happened; the circuit counts it."""
    stream, calls = items_of([1, 2, httpx.ReadError("reset")])
    breaker = rl.CircuitBreaker(fail_max=1, clock=FakeClock())
    seen: list[Any] = []
    ask = guard(stream, breaker=breaker)
    with pytest.raises(rl.ModelUnavailableError) as caught:
        run_virtual(read(ask(), seen))
    assert isinstance(caught.value.__cause__, httpx.ReadError)
    assert (seen, len(calls)) == ([1, 2], 1)
    with pytest.raises(rl.CircuitOpenError):
        run_virtual(read(ask(), seen))


@pytest.mark.parametrize("before", [[], [1]])
def test_a_streams_own_exception_passes_unchanged(before: list[int]) -> None:
    """At the beginning and in the midst."""
    stream, calls = items_of([*before, mine := MineError()])
    seen: list[Any] = []
    with pytest.raises(MineError) as caught:
        run_virtual(read(guard(stream)(), seen))
    assert caught.value is mine
    assert (seen, len(calls)) == (before, 1)


def test_an_empty_stream_and_items_of_any_kind_pass() -> None:
    """Nothing, None, falsehoods."""
    for items in ([], [None, 0, "", BUSY.__class__]):
        seen: list[Any] = []
        run_virtual(read(guard(items_of(items)[0])(), seen))
        assert seen == items


def test_time_limits_count_items() -> None:
    """The first item's limit leads to a retry, the one between items to an error."""
    stream, calls = items_of([50.0, 1], [5.0, 1, 2.0, 2, 50.0, 3])
    seen: list[Any] = []
    with pytest.raises(rl.ModelTimeoutError, match="stalled"):
        run_virtual(read(guard(stream, first_token_timeout=10, idle_timeout=20)(), seen))
    assert (seen, len(calls)) == ([1, 2], 2)


def test_closing_a_stream_early_closes_the_generator_inside() -> None:
    """Before `aclose` returns, and its permit is free for the next; nothing is counted against the backend."""
    left: list[str] = []
    stream, _ = items_of([1, 2, 3], left=left)
    ask = guard(stream, concurrency=1, breaker=(breaker := rl.CircuitBreaker(fail_max=1, clock=FakeClock())))

    async def main() -> None:
        for _ in range(3):
            items = ask()
            assert await anext(items) == 1
            await items.aclose()
            assert left.pop() == "closed"

    run_virtual(main())
    assert breaker.circuit("").fail_counter == 0


def test_a_stream_is_closed_where_its_reader_fails_or_is_cancelled() -> None:
    """The generator inside gets to its clean-up."""
    left: list[str] = []
    stream, _ = items_of([1, 1000.0, 2], left=left)

    async def main() -> None:
        task = asyncio.create_task(read(guard(stream, idle_timeout=None, deadline=None)(), []))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert left.pop() == "closed"
        items = guard(stream)()
        await anext(items)
        with pytest.raises(MineError):
            await items.athrow(MineError())
        assert left.pop() == "closed"

    run_virtual(main())


def test_generators_of_failed_attempts_are_closed() -> None:
    """A stage that drops a stream and calls again leaves none open."""
    left: list[str] = []

    async def twice(request: rl.Request, call_next: rl.Handler) -> rl.Response:
        (await call_next(request)).close()
        return await call_next(request)

    stream, calls = items_of([1, 2], left=left)
    seen: list[Any] = []
    run_virtual(read(rl.resilient(middleware=[twice])(stream)(), seen))
    assert (seen, len(calls), left) == ([1, 2], 2, ["closed", "closed"])


def test_a_streamed_probe_closes_the_circuit_with_its_first_item() -> None:
    """Callers need not wait for its end."""
    stream, _ = items_of([BUSY], [1, 2, 3])
    clock = FakeClock()
    breaker = rl.CircuitBreaker(fail_max=1, clock=clock, jitter=0)
    ask = rl.resilient(clock=clock, breaker=breaker, max_retries=0)(stream)

    async def main() -> None:
        with pytest.raises(rl.ModelOverloadedError):
            await read(ask(), [])
        await asyncio.sleep(31)
        probe = ask()
        await anext(probe)
        await read(ask(), seen := [])
        assert seen == [1, 2, 3]
        await probe.aclose()

    run_virtual(main())


def test_a_stream_that_nobody_begins_calls_nothing() -> None:
    """Making the generator costs nothing and leaves nothing open."""
    stream, calls = items_of([1])
    guard(stream)()
    gc.collect()
    assert not calls


def test_calls_and_streams_cancelled_at_random_leave_nothing() -> None:
    """No task, no open generator, no permit: all who come after are served."""
    draws = random.Random(3)
    left: list[str] = []
    begun: list[int] = []

    async def ask() -> None:
        await asyncio.sleep(draws.random())
        if draws.random() < 0.1:
            raise MineError

    async def stream() -> AsyncIterator[int]:
        begun.append(1)
        try:
            for number in range(5):
                await asyncio.sleep(draws.random())
                yield number
        finally:
            await asyncio.sleep(0)
            left.append("closed")

    call, items = guard(ask, concurrency=20), guard(stream, concurrency=20)

    async def main() -> None:
        tasks = [asyncio.create_task(draws.choice([call, lambda: read(items(), [])])()) for _ in range(300)]
        for task in tasks:
            if draws.random() < 0.5:
                asyncio.get_running_loop().call_later(20 * draws.random(), task.cancel)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert len(left) == len(begun) > 50
        async with asyncio.timeout(10):  # 20 at a time, each at most 5 s: all permits are back
            await asyncio.gather(*(read(items(), []) for _ in range(20)))

    run_virtual(main())


# Other stacks inside ...


def test_a_wrapped_clients_error_is_taken_over() -> None:
    """An SDK's exception that carries our error means what that says, not what its made-up answer does."""
    inner = rl.CircuitOpenError("open", retry_after=3)
    exc = status(503)
    exc.llm_error = inner  # type: ignore[attr-defined]
    exc.__cause__ = inner
    function = Script(exc)
    with pytest.raises(rl.CircuitOpenError) as caught:
        run_virtual(guard(function)())
    assert caught.value.retry_after == 3
    assert len(function.calls) == 1
