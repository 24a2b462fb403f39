"""The faults of the fault server, without a server: what is done to a call before it leaves the process."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

import aiohttp
import attrs

from resilient_llm.commit import commit
from resilient_llm.error_base import copy_error
from resilient_llm.errors import ERROR_TYPES, BackendFailure, ErrorCode, ModelResponseInvalidError
from resilient_llm.events import Event, Finish, ToolCall, ToolCallDelta
from resilient_llm.wire.assembly import CONTENT
from resilient_llm.wire.payload import describe

from .fault_server import Answer, Cut, ErrorEvent, Garbage, Reset, Stall, Status, asked
from .fault_server.shapes import refuse
from .fault_server.words import Facts
from .scripted import Script, ScriptedTransport

if TYPE_CHECKING:
    from resilient_llm.clock import Clock
    from resilient_llm.models import Request
    from resilient_llm.pipeline import Handler
    from resilient_llm.response import Response, ResponseInfo

    from .fault_server.words import Reason

LONGEST_STALL: Final = 3600.0
"""Seconds after which a stall ends with a reset, if nobody has given up by then."""

FAULTS: Final = (Answer, Cut, ErrorEvent, Garbage, Reset, Stall, Status)
"""What the fault server does that can be done here as well."""

Begun: TypeAlias = Answer | Cut | ErrorEvent | Stall
"""What begins with the backend's own answer."""

Injected: TypeAlias = Begun | Garbage | Reset | Status | ErrorCode | Script | None
"""What can happen to a call: a fault of the fault server, an error or its code, another answer, or nothing."""


def injectable(said: Any) -> Injected:
    """What was said to happen, checked. The name of a code is the code.

    Raises:
        TypeError: It cannot be done to a call here; the message says what can.
    """
    if isinstance(said, str) and said in set(ErrorCode):
        return ErrorCode(said)
    if getattr(said, "reply", None) is not None or getattr(said, "at", None) is not None:
        msg = f"{said!r} cannot be injected: reply= and at= are for a FaultServer; give a text, events, or after="
        raise TypeError(msg)
    if said is None or isinstance(said, (*FAULTS, Exception, str)):
        return said
    if isinstance(said, Sequence) and not isinstance(said, bytes):
        return said
    msg = (
        f"{said!r} cannot be injected; accepted are codes, exceptions, a text or events to answer with, None, and "
        f"{', '.join(kind.__name__ for kind in FAULTS)} of resilient_llm.testing"
    )
    raise TypeError(msg)


def word_for(fault: Injected) -> str:
    """What logs call it; never what it says."""
    if fault is None:
        return "nothing"
    if isinstance(fault, (ErrorCode, *FAULTS)):
        return str(fault)
    return type(fault).__name__ if isinstance(fault, Exception) else "script"


async def inject(fault: Injected, request: Request, call_next: Handler, clock: Clock) -> Response:
    """Do to a call what is to happen to it. Raises what a transport would raise."""
    if isinstance(fault, FAULTS) and fault.latency:
        await clock.sleep(fault.latency)
    match fault:
        case None:
            return await call_next(request)
        case ErrorCode():
            msg = "injected"
            raise ERROR_TYPES[fault](msg)
        case Exception():
            raise copy_error(fault)
        case Status():
            raise _refusal(fault, request)
        case Reset():
            raise _reset()
        case Garbage():
            msg = f"the backend sent {describe(fault.body)} where JSON was due"
            raise ModelResponseInvalidError(msg)
        case Answer() | Cut() | ErrorEvent() | Stall():
            return await (_streamed if request.stream else _whole)(fault, request, call_next, clock)
        case _:
            return await ScriptedTransport(fault, name="injected")(request)


async def _whole(fault: Begun, request: Request, call_next: Handler, clock: Clock) -> Response:
    if isinstance(fault, Stall):
        await _stall(clock)
    response = await call_next(request)
    if isinstance(fault, Answer):
        return response
    response.close()
    raise _break(fault, request)


async def _streamed(fault: Begun, request: Request, call_next: Handler, clock: Clock) -> Response:
    if isinstance(fault, Stall) and fault.after is None:
        await _stall(clock)
    # nobody is told of content before it is handed over, and fragments of calls come as off the wire
    extensions: Any = {**request.extensions, "tool_deltas": True}
    inner = await call_next(attrs.evolve(request, observers=(), extensions=extensions))
    return await commit(_Stream(inner, fault, request, clock), request)


class _Stream:
    """A stream that is slow, breaks off, or falls silent."""

    def __init__(self, inner: Response, fault: Begun, request: Request, clock: Clock) -> None:
        self._inner = inner
        self._fault = fault
        self._request = request
        self._clock = clock
        self._pieces = 0
        sound = isinstance(fault, Answer) or (isinstance(fault, Cut) and fault.finished)
        self._last = None if sound else getattr(fault, "after", 0)
        self._fragments: set[int] = set()

    @property
    def info(self) -> ResponseInfo:
        """What is known of the answer."""
        return self._inner.info

    async def receive(self) -> list[Event]:
        """The next event, unless this is the end of it."""
        if self._last is not None and self._pieces >= self._last:
            await self._end()
        event = await anext(self._inner)
        if self._last is not None and isinstance(event, Finish):
            await self._end()
        if isinstance(event, ToolCall) and event.index in self._fragments:
            return []
        if isinstance(event, ToolCallDelta):
            self._fragments.add(event.index)
        if type(event) in CONTENT:
            await self._pace()
        return [event]

    def close(self) -> None:
        """Let go of the answer."""
        self._inner.close()

    async def _pace(self) -> None:
        fault = self._fault
        first = self._pieces == 0 and fault.first_token is not None
        seconds = fault.first_token if first else fault.interval
        self._pieces += 1
        if seconds:
            await self._clock.sleep(seconds)

    async def _end(self) -> NoReturn:
        if isinstance(self._fault, Stall):
            await _stall(self._clock)
        raise _break(self._fault, self._request)


async def _stall(clock: Clock) -> NoReturn:
    await clock.sleep(LONGEST_STALL)
    raise _reset()


def _reset() -> Exception:
    return aiohttp.ClientOSError(errno.ECONNRESET, "Connection reset by peer")


def _break(fault: Begun, request: Request) -> Exception:
    """What a transport raises when an answer ends like this."""
    if isinstance(fault, ErrorEvent):
        _, body = _words(fault.reason, request)
        return BackendFailure(200, {}, body, surface="stream" if request.stream else "http")
    if isinstance(fault, Cut) and fault.clean:
        msg = "the answer broke off without a finish reason"
        return ModelResponseInvalidError(msg)
    return aiohttp.ClientPayloadError("Response payload is not completed")


def _refusal(fault: Status, request: Request) -> BackendFailure:
    status, body = _words(fault.status, request)
    if isinstance(fault.body, Mapping):
        body = json.dumps(dict(fault.body)).encode()
    elif fault.body is not None:
        body = fault.body.encode() if isinstance(fault.body, str) else fault.body
    headers = {name.lower(): value for name, value in fault.headers.items()}
    return BackendFailure(status, headers, body)


def _words(reason: Reason | int, request: Request) -> tuple[int, bytes]:
    """How a backend says it: OpenAI's status and words."""
    body = {**request.params, "messages": list(request.messages)}
    tokens = asked.count(body)
    facts = Facts(model=request.model, tokens=tokens, asked=asked.asked_for(body), window=max(1, tokens // 2))
    return refuse("openai", reason, facts)
