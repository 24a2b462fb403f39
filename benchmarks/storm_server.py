"""The backends of the storms: fault servers with a capacity behind each."""

from __future__ import annotations

import contextlib
import math
import random
from typing import Any, ClassVar, Self

import attrs
from capacity import ANSWER, LIMITED, OVERLOADED, Backend, Incident, Reply

from resilient_llm.testing import FaultServer

WORDS = (
    "The",
    "river",
    "flows",
    "north",
    "past",
    "old",
    "towns",
    "and",
    "under",
    "many",
    "bridges",
    "to",
    "the",
    "sea",
)

PIECE, PAUSE = 8, 0.4
"""A stream brings so many words at once, and so many seconds later the next."""


def answer_to(prompt: str) -> str:
    """What the model says: of a length that the prompt decides."""
    length = random.Random(prompt).randint(20, 80)
    return " ".join(WORDS[number % len(WORDS)] for number in range(length))


def _reply(body: dict[str, Any]) -> str:
    return answer_to(body["messages"][-1]["content"])


class Storm:
    """A schedule of faults: what a backend with a capacity makes of each request.

    Attributes:
        tokens: How many were generated, or are to be.
    """

    def __init__(self, incident: Incident) -> None:
        self.incident = incident
        self.again()

    def again(self) -> None:
        """Begin anew."""
        self.backend = Backend(self.incident)
        self.tokens = 0

    def fault(self, _number: int, elapsed: float) -> Treated:
        """What becomes of a request."""
        return Treated(self, self.backend.arrive(elapsed), elapsed)

    def down(self, now: float) -> float:
        """When the next outage begins."""
        return min(
            (spell.begins for spell in self.incident.spells if not spell.speed and spell.begins >= now),
            default=math.inf,
        )


@attrs.frozen
class Treated:
    """What becomes of one request. It is worked on even if the client leaves.

    A stream begins when a whole answer would have come; an outage cuts it.
    """

    answers: ClassVar[bool] = True

    storm: Storm
    reply: Reply
    now: float

    def __str__(self) -> str:
        return self.reply.kind

    async def play(self, exchange: Any, /) -> None:
        kind, at = self.reply
        streamed = kind == ANSWER and exchange.request.stream
        if kind == ANSWER and not streamed:
            self.storm.tokens += len(_reply(exchange.request.body).split())
        await exchange.pause(max(0.0, at - self.now))
        if streamed:
            await self._stream(exchange)
        elif kind == ANSWER:
            await exchange.respond(200, exchange.whole())
        elif kind == OVERLOADED:
            await exchange.refuse("overloaded")
        elif kind == LIMITED:
            asks = self.storm.incident.asks
            await exchange.refuse("rate_limited", {} if asks is None else {"retry-after": f"{asks:g}"})
        else:
            exchange.reset()

    async def _stream(self, exchange: Any) -> None:
        written, left = exchange.written(), self.storm.down(self.reply.at) - self.reply.at
        await exchange.begin_stream()
        for place in range(0, len(written.pieces), PIECE):
            pieces = written.pieces[place : place + PIECE]
            await exchange.chunk(b"".join(pieces))
            self.storm.tokens += len(pieces)
            await exchange.pause(min(PAUSE, left))
            left -= PAUSE
            if left <= 0:
                exchange.reset()
                return
        await exchange.chunk(written.finish + written.end)
        await exchange.end_chunks()


class Place:
    """A backend in an incident, and a spare one that is always well; an async context manager."""

    def __init__(self, incident: Incident) -> None:
        calm = attrs.evolve(incident, name="calm", spells=())
        self._storms = [Storm(incident), Storm(calm)]
        self._servers = [FaultServer(storm, reply=_reply) for storm in self._storms]

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            for server in self._servers:
                await stack.enter_async_context(server)
            self._running = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._running.aclose()

    @property
    def urls(self) -> tuple[str, ...]:
        """Where they are, with `/v1`."""
        return tuple(server.base_url for server in self._servers)

    def begin(self) -> None:
        """Their time begins now, and what was seen is forgotten."""
        for storm, server in zip(self._storms, self._servers, strict=True):
            storm.again()
            server.begin()

    @property
    def requests(self) -> list[float]:
        """When they came, to either."""
        return [seen.at for server in self._servers for seen in server.requests]

    @property
    def tokens(self) -> int:
        """What both have generated, or are to generate."""
        return sum(storm.tokens for storm in self._storms)
