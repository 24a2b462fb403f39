"""What the stages call in the end: a function, whole or item by item."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack
from functools import partial
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Any, Final

from resilient_llm.body import ResponseInfo
from resilient_llm.commit import commit, whole
from resilient_llm.events import CONTENT_SEEN, Finish, Result

from .caller_thread import Errand
from .own_errors import Judging, OwnError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator

    from resilient_llm.events import Event
    from resilient_llm.models import Request
    from resilient_llm.response import Response
    from resilient_llm.sync_job import Job

    from .arguments import Arguments

FINISH: Final = Finish("stop")
END: Final = object()


class FunctionBackend:
    """The last handler of a decorated function's pipeline.

    Args:
        name: The function's name.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, request: Request) -> Awaitable[Response]:
        """Call the function, as the request says how.

        Raises:
            TypeError: A stage made up a request, which says nothing of the function's arguments.
        """
        invocation = request.extensions.get("invocation")
        if invocation is None:
            msg = "a stage passed on a request of its own: change the one it was given with attrs.evolve"
            raise TypeError(msg)
        if (sending := request.extensions.get("sending")) is not None:
            sending("")
        return invocation(request)

    async def aclose(self) -> None:
        """Nothing is open."""


class Invocation:
    """One call of a function, which may take several attempts; a `Handler`.

    Args:
        function: The function.
        arguments: Its arguments.
        name: Its name.
    """

    def __init__(self, function: Callable[..., Any], arguments: Arguments, name: str) -> None:
        self.function = function
        self.arguments = arguments
        self.name = name
        self.judging = Judging(name)

    async def __call__(self, request: Request) -> Response:
        """Call the function, or have it called."""
        raise NotImplementedError

    def info(self, request: Request) -> ResponseInfo:
        """All that is known of the answer."""
        return ResponseInfo(self.name, request.model)

    def whole(self, value: object, request: Request) -> Response:
        """The response that is a function's result."""
        return whole([Result(value), FINISH], self.info(request), request)


class Awaited(Invocation):
    """Of an async function."""

    async def __call__(self, request: Request) -> Response:
        """Call it."""
        args, kwargs = self.arguments.sent(request)
        with self.judging:
            value = await self.function(*args, **kwargs)
        return self.whole(value, request)


class Blocking(Invocation):
    """Of an ordinary function, in the thread that waits for `job`."""

    job: Job[Any]

    async def __call__(self, request: Request) -> Response:
        """Have it called."""
        args, kwargs = self.arguments.sent(request)
        value = await self.errand(partial(self.function, *args, **kwargs))
        if isawaitable(value):
            if iscoroutine(value):
                value.close()
            msg = f"{self.name} returned an awaitable, whose failures nobody would see: decorate an async def"
            raise OwnError(TypeError(msg), self.name)
        return self.whole(value, request)

    def errand(self, what: Callable[[], Any]) -> Awaitable[Any]:
        """Have the thread do something."""
        errand = Errand(what, self.name)
        self.job.put(errand)
        return errand.done()


class Items:
    """The body of a generator's answer. The generator is closed by whoever iterates: here nothing may be awaited."""

    def __init__(self, following: Callable[[], Awaitable[Any]], info: ResponseInfo, request: Request) -> None:
        self.info = info
        self._next = following
        self._request = request
        self._seen = False

    async def receive(self) -> list[Event]:
        """The next item."""
        item = await self._next()
        if item is END:
            return [FINISH]
        if not self._seen:
            self._seen = True
            self._request.tell(CONTENT_SEEN)
        return [Result(item)]

    def close(self) -> None:
        """Nothing is held here."""


class AsyncItems(Invocation):
    """Of an async generator function; its generators are closed by `opened`."""

    def __init__(self, function: Callable[..., Any], arguments: Arguments, name: str) -> None:
        super().__init__(function, arguments, name)
        self.opened = AsyncExitStack()

    async def __call__(self, request: Request) -> Response:
        """Begin a generator, and wait for its first item."""
        args, kwargs = self.arguments.sent(request)
        with self.judging:
            items = self.function(*args, **kwargs)
        self.opened.push_async_callback(items.aclose)
        return await commit(Items(partial(self._following, items), self.info(request), request), request)

    async def _following(self, items: AsyncIterator[Any]) -> Any:
        with self.judging:
            return await anext(items, END)


class BlockingItems(Blocking):
    """Of a generator function, in the thread that waits for `job`; its generators are closed by `opened`."""

    def __init__(self, function: Callable[..., Any], arguments: Arguments, name: str) -> None:
        super().__init__(function, arguments, name)
        self.opened = ExitStack()

    async def __call__(self, request: Request) -> Response:
        """Have a generator begun, and wait for its first item."""
        items = await self.errand(partial(self._begin, *self.arguments.sent(request)))
        return await commit(Items(partial(self._following, items), self.info(request), request), request)

    def _begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Generator[Any]:
        items: Generator[Any] = self.function(*args, **kwargs)
        self.opened.callback(items.close)
        return items

    def _following(self, items: Generator[Any]) -> Awaitable[Any]:
        return self.errand(partial(next, items, END))
