"""What a row of the fault matrix is, and the faults that only it needs."""

from __future__ import annotations

import email.utils
import json
import math
import random
import time
from collections.abc import Callable, Sequence

import attrs
from adapters import Question
from judging import Wire

from resilient_llm.testing import Answer, Fault, Reply, Status
from resilient_llm.testing.fault_server import Exchange, Schedule

TWICE = Wire(requests=(2, 2))
WHOLE = Question()

Faults = Callable[[random.Random], Sequence[Fault] | Schedule]


@attrs.frozen(kw_only=True)
class Scenario:
    """One row of the table. Times in seconds.

    Args:
        name: What happens, in a few words.
        group: What kind of trouble it is; the table has sums for each.
        faults: What the primary does; drawn once for each run from the seed.
        question: What is asked.
        calls: How many ask.
        in_turn: One after the other; else all at the same time.
        later: How much later all but the first begin.
        cancel_after: When the caller cancels each call; None: never.
        expects: `"answer"`, `"error"` or `"cancelled"`, for every call.
        wire: What the backends may see.
        fallback: What a second backend does; None: there is none.
        deadline: The call's deadline.
        patience: After what time a call counts as hung.
        settle: How long the backends are watched after the last call.
        window: The primary's context window in tokens.
        backend: Whose words the primary's refusals are in.
        reply: What the model says; None: an echo.
        margin: A failure says nothing if the machine was so late meanwhile: it is played again.
    """

    name: str
    group: str = ""
    faults: Faults
    question: Question = WHOLE
    calls: int = 1
    in_turn: bool = False
    later: float = 0.0
    cancel_after: float | None = None
    expects: str = "answer"
    wire: Wire = TWICE
    fallback: Sequence[Fault] | None = None
    deadline: float | None = None
    patience: float = 8.0
    settle: float = 0.1
    window: int | None = None
    backend: str = "openai"
    reply: Reply | None = None
    margin: float = 0.1

    @property
    def needs(self) -> set[str]:
        """What a client must be able to do."""
        needed = {
            "tools": bool(self.question.tools),
            "fallback": self.fallback is not None,
            "cancel": self.cancel_after is not None,
        }
        return {ability for ability, is_needed in needed.items() if is_needed}


def script(*faults: Fault) -> Faults:
    """These faults in turn, the last one for all that follow."""
    return lambda _: faults


def refused(status: int, kind: str, message: str, code: str | None = None, **headers: str) -> Status:
    """A refusal in OpenAI's shape."""
    body = json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})
    return Status(status=status, body=body, headers={"content-type": "application/json", **headers})


RATE = "Rate limit reached for requests"


def limited(message: str = RATE, **headers: str) -> Status:
    """A 429."""
    return refused(429, "requests", message, "rate_limit_exceeded", **headers)


class Dated:
    """A 429 with an HTTP date, at least a second ahead, at most two."""

    async def play(self, exchange: Exchange, /) -> None:
        date = email.utils.formatdate(math.ceil(time.time()) + 1, usegmt=True)
        await limited(**{"retry-after": date}).play(exchange)


class Herd:
    """The first request is refused with a delay of 1 s, and so is whatever comes before that has passed."""

    def __init__(self) -> None:
        self._until: float | None = None

    async def play(self, exchange: Exchange, /) -> None:
        now = exchange.request.at
        if self._until is None:
            self._until = now + 1.0
        await (limited(**{"retry-after": "1"}) if now < self._until else Answer()).play(exchange)


class Flapping:
    """Down for 8 requests, up for 8, down for 4, then up for good: a schedule.

    Nothing is told at once, so that all who ask at the same time have asked before the first hears of it.
    """

    def fault(self, number: int, _elapsed: float, /) -> Fault:
        latency = 0.25
        is_down = number <= 8 or 16 < number <= 20
        return Status.failed(latency=latency) if is_down else Answer(latency=latency)


class Small:
    """A context window in words that the fault server does not have: refuses what is longer, with the numbers.

    Args:
        status: The status of the refusal.
        text: Its body, with `TOKENS` and `WINDOW` in it.
        window: The window in tokens.
    """

    def __init__(self, status: int, text: str, window: int) -> None:
        self._status, self._text, self._window = status, text, window

    async def play(self, exchange: Exchange, /) -> None:
        tokens = exchange.request.tokens
        if tokens <= self._window:
            await Answer().play(exchange)
            return
        text = self._text.replace("TOKENS", str(tokens)).replace("WINDOW", str(self._window))
        await Status(self._status, body=text).play(exchange)


class NoPrefill:
    """Refuses a conversation that ends with the beginning of an answer; what happens to the others.

    Args:
        otherwise: That.
    """

    def __init__(self, otherwise: Fault) -> None:
        self._otherwise = otherwise

    async def play(self, exchange: Exchange, /) -> None:
        if exchange.request.body["messages"][-1]["role"] == "assistant":
            told = "This model does not support assistant message prefill. The conversation must end with a user "
            told += "message."
            await refused(400, "invalid_request_error", told).play(exchange)
        else:
            await self._otherwise.play(exchange)


class Lagging:
    """A stream whose last bytes, after its end marker, come late: they end the body, and say nothing.

    Args:
        lag: Seconds.
    """

    def __init__(self, lag: float) -> None:
        self._lag = lag

    async def play(self, exchange: Exchange, /) -> None:
        written = exchange.written()
        await exchange.begin_stream()
        await exchange.chunk(b"".join(written.pieces) + written.finish + written.end)
        await exchange.pause(self._lag)
        await exchange.end_chunks()
