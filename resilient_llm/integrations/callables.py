"""`resilient`: a stack of stages around any function that calls a model."""

from __future__ import annotations

import inspect
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, Unpack, overload

from resilient_llm.composition import role_of
from resilient_llm.middleware import CircuitBreaker
from resilient_llm.presets import standard_stack

from .guarded import Guard, guarded_async, guarded_async_items, guarded_blocking, guarded_blocking_items

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

    from resilient_llm.pipeline import Middleware
    from resilient_llm.request import Observer
    from resilient_llm.stages import StackOptions

Function = TypeVar("Function", bound="Callable[..., Any] | classmethod[Any, ..., Any]")

MARK: Final = "__resilient__"
"""The attribute that tells a decorated function."""

MEANINGLESS: Final = {
    "recovery": "a function's caller cannot be told to drop what it has",
    "fallback": "a function has no other target: call the other backend in its own decorated function",
    "cache": "what decides a function's result is not known",
    "coalesce": "what decides a function's result is not known",
}
"""Options and stages that functions cannot have, and why."""

LIMITS: Final = frozenset({"attempt_timeout", "first_token_timeout", "idle_timeout"})
BLOCKING: Final = (guarded_blocking, guarded_blocking_items)


class Decorator(Protocol):
    """What `resilient(...)` gives: a decorator that keeps a function's type."""

    def __call__(self, function: Function, /) -> Function:
        """Decorate a function."""
        ...


@overload
def resilient(function: Function, /) -> Function: ...
@overload
def resilient(
    *,
    name: str | None = None,
    model: str = "",
    middleware: Sequence[Middleware] | None = None,
    observers: Sequence[Observer] = (),
    **options: Unpack[StackOptions],
) -> Decorator: ...
def resilient(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    model: str = "",
    middleware: Sequence[Middleware] | None = None,
    observers: Sequence[Observer] = (),
    **options: Unpack[StackOptions],
) -> Any:
    """Send each call of a function through a stack of stages: `@resilient`, or `resilient(max_retries=2)(function)`.

    For functions, methods and generators, `async` or not, and whatever else can be called. Exceptions of the
    libraries that call models (OpenAI's and Anthropic's SDKs and those made like them, LiteLLM, httpx, aiohttp,
    requests, urllib3, botocore, Google's, ...) are classified, retried where that helps, counted by the circuit, and
    raised as an `LLMError` whose `__cause__` is the exception. All other exceptions are the function's own: they
    pass unchanged, are not retried, and say nothing about the backend. Cancellation passes, too.

    An argument called `messages` that holds a conversation (mappings with a `role`) is pruned to the window of the
    model, if that is known: from an argument called `model`, or the options `model` or `context_window`.

    A generator is retried up to its first item, never after it; closed early, it closes the inner one. A function that
    is not asynchronous runs in its caller's thread, where nothing can interrupt it: the deadline is minded before each
    attempt and wait, and makes an error of a result that comes too late; the other time limits do not apply.

    Each decorated function has stages of its own, and so a circuit (for each model), a retry budget and limits that all
    its callers share. To share them among functions, give them the same objects (`breaker=`, `rate_limit=`, ...).

    Args:
        function: The function, where there are no options.
        name: What errors and logs call the backend; default: the function's name.
        model: The model, where no argument says it.
        middleware: Stages of one's own, outermost first; default: `standard_stack(**options)`.
        observers: Plain functions told of each call's attempts, waits and pruning (see `Notice`).
        options: The options of `standard_stack`, but for `recovery`, `fallback`, `cache` and `coalesce`; where the
            function is not asynchronous also but for `attempt_timeout`, `first_token_timeout` and `idle_timeout`.

    Raises:
        TypeError: This cannot be decorated, or not with these options; the message says why.
        CompositionError: The order of `middleware` cannot work.
        LLMError: From every call that failed in the end; see the error codes.
    """
    _check_options(middleware, options)

    def guard(kind: Any, function: Any, called: str) -> Any:
        stack = _standard(called, options) if middleware is None else middleware
        return kind(Guard(function, stack, name=called, model=model, observers=tuple(observers)))

    def decorate(function: Any) -> Any:
        return _decorated(function, name, options.keys() & LIMITS, guard)

    return decorate if function is None else decorate(function)


def _decorated(
    function: Any, name: str | None, limits: AbstractSet[str], guard: Callable[[Any, Any, str], Any]
) -> Any:
    """The function with its guard, of the kind that it needs; what cannot be decorated is refused."""
    if isinstance(function, staticmethod | classmethod):
        return type(function)(_decorated(function.__func__, name, limits, guard))
    if not callable(function) or isinstance(function, type):
        msg = f"resilient decorates functions and other callables, not {function!r}"
        raise TypeError(msg)
    called = name or str(getattr(function, "__name__", type(function).__name__))
    if hasattr(function, MARK):
        warnings.warn(f"{called} is resilient already; it is returned as it is", stacklevel=3)
        return function
    kind = _kind(function)
    if kind in BLOCKING and limits:
        msg = f"{min(limits)} cannot interrupt {called}, which is not async: give its client a time limit"
        raise TypeError(msg)
    decorated = guard(kind, function, called)
    setattr(decorated, MARK, True)
    return decorated


def _standard(name: str, options: StackOptions) -> Sequence[Middleware]:
    stack = standard_stack(backend=name, **options)
    for stage in stack:
        if isinstance(stage, CircuitBreaker) and "breaker" not in options:
            stage.name = name  # which says more than the model's, or none
    return stack


def _check_options(middleware: Sequence[Middleware] | None, options: StackOptions) -> None:
    if middleware is not None and options:
        msg = f"{min(options)} is an option of the standard stack: set it on the stages in `middleware`"
        raise TypeError(msg)
    for option in options:
        if option in MEANINGLESS:
            msg = f"{option} is not for functions: {MEANINGLESS[option]}"
            raise TypeError(msg)
    for stage in middleware or ():
        role = role_of(stage) or ""
        if role in MEANINGLESS and getattr(stage, "mode", None) != "raise":
            msg = f"{type(stage).__name__} is not for functions: {MEANINGLESS[role]}"
            raise TypeError(msg)


def _kind(function: Any) -> Callable[[Guard], Callable[..., Any]]:
    """How a callable is guarded. What wraps an async function gives what that gives, as SDKs' own decorators do."""
    called = (
        function if inspect.isroutine(function) or isinstance(function, partial) else type(function).__call__
    )
    if inspect.isasyncgenfunction(called):
        return guarded_async_items
    if inspect.isgeneratorfunction(called):
        return guarded_blocking_items
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(inspect.unwrap(called)):
        return guarded_async
    return guarded_blocking
