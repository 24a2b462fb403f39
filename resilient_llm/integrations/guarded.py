"""Functions with stages around their calls: the four kinds, each like the function that it stands for."""

from __future__ import annotations

from contextlib import aclosing
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar

from resilient_llm.events import Result
from resilient_llm.models import Extensions, Request
from resilient_llm.pipeline import Pipeline

from .arguments import Arguments, Parameters
from .caller_thread import Item, call, iterate
from .invocations import AsyncItems, Awaited, Blocking, BlockingItems, FunctionBackend, Invocation
from .own_errors import OwnError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

    from resilient_llm.pipeline import Middleware
    from resilient_llm.request import Observer
    from resilient_llm.sync_job import Job

Invoked = TypeVar("Invoked", bound=Invocation)

NO_LIMITS: Final = Extensions()
UNINTERRUPTED: Final = Extensions(attempt_timeout=None, first_token_timeout=None, idle_timeout=None)
"""The limits of what cannot be interrupted."""


class Guard:
    """A function's stages, and how its calls become requests.

    Args:
        function: The function.
        middleware: Its stages, outermost first.
        name: Its name.
        model: The model, where no argument says it.
        observers: Who is told of each call.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        middleware: Sequence[Middleware],
        *,
        name: str,
        model: str,
        observers: tuple[Observer, ...],
    ) -> None:
        self.function = function
        self.pipeline = Pipeline(middleware, FunctionBackend(name))
        self._name = name
        self._model = model
        self._observers = observers
        self._parameters = Parameters(function)

    def invocation(self, kind: type[Invoked], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Invoked:
        """A call with these arguments."""
        return kind(self.function, Arguments.of(self._parameters, args, kwargs), self._name)

    async def value(self, invocation: Invocation, limits: Extensions = NO_LIMITS) -> Any:
        """The function's result."""
        response = await self.pipeline(self._request(invocation, limits, stream=False))
        for event in await response.receive():
            if isinstance(event, Result):
                return event.value
        msg = f"a stage answered {invocation.name} by itself, without a result to hand on"
        raise TypeError(msg)

    async def items(self, invocation: Invocation, limits: Extensions = NO_LIMITS) -> AsyncGenerator[Any]:
        """The items of a generator."""
        async with await self.pipeline(self._request(invocation, limits, stream=True)) as response:
            async for event in response:
                if isinstance(event, Result):
                    yield event.value

    def _request(self, invocation: Invocation, limits: Extensions, *, stream: bool) -> Request:
        told = invocation.arguments
        messages = told.messages
        return Request(
            "chat" if messages else "raw",
            messages,
            told.model or self._model,
            stream,
            told.params if messages else {},
            extensions={**limits, "invocation": invocation},
            observers=self._observers,
        )


def guarded_async(guard: Guard) -> Callable[..., Any]:
    """An async function."""

    @wraps(guard.function)
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return await guard.value(guard.invocation(Awaited, args, kwargs))
        except OwnError as error:
            error.unwrap()

    return guarded


def guarded_async_items(guard: Guard) -> Callable[..., Any]:
    """An async generator function."""

    @wraps(guard.function)
    async def guarded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any]:
        invocation = guard.invocation(AsyncItems, args, kwargs)
        try:
            async with invocation.opened, aclosing(guard.items(invocation)) as items:
                async for item in items:
                    yield item
        except OwnError as error:
            error.unwrap()

    return guarded


def guarded_blocking(guard: Guard) -> Callable[..., Any]:
    """A function that is not asynchronous."""

    @wraps(guard.function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        invocation = guard.invocation(Blocking, args, kwargs)

        async def run(job: Job[Any]) -> Any:
            invocation.job = job
            return await guard.value(invocation, UNINTERRUPTED)

        try:
            return call(run)
        except OwnError as error:
            error.unwrap()

    return guarded


def guarded_blocking_items(guard: Guard) -> Callable[..., Any]:
    """A generator function that is not asynchronous."""

    @wraps(guard.function)
    def guarded(*args: Any, **kwargs: Any) -> Iterator[Any]:
        invocation = guard.invocation(BlockingItems, args, kwargs)

        async def run(job: Job[None]) -> None:
            invocation.job = job
            async with aclosing(guard.items(invocation, UNINTERRUPTED)) as items:
                async for item in items:
                    job.put(Item(item))

        try:
            with invocation.opened:
                yield from iterate(run)
        except OwnError as error:
            error.unwrap()

    return guarded
