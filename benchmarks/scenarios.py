"""The rows of the fault matrix: what the backend does, what is asked, what is expected. See `judging` for the rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
from adapters import Question
from judging import Wire
from scenario import (
    RATE,
    TWICE,
    Dated,
    Flapping,
    Herd,
    Lagging,
    NoPrefill,
    Scenario,
    Small,
    limited,
    refused,
    script,
)

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
STREAM = Question(stream=True)
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
FEW = Wire(requests=(2, 4))
NARROW = 0.03
"""The margin where hundredths of a second count."""
SOON = 6.0
"""The patience where nothing is to be waited for."""


def after_status(status: int, message: str) -> list[Scenario]:
    """A status that a further attempt cures, met whole and streamed."""
    error = refused(status, "server_error", message)
    return [
        Scenario(name=f"{status}, then well", faults=script(error, Answer())),
        Scenario(name=f"{status}, then well, stream", faults=script(error, Answer()), question=STREAM),
    ]


def final(name: str, error: Fault, **options: object) -> Scenario:
    """A refusal that no further attempt cures: told at once, in the client's own words."""
    return Scenario(name=name, faults=script(error), expects="error", wire=ONCE, patience=SOON, **options)


def overflow(whose: str, status: int, text: str) -> Scenario:
    """A refusal of what is too long, in the words of a backend that the fault server does not play."""
    return Scenario(
        name=f"context overflow, as {whose} says it",
        faults=lambda _: [Small(status, text, 8000)],
        question=LONG,
        patience=SOON,
    )


GROUPS: Mapping[str, Sequence[Scenario]] = {
    "healthy": (
        Scenario(name="healthy", faults=script(Answer()), wire=ONCE),
        Scenario(name="healthy, stream", faults=script(Answer()), question=STREAM, wire=ONCE),
        Scenario(name="tool call, stream", faults=script(Answer()), question=TOOLS, reply=ULM, wire=ONCE),
        Scenario(name="stream in single bytes", faults=script(Dribble(size=1)), question=STREAM, wire=ONCE),
        Scenario(
            name="20 streams in a row, last bytes late",
            faults=script(Lagging(0.05)),
            question=STREAM,
            calls=20,
            in_turn=True,
            wire=attrs.evolve(ONCE, connections=1),
            margin=NARROW,
        ),
    ),
    "limits": (
        Scenario(
            name="429, seconds",
            faults=script(limited(**{"retry-after": "1"}), Answer()),
            wire=attrs.evolve(TWICE, gap=1.0),
        ),
        Scenario(
            name="429, date",
            faults=script(Dated(), Answer()),
            wire=attrs.evolve(TWICE, gap=0.99),
        ),
        Scenario(
            name="429, milliseconds",
            faults=script(limited(**{"retry-after-ms": "700"}), Answer()),
            wire=attrs.evolve(TWICE, gap=0.7),
        ),
        Scenario(
            name="429, delay in the text only",
            faults=script(limited(f"{RATE}. Please try again in 1.2s."), Answer()),
            wire=attrs.evolve(TWICE, gap=1.2),
        ),
        final("429, come back in a day", limited(**{"retry-after": "86400"})),
        final(
            "429, quota spent",
            refused(429, "insufficient_quota", "You exceeded your current quota", "insufficient_quota"),
        ),
    ),
    "backend in trouble": (
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
        Scenario(name="down for good", faults=script(Status.failed()), expects="error", wire=FEW),
        Scenario(
            name="loading for two seconds",
            faults=script(Status("loading"), Status("loading"), Answer()),
            backend="llamacpp",
            wire=Wire(requests=(2, 4), gap=0.9),
        ),
    ),
    "answers that are none": (
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
        Scenario(name="200, half a body", faults=script(Cut(clean=True), Answer())),
        Scenario(name="200, body shorter than promised", faults=script(Cut(), Answer())),
        Scenario(name="error in a 200", faults=script(ErrorEvent(reason="overloaded"), Answer())),
    ),
    "broken streams": (
        Scenario(name="stream cut before content", faults=script(Cut(after=0), Answer()), question=STREAM),
        Scenario(name="stream cut after content", faults=script(Cut(after=4), Answer()), question=STREAM),
        Scenario(
            name="stream ends early, silently",
            faults=script(Cut(after=4, clean=True), Answer()),
            question=STREAM,
        ),
        Scenario(
            name="stream ends before content, silently",
            faults=script(Cut(after=0, clean=True), Answer()),
            question=STREAM,
        ),
        Scenario(
            name="stream without its end marker",
            faults=script(Cut(finished=True, clean=True)),
            question=STREAM,
            wire=ONCE,
        ),
        Scenario(
            name="stream stalls after content", faults=script(Stall(after=4), Answer()), question=STREAM
        ),
        Scenario(
            name="stream always cut",
            faults=script(Cut(after=4)),
            question=STREAM,
            expects="error",
            wire=Wire(requests=(1, 4)),
        ),
        Scenario(
            name="stream with a chunk that is no JSON",
            faults=script(Malformed(after=4), Answer()),
            question=STREAM,
        ),
        Scenario(
            name="stream of signs of life only",
            faults=script(KeepAlive(after=0, every=0.1), Answer()),
            question=STREAM,
        ),
        Scenario(
            name="signs of life only, after content",
            faults=script(KeepAlive(after=4, every=0.1), Answer()),
            question=STREAM,
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
    ),
    "wrong requests": (
        final("400", refused(400, "invalid_request_error", "Unknown parameter: 'foo'")),
        final("401", refused(401, "invalid_request_error", "Incorrect API key provided", "invalid_api_key")),
        final(
            "404, no such model",
            refused(404, "invalid_request_error", "The model does not exist", "model_not_found"),
        ),
        final(
            "content filter",
            refused(400, "invalid_request_error", "The response was filtered", "content_filter"),
        ),
    ),
    "context overflow": (
        *(
            Scenario(
                name=f"context overflow, as {backend} says it",
                faults=script(Answer()),
                question=LONG,
                patience=SOON,
                window=8000,
                backend=backend,
            )
            for backend in ("openai", "llamacpp", "lmstudio", "vllm")
        ),
        overflow(
            "Gemini",
            400,
            '[{"error": {"code": 400, "message": "The input token count (TOKENS) exceeds the maximum number of tokens '
            'allowed (WINDOW).", "status": "INVALID_ARGUMENT"}}]',
        ),
        overflow(
            "Mistral",
            400,
            '{"object": "error", "message": "Prompt contains TOKENS tokens and 0 draft tokens, too large for model '
            'with WINDOW maximum context length", "type": "invalid_request_invalid_args", "code": "3051"}',
        ),
        overflow(
            "SGLang",
            400,
            '{"object": "error", "message": "The input (TOKENS tokens) is longer than the model\'s context length '
            '(WINDOW tokens).", "type": "BadRequestError", "param": null, "code": 400}',
        ),
        overflow(
            "xAI",
            400,
            '{"code": "Client specified an invalid argument", "error": "This model\'s maximum prompt length is WINDOW '
            'but the request contains TOKENS tokens."}',
        ),
        overflow(
            "llama.cpp with 500",
            500,
            '{"error": {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}}',
        ),
    ),
    "time": (
        Scenario(
            name="deadline against a hung server",
            faults=script(Stall()),
            expects="error",
            deadline=2.0,
            patience=2.3,
            wire=Wire(requests=(1, 4)),
        ),
        Scenario(
            name="deadline against a Retry-After",
            faults=script(limited(**{"retry-after": "5"}), Answer()),
            expects="error",
            deadline=2.0,
            patience=2.3,
            wire=ONCE,
        ),
        Scenario(
            name="deadline against a slow stream",
            faults=script(Answer(interval=0.35)),
            question=STREAM,
            expects="error",
            deadline=2.0,
            patience=2.3,
            wire=ONCE,
        ),
        Scenario(
            name="reader leaves a stream",
            faults=script(Answer(interval=0.1)),
            question=attrs.evolve(STREAM, leave_after=3),
            wire=attrs.evolve(ONCE, left=True),
        ),
        Scenario(
            name="caller cancels a hung call",
            faults=script(Stall()),
            cancel_after=0.4,
            expects="cancelled",
            wire=attrs.evolve(ONCE, left=True),
        ),
        Scenario(
            name="caller cancels a hung stream",
            faults=script(Stall(after=2)),
            question=STREAM,
            cancel_after=0.4,
            expects="cancelled",
            wire=attrs.evolve(ONCE, left=True),
        ),
        Scenario(
            name="caller cancels while a retry waits",
            faults=script(limited(**{"retry-after": "1"}), Answer()),
            cancel_after=0.4,
            expects="cancelled",
            settle=1.2,
            wire=ONCE,
        ),
    ),
    "many callers": (
        Scenario(
            name="20 callers on one 429",
            faults=lambda _: [Herd()],
            calls=20,
            wire=Wire(requests=(1, 2), spread=0.15),
            margin=NARROW,
        ),
        Scenario(
            name="19 callers during another one's 429",
            faults=lambda _: [Herd()],
            calls=20,
            later=0.3,
            wire=Wire(requests=(1, 1.1), gap=1.0, spread=0.15),
            margin=NARROW,
        ),
        Scenario(
            name="20 callers, flapping backend",
            faults=lambda _: Flapping(),
            calls=20,
            wire=Wire(requests=(1, 2)),
        ),
    ),
    "fallback": (
        Scenario(
            name="primary down, fallback well",
            faults=script(Status.failed()),
            fallback=[Answer()],
            wire=Wire(requests=(1, 4), fallback_requests=(1, 1)),
        ),
        Scenario(
            name="20 callers, flapping primary, fallback well",
            faults=lambda _: Flapping(),
            fallback=[Answer()],
            calls=20,
            wire=Wire(requests=(0, 2)),
        ),
        Scenario(
            name="stream always cut, fallback well",
            faults=script(Cut(after=4)),
            fallback=[Answer()],
            question=STREAM,
            wire=Wire(requests=(1, 4), fallback_requests=(1, 1)),
        ),
        Scenario(
            name="stream always cut, fallback refuses a prefill",
            faults=script(NoPrefill(Cut(after=4))),
            fallback=[NoPrefill(Answer())],
            question=attrs.evolve(STREAM, resume=True),
            wire=Wire(requests=(1, 6), fallback_requests=(1, 2)),
        ),
    ),
}
"""What can happen, in groups."""

SCENARIOS: Sequence[Scenario] = tuple(
    attrs.evolve(scenario, group=group) for group, scenarios in GROUPS.items() for scenario in scenarios
)
