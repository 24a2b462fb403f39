"""Words that say nothing of the cause: names and values that a complaint quotes, and wordings that mislead."""

from __future__ import annotations

import json

import pytest

from resilient_llm.errors import ErrorCode
from resilient_llm.policy.classify import classify

C = ErrorCode


def told(message: str, code: str | None = None) -> str:
    return json.dumps({"error": {"message": message, "type": "invalid_request_error", "code": code}})


@pytest.mark.parametrize(
    "message",
    [
        "Invalid value for 'content': expected an object, got 'overloaded, rate limit exceeded'.",
        "Invalid schema for function 'get_rate_limit': 'type' must be 'object'.",
        "Invalid schema for function 'billing_lookup': 'required' is required.",
        "Invalid parameter: 'unload_model' does not exist in tools",
        "Unknown parameter: 'quota_limit_reached'.",
        "Unrecognized request argument supplied: context_window",
        "Expected toolResult blocks for the following ids: rate_limit_1",
        "1 validation error for Request\n  Input should be a valid string, input_value=['insufficient credits']",
        "This model does not support the 'overload' parameter.",
        "The `prompt` parameter is not supported. Received: 'why insufficient_quota and 429 rate limit?'",
        "'capacity' is not one of ['low', 'high']",
        "tools.0.name: String should have at most 128 characters",
        "user: String should have at most 256 characters",
        "At most 4 blocks may be cached; found 5.",
        "The deadline of 5 s is too short. The minimum is 10 s.",
        "`temperature` is deprecated for this model.",
        "Could not be done: invalid context length parameter",
        "tools.0.input_schema.properties.rate_limit.type: 'float' is no type of JSON schema",
        "Invalid 'messages[0].name': 'billing bot' does not match the pattern.",
        "'temperature' must be a number; you sent 'loading model'",
        "The content cannot be empty. Received: 'insufficient funds'",
        'Seed must be an integer. "server busy" given.',
        "Value 'rate_limit' at 'toolConfig' must match the pattern",
    ],
)
@pytest.mark.parametrize("status", [400, 422])
def test_quoted_names_and_values_do_not_decide(message: str, status: int) -> None:
    """A parameter's complaint is an invalid request, whatever it quotes."""
    assert classify(status=status, body=told(message)).code == C.MODEL_INVALID_REQUEST


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (503, "this host (4 GB RAM) runs at most 4 workers and has 3 waiting", C.MODEL_OVERLOADED),
        (503, "this host runs at most 4 children concurrently", C.MODEL_OVERLOADED),
        (429, "High concurrency of your key", C.MODEL_RATE_LIMITED),
        (400, "acme/none is not a valid model ID", C.MODEL_NOT_FOUND),
        (404, "No endpoints found for acme/none:free.", C.MODEL_NOT_FOUND),
        (404, "No endpoints found that support tool use.", C.MODEL_INVALID_REQUEST),
        (404, "No providers available that can handle the requested parameters", C.MODEL_INVALID_REQUEST),
        (500, "Invalid input batch.", C.MODEL_UNAVAILABLE),
        (500, "Invalid tool call history", C.MODEL_INVALID_REQUEST),
        (400, "The model response did not follow the required format.", C.MODEL_RESPONSE_INVALID),
        (500, "Unknown items in the API response: []", C.MODEL_RESPONSE_INVALID),
        (200, "The provider sent invalid SSE JSON.", C.MODEL_RESPONSE_INVALID),
        (503, "not_authenticated", C.MODEL_AUTH),
        (400, "Could not resolve the foundation model.", C.MODEL_NOT_FOUND),
        (502, "Could not resolve the host.", C.MODEL_UNAVAILABLE),
        (404, "Access denied: the model is marked by its maker as Legacy", C.MODEL_NOT_FOUND),
        (404, "No available provider for 'acme'", C.MODEL_NOT_FOUND),
        (502, "Did not observe any signal within 60000ms", C.MODEL_TIMEOUT),
        (
            429,
            "The account has reached the set inference limit; the service has been paused",
            C.MODEL_QUOTA_EXCEEDED,
        ),
    ],
)
def test_misleading_words(status: int, message: str, code: ErrorCode) -> None:
    """What stands beside a word decides what it means."""
    assert classify(status=status, body=told(message)).code == code


def test_a_window_beside_characters_is_a_window() -> None:
    """A prompt that is counted in characters may still be measured against a window in tokens."""
    error = classify(
        status=400,
        body=told(
            "The model's maximum context length is 1000 tokens. You requested 300 output tokens and your prompt "
            "contains 99999 characters (more than 7000 characters, the upper bound for 700 input tokens)."
        ),
    )
    assert (error.code, error.context_limit, error.context_requested) == (C.MODEL_CONTEXT_LENGTH, 1000, None)


def test_the_finer_of_two_fields_is_the_wait() -> None:
    """A rounded wait and the exact one beside it."""
    body = json.dumps(
        {"error": {"message": "slow", "retry_after_seconds": 16, "retry_after_seconds_raw": 15.7}}
    )
    assert classify(status=429, body=body).retry_after == 15.7


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{'error': {'message': 'insufficient balance', 'code': oops}}", C.MODEL_QUOTA_EXCEEDED),
        ("client error: 400, message='The service is overloaded'", C.MODEL_OVERLOADED),
        (told("The model 'acme' does not exist"), C.MODEL_NOT_FOUND),
        (told("Your account's credit balance is too low; it can't be used"), C.MODEL_QUOTA_EXCEEDED),
    ],
)
def test_what_is_said_itself_is_no_quotation(body: str, code: ErrorCode) -> None:
    """Printed JSON, names of models and apostrophes are not masked."""
    assert classify(status=400, body=body).code == code


@pytest.mark.parametrize("end", [".", "...", "。", "…", " . ."])
def test_messages_end_without_a_full_stop(end: str) -> None:
    """The hint follows after a full stop of its own."""
    error = classify(status=500, body=told(f"It broke{end}"))
    assert error.message == "It broke"
    assert str(error).startswith("MODEL_UNAVAILABLE (HTTP 500): It broke. ")
    long = classify(status=500, body=told("x" * 298 + ". And so on")).message
    assert long == "x" * 298 + "…"
