"""The rows of the fault matrix: what the backend does, what is asked, what is expected. See `judging` for the rules."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence

import attrs
from adapters import Question
from judging import Wire

from resilient_llm.testing import (
    Answer,
    Call,
    Cut,
    Dribble,
    ErrorEvent,
    Fault,
    Garbage,
    Hollow,
    KeepAlive,
    Malformed,
    Reply,
    Reset,
    Stall,
    Status,
    WrongLength,
)

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a town.",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
    },
}
WHOLE, STREAM = Question(), Question(stream=True)
TOOLS = Question(stream=True, tools=(WEATHER,))
ULM = Reply("", calls=[Call("weather", {"town": "Ulm"})])
LONG = Question(
    messages=(
        {"role": "system", "content": "Be terse."},
        *(
            {"role": role, "content": "lorem ipsum " * 100}
            for _ in range(20)
            for role in ("user", "assistant")
        ),
        {"role": "user", "content": "Name three rivers."},
    )
)
ONCE = Wire(requests=(1, 1))
TWICE = Wire(requests=(2, 2))
FEW = Wire(requests=(2, 4))

Faults = Callable[[random.Random], Sequence[Fault]]


@attrs.frozen(kw_only=True)
class Scenario:
    """One row of the table.

    Args:
        name: What happens, in a few words.
        faults: What the primary does; drawn once for each run from the seed.
        question: What is asked.
        calls: How many ask at the same time.
        later: Seconds that all but the first begin later.
        expects: `"answer"` or `"error"`, for every call.
        wire: What the backends may see.
        fallback: What a second backend does; None: there is none.
        deadline: The call's deadline in seconds.
        patience: Seconds after which a call counts as hung.
        window: The primary's context window in tokens.
        backend: Whose words the primary's refusals are in.
        reply: What the model says; None: an echo.
    """

    name: str
    faults: Faults
    question: Question = WHOLE
    calls: int = 1
    later: float = 0.0
    expects: str = "answer"
    wire: Wire = TWICE
    fallback: Sequence[Fault] | None = None
    deadline: float | None = None
    patience: float = 15.0
    window: int | None = None
    backend: str = "openai"
    reply: Reply | None = None


def script(*faults: Fault) -> Faults:
    return lambda _: faults


def refused(status: int, kind: str, message: str, code: str | None = None, **headers: str) -> Status:
    body = json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})
    return Status(status=status, body=body, headers={"content-type": "application/json", **headers})


def after_status(status: int, message: str) -> list[Scenario]:
    """A status that a further attempt cures, met whole and streamed."""
    error = refused(status, "server_error", message)
    return [
        Scenario(name=f"{status}, then well", faults=script(error, Answer())),
        Scenario(name=f"{status}, then well, stream", faults=script(error, Answer()), question=STREAM),
    ]


def final(name: str, error: Fault, **options: object) -> Scenario:
    """A refusal that no further attempt cures: told at once, in the client's own words."""
    return Scenario(name=name, faults=script(error), expects="error", wire=ONCE, **options)


RATE = "Rate limit reached for requests"
LIMITED = {"kind": "requests", "code": "rate_limit_exceeded"}

SCENARIOS: Sequence[Scenario] = (
    Scenario(name="healthy", faults=script(Answer()), wire=ONCE),
    Scenario(name="healthy, stream", faults=script(Answer()), question=STREAM, wire=ONCE),
    # limits
    Scenario(
        name="429, seconds",
        faults=script(refused(429, message=RATE, **LIMITED, **{"retry-after": "1"}), Answer()),
        wire=attrs.evolve(TWICE, gap=1.0),
    ),
    Scenario(
        name="429, milliseconds",
        faults=script(refused(429, message=RATE, **LIMITED, **{"retry-after-ms": "700"}), Answer()),
        wire=attrs.evolve(TWICE, gap=0.7),
    ),
    Scenario(
        name="429, delay in the text only",
        faults=script(refused(429, message=f"{RATE}. Please try again in 1.2s.", **LIMITED), Answer()),
        wire=attrs.evolve(TWICE, gap=1.2),
    ),
    final("429, come back in a day", refused(429, message=RATE, **LIMITED, **{"retry-after": "86400"})),
    final(
        "429, quota spent",
        refused(429, "insufficient_quota", "You exceeded your current quota", "insufficient_quota"),
    ),
    Scenario(
        name="20 callers on one 429",
        faults=lambda _: [_Herd()],
        calls=20,
        wire=Wire(requests=(1, 2), spread=0.15),
    ),
    Scenario(
        name="19 callers during another one's 429",
        faults=lambda _: [_Herd()],
        calls=20,
        later=0.3,
        wire=Wire(requests=(1, 1.1), gap=1.0, spread=0.15),
    ),
    # the backend is in trouble
    *after_status(500, "The server had an error while processing your request"),
    *after_status(502, "Bad gateway"),
    *after_status(503, "The engine is currently overloaded, please try again later"),
    *after_status(504, "Gateway time-out"),
    *after_status(529, "Overloaded"),
    *after_status(408, "Request timeout"),
    Scenario(name="reset before the head", faults=script(Reset(), Answer())),
    Scenario(name="reset before the head, stream", faults=script(Reset(), Answer()), question=STREAM),
    Scenario(name="silence, then well", faults=script(Stall(), Answer())),
    Scenario(
        name="slow first token, then well", faults=script(Stall(latency=60.0), Answer()), question=STREAM
    ),
    Scenario(
        name="down for good",
        faults=script(Status.failed()),
        expects="error",
        wire=FEW,
    ),
    # answers that are none
    Scenario(name="200 with a web page", faults=script(Garbage(), Answer())),
    Scenario(name="200 with a web page, stream", faults=script(Garbage(), Answer()), question=STREAM),
    Scenario(
        name="200 without choices",
        faults=script(
            Garbage(body=b'{"id":"x","object":"chat.completion","choices":[]}', kind="application/json"),
            Answer(),
        ),
    ),
    Scenario(
        name="200 with an empty body", faults=script(Garbage(body=b"", kind="application/json"), Answer())
    ),
    Scenario(name="200, too long a length", faults=script(WrongLength(by=50), Answer())),
    Scenario(name="error in a 200", faults=script(ErrorEvent(reason="overloaded"), Answer())),
    Scenario(name="200, half a body", faults=script(Cut(clean=True), Answer())),
    Scenario(name="200, body shorter than promised", faults=script(Cut(), Answer())),
    # streams
    Scenario(name="stream cut before content", faults=script(Cut(after=0), Answer()), question=STREAM),
    Scenario(name="stream cut after content", faults=script(Cut(after=4), Answer()), question=STREAM),
    Scenario(
        name="stream ends early, silently", faults=script(Cut(after=4, clean=True), Answer()), question=STREAM
    ),
    Scenario(
        name="stream ends before content, silently",
        faults=script(Cut(after=0, clean=True), Answer()),
        question=STREAM,
    ),
    Scenario(name="stream stalls after content", faults=script(Stall(after=4), Answer()), question=STREAM),
    Scenario(
        name="stream always cut",
        faults=script(Cut(after=4)),
        question=STREAM,
        expects="error",
        wire=Wire(requests=(1, 4)),
    ),
    Scenario(
        name="reader leaves a stream",
        faults=script(Answer(interval=0.1)),
        question=attrs.evolve(STREAM, leave_after=3),
        wire=Wire(requests=(1, 1), left=True),
    ),
    Scenario(
        name="stream with a chunk that is no JSON",
        faults=script(Malformed(after=4), Answer()),
        question=STREAM,
    ),
    Scenario(
        name="stream of signs of life only",
        faults=script(KeepAlive(after=4, every=0.1), Answer()),
        question=STREAM,
    ),
    Scenario(name="stream in single bytes", faults=script(Dribble(size=1)), question=STREAM, wire=ONCE),
    Scenario(
        name="stream without its end marker",
        faults=script(Cut(finished=True, clean=True)),
        question=STREAM,
        wire=ONCE,
    ),
    Scenario(name="stream that says nothing", faults=script(Hollow(), Answer()), question=STREAM),
    Scenario(
        name="error event before content",
        faults=script(ErrorEvent(reason="overloaded"), Answer()),
        question=STREAM,
    ),
    Scenario(
        name="error event after content",
        faults=script(ErrorEvent(reason="overloaded", after=4), Answer()),
        question=STREAM,
    ),
    Scenario(
        name="error event: filtered",
        faults=script(ErrorEvent(reason="content_filtered", after=4)),
        question=STREAM,
        expects="error",
        wire=ONCE,
    ),
    Scenario(name="tool call, stream", faults=script(Answer()), question=TOOLS, reply=ULM, wire=ONCE),
    Scenario(
        name="tool call cut in its arguments",
        faults=script(Cut(after=2), Answer()),
        question=TOOLS,
        reply=ULM,
    ),
    Scenario(
        name="tool call cut, silently",
        faults=script(Cut(after=2, clean=True), Answer()),
        question=TOOLS,
        reply=ULM,
    ),
    # a local server
    Scenario(
        name="loading for two seconds",
        faults=script(Status("loading"), Status("loading"), Answer()),
        backend="llamacpp",
        wire=Wire(requests=(2, 4), gap=0.9),
    ),
    # what is wrong with the request
    final("400", refused(400, "invalid_request_error", "Unknown parameter: 'foo'")),
    final("401", refused(401, "invalid_request_error", "Incorrect API key provided", "invalid_api_key")),
    final(
        "404, no such model",
        refused(404, "invalid_request_error", "The model does not exist", "model_not_found"),
    ),
    final(
        "content filter", refused(400, "invalid_request_error", "The response was filtered", "content_filter")
    ),
    *(
        Scenario(
            name=f"context overflow, as {backend} says it",
            faults=script(Answer()),
            question=LONG,
            window=8000,
            backend=backend,
        )
        for backend in ("openai", "llamacpp", "lmstudio", "vllm")
    ),
    # time
    Scenario(
        name="deadline against a hung server",
        faults=script(Stall()),
        expects="error",
        deadline=2.0,
        patience=2.2,
        wire=Wire(requests=(1, 4)),
    ),
    # more than one backend
    Scenario(
        name="primary down, fallback well",
        faults=script(Status.failed()),
        fallback=[Answer()],
        wire=Wire(requests=(1, 4), fallback_requests=(1, 1)),
    ),
)


class _Herd:
    """The first request is refused with a delay of 1 s, and so is whatever comes before that has passed."""

    answers = True

    def __init__(self) -> None:
        self._until: float | None = None

    def __str__(self) -> str:
        return "herd"

    async def play(self, exchange: object) -> None:
        now = exchange.request.at
        if self._until is None:
            self._until = now + 1.0
        if now < self._until:
            await refused(429, message=RATE, **LIMITED, **{"retry-after": "1"}).play(exchange)
        else:
            await Answer().play(exchange)
