"""Failures inside a stream whose status was 200."""

from __future__ import annotations

import json

import pytest

from resilient_llm.errors import ErrorCode
from resilient_llm.policy.classify import classify

C = ErrorCode


def sse(*events: object, name: str = "") -> str:
    head = f"event: {name}\n" if name else ""
    return "".join(
        f"{head}data: {event if isinstance(event, str) else json.dumps(event)}\n\n" for event in events
    )


def chunk(text: str = "x", finish: str | None = None) -> dict[str, object]:
    return {
        "object": "chat.completion.chunk",
        "choices": [{"delta": {"content": text}, "finish_reason": finish}],
    }


FULL = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}

CASES: list[tuple[str, str, ErrorCode]] = [
    ("anthropic's event", sse(FULL, name="error"), C.MODEL_OVERLOADED),
    ("after content", sse(chunk()) + sse(FULL, name="error"), C.MODEL_OVERLOADED),
    (
        "openai's data",
        sse(chunk(), {"error": {"message": "boom", "type": "server_error"}}, "[DONE]"),
        C.MODEL_UNAVAILABLE,
    ),
    (
        "openrouter's code",
        sse({"error": {"message": "no", "code": 429}, "choices": []}),
        C.MODEL_RATE_LIMITED,
    ),
    (
        "llama.cpp's field",
        'error: {"code": 400, "message": "exceeds the available context size"}\n\n',
        C.MODEL_CONTEXT_LENGTH,
    ),
    (
        "responses",
        sse({"type": "response.failed", "response": {"error": {"code": "context_length_exceeded"}}}),
        C.MODEL_CONTEXT_LENGTH,
    ),
    ("a named event of text", sse("the model has crashed", name="error"), C.MODEL_UNAVAILABLE),
    (
        "ndjson",
        '{"message": {"content": "H"}, "done": false}\n{"error": "unexpected EOF"}\n',
        C.MODEL_UNAVAILABLE,
    ),
    ("vllm's detail", sse({"detail": "Unauthorized"}), C.MODEL_AUTH),
    ("a payload alone", json.dumps(FULL), C.MODEL_OVERLOADED),
    ("a list alone", json.dumps([FULL]), C.MODEL_OVERLOADED),
    ("a sentence alone", "Internal Server Error", C.MODEL_UNAVAILABLE),
    ("a truncated error", sse('{"error": {"message": "Overloaded", "ty'), C.MODEL_OVERLOADED),
    ("a sentence that says nothing", "hm", C.MODEL_RESPONSE_INVALID),
    ("a filter", sse(chunk(), chunk("", "content_filter"), "[DONE]"), C.MODEL_CONTENT_FILTERED),
    (
        "a refusal",
        sse({"type": "message_delta", "delta": {"stop_reason": "refusal"}}),
        C.MODEL_CONTENT_FILTERED,
    ),
    ("openai's refusal", sse({"choices": [{"delta": {"refusal": "I cannot"}}]}), C.MODEL_CONTENT_FILTERED),
    ("google's safety", sse({"candidates": [{"finishReason": "SAFETY"}]}), C.MODEL_CONTENT_FILTERED),
    (
        "an incomplete response",
        sse(
            {"type": "response.incomplete", "response": {"incomplete_details": {"reason": "content_filter"}}}
        ),
        C.MODEL_CONTENT_FILTERED,
    ),
    ("out of resources", sse(chunk("", "insufficient_system_resource")), C.MODEL_OVERLOADED),
    ("a filter alone", json.dumps(chunk("", "content_filter")), C.MODEL_CONTENT_FILTERED),
    (
        "google's printed error",
        sse(chunk()) + '{\n  "error": {\n    "code": 503,\n    "message": "busy"\n  }\n}\n',
        C.MODEL_OVERLOADED,
    ),
    ("a printed answer", sse(chunk()) + '{\n  "candidates": []\n}\n', C.MODEL_RESPONSE_INVALID),
    ("openrouter's reason", sse(chunk("", "error")), C.MODEL_UNAVAILABLE),
    ("cut off", sse(chunk(), chunk()), C.MODEL_RESPONSE_INVALID),
    ("a long cut", sse(*[chunk("word" * 50)] * 1000), C.MODEL_RESPONSE_INVALID),
    ("comments only", ": ping\n\n: ping\n\nid: 4\n", C.MODEL_RESPONSE_INVALID),
    ("an answer alone", json.dumps(chunk()), C.MODEL_RESPONSE_INVALID),
    ("garbage", "{" * 50, C.MODEL_RESPONSE_INVALID),
    ("nothing", "", C.MODEL_RESPONSE_INVALID),
    ("a web page", "<!doctype html><title>Welcome</title>", C.MODEL_RESPONSE_INVALID),
    ("an error event cut off", 'data: {"error":{"message":"Rate limit reached","ty', C.MODEL_RATE_LIMITED),
    ("an answer cut off", 'data: {"choices":[{"message":{"content":"no quota', C.MODEL_RESPONSE_INVALID),
    ("a named error in plain words", "event: error\ndata: model overloaded\n\n", C.MODEL_OVERLOADED),
    ("a chat about errors", sse(chunk('it said "error": "rate limit"')), C.MODEL_RESPONSE_INVALID),
]


@pytest.mark.parametrize(("body", "code"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_failed_stream_is_judged_by_what_it_says(body: str, code: ErrorCode) -> None:
    """An error event decides, then a finish reason; otherwise the stream was cut."""
    error = classify(status=200, body=body, surface="stream")
    assert error.code == code
    assert error.message


def test_frames_are_typed_by_their_headers() -> None:
    """Bedrock names the exception in the frame's headers."""
    headers = {":message-type": "exception", ":exception-type": "throttlingException"}
    for body in ('{"message": "Slow down"}', '{"Message": "no"}', '{"p": 1}'):
        assert classify(status=200, headers=headers, body=body, surface="stream").code == C.MODEL_RATE_LIMITED


def test_the_end_of_a_long_stream_is_examined() -> None:
    """An error behind more than 64 KiB of answer is found."""
    body = sse(*[chunk("word" * 50)] * 1000) + sse(FULL, name="error")
    assert classify(status=200, body=body, surface="stream").code == C.MODEL_OVERLOADED


def test_headers_of_a_good_answer_ask_for_no_wait() -> None:
    """Anthropic sends retry-after with 200 answers; it is about their next request, not this failure."""
    error = classify(
        status=200, headers={"retry-after": "55"}, body=sse(FULL, name="error"), surface="stream"
    )
    assert error.retry_after is None


def test_an_error_event_may_ask_for_a_wait() -> None:
    """The sentence of an error event is read for a wait."""
    body = sse({"error": {"message": "Rate limit reached. Please try again in 2.5s"}})
    assert classify(status=200, body=body, surface="stream").retry_after == 2.5


def test_the_last_200_events_are_searched_for_a_reason() -> None:
    """A finish reason further back was followed by more."""
    for after, code in ((199, C.MODEL_CONTENT_FILTERED), (200, C.MODEL_RESPONSE_INVALID)):
        body = sse(chunk("", "content_filter"), *[chunk()] * after)
        assert classify(status=200, body=body, surface="stream").code == code


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("the model is overloaded".ljust(1_999, "!"), C.MODEL_OVERLOADED, "the model is overloaded"),
        ("the model is overloaded".ljust(2_000, "!"), C.MODEL_RESPONSE_INVALID, "no stream"),
        ("proxy: the model is overloaded", C.MODEL_OVERLOADED, "proxy: the model is overloaded"),
        ('{"response": "rate limit"}\n{"done": false}\n', C.MODEL_RESPONSE_INVALID, "the stream ended"),
        ("error: the model is overloaded\n\n", C.MODEL_OVERLOADED, "the model is overloaded"),
        (
            sse(chunk(), {"error": {"message": "Overloaded", "detail": ""}, "base_resp": {}}),
            C.MODEL_OVERLOADED,
            "Overloaded",
        ),
    ],
)
def test_sentences_and_fields_of_streams(body: str, code: ErrorCode, message: str) -> None:
    """A sentence of less than 2,000 characters may be an error, with a colon in it or not; a field `error` is one."""
    error = classify(status=200, body=body, surface="stream")
    assert error.code == code
    assert error.message.startswith(message)
