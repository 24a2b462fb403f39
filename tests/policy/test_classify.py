"""Classification of whole answers, in the shapes that the backends document."""

from __future__ import annotations

import json
from typing import Any

import pytest

from resilient_llm.errors import ErrorCode, ModelLoadingError
from resilient_llm.policy.classify import classify

C = ErrorCode


def openai(message: str, kind: str = "invalid_request_error", code: str | None = None) -> str:
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def anthropic(message: str, kind: str) -> str:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"})


def google(message: str, status: str, code: int, details: Any = ()) -> str:
    return json.dumps(
        {"error": {"code": code, "message": message, "status": status, "details": list(details)}}
    )


def flat(**fields: Any) -> str:
    return json.dumps(fields)


def raw(inner: str) -> str:
    return json.dumps(
        {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": inner}}}
    )


CASES: list[tuple[str, int, str, ErrorCode]] = [
    # rates
    (
        "openai tokens",
        429,
        openai("Rate limit reached: tokens per min (TPM): Limit 9", "tokens", "rate_limit_exceeded"),
        C.MODEL_RATE_LIMITED,
    ),
    (
        "anthropic",
        429,
        anthropic("That would exceed your rate limit of 9 input tokens per minute", "rate_limit_error"),
        C.MODEL_RATE_LIMITED,
    ),
    (
        "google",
        429,
        google("You exceeded your current quota, check plan and billing", "RESOURCE_EXHAUSTED", 429),
        C.MODEL_RATE_LIMITED,
    ),
    (
        "google, by the day",
        429,
        google(
            "Quota", "RESOURCE_EXHAUSTED", 429, [{"violations": [{"quotaId": "RequestsPerDayPerProject"}]}]
        ),
        C.MODEL_RATE_LIMITED,
    ),
    ("bedrock", 429, flat(message="Too many tokens, please wait"), C.MODEL_RATE_LIMITED),
    ("problem details", 429, flat(status=429, title="Too Many Requests"), C.MODEL_RATE_LIMITED),
    (
        "an hourly plan",
        429,
        flat(error="your hourly usage limit is reached, upgrade to go on"),
        C.MODEL_RATE_LIMITED,
    ),
    ("no body", 429, "", C.MODEL_RATE_LIMITED),
    ("chinese", 400, openai("您的请求过于频繁,请降低频率"), C.MODEL_RATE_LIMITED),
    # quotas
    (
        "openai quota",
        429,
        openai(
            "You exceeded your current quota, check your plan", "insufficient_quota", "insufficient_quota"
        ),
        C.MODEL_QUOTA_EXCEEDED,
    ),
    (
        "anthropic credit",
        400,
        anthropic("Your credit balance is too low", "invalid_request_error"),
        C.MODEL_QUOTA_EXCEEDED,
    ),
    (
        "google, a quota of nothing",
        429,
        google("You exceeded your current quota: metric x, limit: 0, model: y", "RESOURCE_EXHAUSTED", 429),
        C.MODEL_QUOTA_EXCEEDED,
    ),
    (
        "a monthly plan",
        403,
        flat(error="You have used up your monthly included credits"),
        C.MODEL_QUOTA_EXCEEDED,
    ),
    ("any 402", 402, flat(message="no"), C.MODEL_QUOTA_EXCEEDED),
    (
        "chinese balance",
        429,
        flat(error={"code": "1", "message": "账户余额不足,请充值后再试"}),
        C.MODEL_QUOTA_EXCEEDED,
    ),
    ("key's own limit", 403, openai("Key limit exceeded (total limit)"), C.MODEL_QUOTA_EXCEEDED),
    # context
    ("openai code", 400, openai("too much", code="context_length_exceeded"), C.MODEL_CONTEXT_LENGTH),
    (
        "openai words",
        500,
        openai("this model's maximum context length is 10 tokens, you requested 11"),
        C.MODEL_CONTEXT_LENGTH,
    ),
    (
        "a cap on the answer",
        400,
        anthropic(
            "max_tokens: 9000 > 8000, the maximum allowed number of output tokens", "invalid_request_error"
        ),
        C.MODEL_CONTEXT_LENGTH,
    ),
    (
        "llama.cpp",
        400,
        flat(error={"code": 400, "type": "exceed_context_size_error", "n_ctx": 8, "n_prompt_tokens": 9}),
        C.MODEL_CONTEXT_LENGTH,
    ),
    ("a plain sentence", 413, "The prompt is too long for this model", C.MODEL_CONTEXT_LENGTH),
    ("chinese, later", 429, openai("请求太频繁,稍后再试"), C.MODEL_RATE_LIMITED),
    ("chinese length", 400, openai("输入长度超出模型上下文长度限制"), C.MODEL_CONTEXT_LENGTH),
    # load
    ("anthropic full", 529, anthropic("Overloaded", "overloaded_error"), C.MODEL_OVERLOADED),
    ("a 429 about capacity", 429, openai("No capacity left for this model right now"), C.MODEL_OVERLOADED),
    ("plain 503", 503, "Service Unavailable", C.MODEL_OVERLOADED),
    ("worker's limit", 503, openai("Worker request limit reached (4/4)"), C.MODEL_OVERLOADED),
    ("ollama queue", 503, flat(error="server busy, maximum pending requests exceeded"), C.MODEL_OVERLOADED),
    ("chinese load", 429, openai("当前系统繁忙,请稍候"), C.MODEL_OVERLOADED),
    (
        "llama.cpp loading",
        503,
        flat(error={"code": 503, "message": "Loading model", "type": "unavailable_error"}),
        C.MODEL_LOADING,
    ),
    (
        "hugging face loading",
        503,
        flat(error="Model a/b is currently loading", estimated_time=20.0),
        C.MODEL_LOADING,
    ),
    ("bedrock not ready", 429, flat(message="Not there yet", code="ModelNotReadyException"), C.MODEL_LOADING),
    # availability
    ("openai server error", 500, openai("The server had an error", "server_error"), C.MODEL_UNAVAILABLE),
    (
        "ollama crash",
        500,
        flat(error="llama runner process has terminated: exit status 2"),
        C.MODEL_UNAVAILABLE,
    ),
    ("a crash with 400", 400, flat(error="The model has crashed. (Exit code: 6)"), C.MODEL_UNAVAILABLE),
    ("envoy", 503, "upstream connect error or disconnect/reset before headers", C.MODEL_UNAVAILABLE),
    (
        "a proxy's 503 page",
        503,
        "<html><head><title>503 Service Unavailable</title></head></html>",
        C.MODEL_UNAVAILABLE,
    ),
    ("nginx", 502, "<html><head><title>502 Bad Gateway</title></head></html>", C.MODEL_UNAVAILABLE),
    ("cloudflare", 520, "error code: 520", C.MODEL_UNAVAILABLE),
    (
        "litellm's connection",
        500,
        openai("litellm.APIConnectionError: Cannot connect to host a:1"),
        C.MODEL_UNAVAILABLE,
    ),
    # time
    ("gateway", 504, "<html><title>504 Gateway Time-out</title></html>", C.MODEL_TIMEOUT),
    ("cloudflare 524", 524, "", C.MODEL_TIMEOUT),
    ("google deadline", 504, google("Deadline expired", "DEADLINE_EXCEEDED", 504), C.MODEL_TIMEOUT),
    ("a 500 that waited", 500, openai("Request timed out", "api_error"), C.MODEL_TIMEOUT),
    # models
    (
        "openai model",
        404,
        openai("The model `x` does not exist or you do not have access to it", code="model_not_found"),
        C.MODEL_NOT_FOUND,
    ),
    ("anthropic model", 404, anthropic("model: claude-0", "not_found_error"), C.MODEL_NOT_FOUND),
    ("ollama model", 404, flat(error="model 'x:1b' not found, try pulling it first"), C.MODEL_NOT_FOUND),
    ("lm studio, none", 400, flat(error="No models loaded. Load one first"), C.MODEL_NOT_FOUND),
    (
        "azure deployment",
        404,
        flat(error={"code": "DeploymentNotFound", "message": "It does not exist"}),
        C.MODEL_NOT_FOUND,
    ),
    ("retired", 410, flat(detail="The model 'x' has reached its end of life"), C.MODEL_NOT_FOUND),
    ("openrouter", 404, openai("No endpoints found for a/b"), C.MODEL_NOT_FOUND),
    # keys
    ("openai key", 401, openai("Incorrect API key provided", code="invalid_api_key"), C.MODEL_AUTH),
    ("google key", 400, google("API key not valid", "INVALID_ARGUMENT", 400), C.MODEL_AUTH),
    ("region", 403, openai("Country, region, or territory not supported"), C.MODEL_AUTH),
    (
        "a locked account",
        400,
        anthropic("This organization has been disabled", "invalid_request_error"),
        C.MODEL_AUTH,
    ),
    (
        "unverified",
        404,
        openai("Your organization must be verified to use the model `x`", code="model_not_found"),
        C.MODEL_AUTH,
    ),
    (
        "a model not allowed",
        403,
        openai("Project `p` does not have access to model `x`", code="model_not_found"),
        C.MODEL_AUTH,
    ),
    ("fastapi", 401, flat(detail="Unauthorized"), C.MODEL_AUTH),
    (
        "aws signature",
        403,
        flat(message="The security token included in the request is expired"),
        C.MODEL_AUTH,
    ),
    ("cloudflare challenge", 403, "<!DOCTYPE html><title>Just a moment...</title>", C.MODEL_AUTH),
    # requests
    (
        "openai parameter",
        400,
        openai("Unsupported parameter: 'x'", code="unsupported_parameter"),
        C.MODEL_INVALID_REQUEST,
    ),
    (
        "pydantic",
        422,
        flat(detail=[{"type": "missing", "loc": ["body", "messages"], "msg": "Field required", "input": {}}]),
        C.MODEL_INVALID_REQUEST,
    ),
    (
        "a template's 500",
        500,
        openai("Jinja Exception: roles must alternate", "server_error"),
        C.MODEL_INVALID_REQUEST,
    ),
    ("a wrong path", 404, flat(detail="Not Found"), C.MODEL_INVALID_REQUEST),
    ("a wrong method", 405, flat(detail="Method Not Allowed"), C.MODEL_INVALID_REQUEST),
    ("no tools", 400, flat(error="x:1b does not support tools"), C.MODEL_INVALID_REQUEST),
    ("a lost response", 404, openai("Item with id 'rs_1' not found"), C.MODEL_INVALID_REQUEST),
    (
        "a budget of thoughts",
        400,
        anthropic("`max_tokens` must be greater than `thinking.budget_tokens`", "invalid_request_error"),
        C.MODEL_INVALID_REQUEST,
    ),
    (
        "not built in",
        501,
        flat(error={"code": 501, "message": "no embeddings here", "type": "not_supported_error"}),
        C.MODEL_INVALID_REQUEST,
    ),
    ("nothing said", 400, "", C.MODEL_INVALID_REQUEST),
    # size
    (
        "nginx size",
        413,
        "<html><title>413 Request Entity Too Large</title></html>",
        C.MODEL_PAYLOAD_TOO_LARGE,
    ),
    (
        "an image",
        400,
        anthropic("image exceeds 5 MB maximum: 6000000 bytes > 5242880 bytes", "invalid_request_error"),
        C.MODEL_PAYLOAD_TOO_LARGE,
    ),
    (
        "characters",
        400,
        openai(
            "string too long. Expected a string with maximum length 1000000", code="string_above_max_length"
        ),
        C.MODEL_PAYLOAD_TOO_LARGE,
    ),
    # safety
    (
        "azure",
        400,
        openai("The response was filtered by a policy", code="content_filter"),
        C.MODEL_CONTENT_FILTERED,
    ),
    (
        "anthropic's number of tools",
        400,
        json.dumps(
            {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "message": "The tools available after a message exceed a limit on their number.",
                    "details": {"error_code": "available_tools_limit_exceeded"},
                },
            }
        ),
        C.MODEL_INVALID_REQUEST,
    ),
    (
        "anthropic filter",
        400,
        anthropic("Output blocked by content filtering policy", "invalid_request_error"),
        C.MODEL_CONTENT_FILTERED,
    ),
    (
        "dashscope",
        400,
        flat(code="DataInspectionFailed", message="May contain inappropriate content"),
        C.MODEL_CONTENT_FILTERED,
    ),
    ("chinese safety", 400, openai("输入内容包含敏感信息"), C.MODEL_CONTENT_FILTERED),
    # what the model wrote
    (
        "groq",
        400,
        flat(
            error={
                "message": "Tool call validation failed",
                "code": "tool_use_failed",
                "failed_generation": "x",
            }
        ),
        C.MODEL_RESPONSE_INVALID,
    ),
    # nesting
    (
        "json in a string",
        400,
        raw(openai("Unsupported value: 'x'", code="unsupported_value")),
        C.MODEL_INVALID_REQUEST,
    ),
    (
        "a sentence in raw",
        400,
        raw("Input length 12 exceeds the maximum allowed input length of 11 tokens."),
        C.MODEL_CONTEXT_LENGTH,
    ),
    (
        "litellm around it",
        500,
        openai('litellm.RateLimitError: XException - {"error": {"message": "余额不足"}}'),
        C.MODEL_QUOTA_EXCEEDED,
    ),
    (
        "python's print",
        500,
        "Error code: 429 - {'error': {'message': 'slow down', 'code': None}}",
        C.MODEL_RATE_LIMITED,
    ),
    (
        "google's list",
        429,
        f"[{google('Resource exhausted', 'RESOURCE_EXHAUSTED', 429)}]",
        C.MODEL_RATE_LIMITED,
    ),
    ("a truncated object", 400, '{"error": {"message": "Invalid API Key", "type": "inv', C.MODEL_AUTH),
    (
        "xml",
        403,
        "<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
        C.MODEL_AUTH,
    ),
    ("a JSON string", 500, '"Request timed out"', C.MODEL_TIMEOUT),
]


@pytest.mark.parametrize(
    ("status", "body", "code"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_documented_shapes(status: int, body: str, code: ErrorCode) -> None:
    """Each backend's shape is understood by its cause."""
    assert classify(status=status, body=body).code == code


ANSWERS: list[tuple[str, Any, ErrorCode]] = [
    ("an error object", {"error": {"message": "Rate limit exceeded", "code": 429}}, C.MODEL_RATE_LIMITED),
    ("an error string", {"error": "Unexpected endpoint or method. (GET /x)"}, C.MODEL_INVALID_REQUEST),
    (
        "minimax",
        {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
        C.MODEL_QUOTA_EXCEEDED,
    ),
    (
        "an error in a choice",
        {"choices": [{"error": {"message": "Overloaded", "code": 502}}]},
        C.MODEL_OVERLOADED,
    ),
    ("a bare message", {"message": "invalid api token"}, C.MODEL_AUTH),
    ("no choices", {"id": "x", "choices": []}, C.MODEL_RESPONSE_INVALID),
    (
        "a filter",
        {"choices": [{"finish_reason": "content_filter", "message": {"content": None}}]},
        C.MODEL_CONTENT_FILTERED,
    ),
    (
        "a refusal",
        {"choices": [{"finish_reason": "stop", "message": {"refusal": "I cannot"}}]},
        C.MODEL_CONTENT_FILTERED,
    ),
    ("a blocked prompt", {"promptFeedback": {"blockReason": "SAFETY"}}, C.MODEL_CONTENT_FILTERED),
    ("a refusal at the top", {"refusal": "I cannot"}, C.MODEL_CONTENT_FILTERED),
    ("google's safety", {"candidates": [{"finishReason": "SAFETY"}]}, C.MODEL_CONTENT_FILTERED),
    (
        "responses",
        {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
        C.MODEL_CONTENT_FILTERED,
    ),
    (
        "a full window",
        {"stop_reason": "model_context_window_exceeded", "content": []},
        C.MODEL_CONTEXT_LENGTH,
    ),
    ("garbage of a list", [1, 2], C.MODEL_RESPONSE_INVALID),
]


@pytest.mark.parametrize(("value", "code"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS])
def test_a_200_that_is_no_answer(value: Any, code: ErrorCode) -> None:
    """An answer with status 200 is judged by what it says."""
    assert classify(status=200, body=json.dumps(value)).code == code


@pytest.mark.parametrize("body", ["", '{"choices": [{"mess', "hello", '"text"', "12"])
def test_a_200_that_is_garbage_is_worth_another_try(body: str) -> None:
    """What cannot be read is an invalid response, and may pass."""
    error = classify(status=200, body=body)
    assert error.code == C.MODEL_RESPONSE_INVALID
    assert error.retryable


def test_a_web_page_under_200_stays_one() -> None:
    """A page means a wrong address, which no retry corrects."""
    error = classify(status=200, body="<!doctype html><title>Welcome</title>")
    assert error.code == C.MODEL_RESPONSE_INVALID
    assert not error.retryable
    assert "Welcome" in error.message


def test_a_sentence_under_200_is_judged_by_its_words() -> None:
    """A proxy's sentence tells its cause even with status 200."""
    assert classify(status=200, body="upstream connect error").code == C.MODEL_UNAVAILABLE


def test_no_status_and_no_body() -> None:
    """Nothing at all is a backend that was not there."""
    assert classify().code == C.MODEL_UNAVAILABLE


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("server_error", C.MODEL_UNAVAILABLE),
        ("invalid_request_error", C.MODEL_INVALID_REQUEST),
        ("not_found_error", C.MODEL_NOT_FOUND),
        ("temporarily_unavailable", C.MODEL_OVERLOADED),
    ],
)
def test_vague_codes_decide_last(code: str, expected: ErrorCode) -> None:
    """Without status and telling words, the vague type is all there is."""
    assert classify(body=json.dumps({"error": {"message": "oh", "type": code}})).code == expected


def test_loading_is_its_own_kind_of_overload() -> None:
    """A loading model is no fault of the backend, and everything that handles overload handles it."""
    error = classify(status=503, body='{"error": {"message": "Loading model"}}')
    assert isinstance(error, ModelLoadingError)
    assert not error.backend_fault


@pytest.mark.parametrize(
    ("said", "retryable"), [("true", True), ("false", False), ("TRUE ", True), ("maybe", False), ("", False)]
)
def test_x_should_retry_wins(said: str, retryable: bool) -> None:
    """What the backend says itself wins over the table."""
    error = classify(
        status=400, headers={"X-Should-Retry": said}, body=anthropic("no", "invalid_request_error")
    )
    assert error.retryable == retryable


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (
            429,
            openai("Request too large for m (TPM): Limit 10, Requested 11", "tokens", "rate_limit_exceeded"),
        ),
        (413, openai("tokens per minute (TPM): Limit 10, Requested 11", "tokens", "rate_limit_exceeded")),
        (500, flat(error="model requires more system memory (9 GiB) than is available (1 GiB)")),
        (500, flat(error="Model failed to load")),
        (500, openai("certificate verify failed: self-signed certificate", "server_error")),
    ],
)
def test_what_no_wait_lifts_is_not_retried(status: int, body: str) -> None:
    """A transient code is not retried where the body says that it stays."""
    assert not classify(status=status, body=body).retryable


def test_a_used_up_allowance_is_retried() -> None:
    """A request that fits its allowance once others have passed is retried."""
    body = openai(
        "TPM: Limit 100, Used 99, Requested 20. Please try again in 1.5s", "tokens", "rate_limit_exceeded"
    )
    error = classify(status=429, body=body)
    assert error.retryable
    assert error.retry_after == 1.5


def test_the_facts_are_carried() -> None:
    """The error knows where it comes from."""
    error = classify(
        status=400,
        headers={"X-Request-ID": "abc"},
        body=openai("This model's maximum context length is 1,000 tokens, you requested 1,200 tokens"),
        backend="openai",
        model="m",
    )
    assert (error.status, error.backend, error.model, error.request_id) == (400, "openai", "m", "abc")
    assert (error.context_limit, error.context_requested) == (1000, 1200)


def test_the_bodys_request_id_serves_too() -> None:
    """Anthropic repeats the id in the body."""
    assert classify(status=400, body=anthropic("no", "invalid_request_error")).request_id == "req_1"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (openai("It broke.\nTwice."), "It broke. Twice"),
        (raw(openai("the inner one")), "the inner one"),
        ("<html><title>400 Bad Request</title><body><p>x</p></body></html>", "400 Bad Request"),
        (openai("litellm.BadRequestError: XaiException - it broke"), "it broke"),
        (openai("the key sk-abcdefghijkl is bad"), "the key *** is bad"),
        ("", "HTTP 400"),
        (openai("x" * 1000), "x" * 299 + "…"),
    ],
)
def test_messages_say_what_the_body_says(body: str, message: str) -> None:
    """One short line from the innermost sentence, without markup, prefixes or secrets."""
    assert classify(status=400, body=body).message == message


def test_an_inner_status_decides_where_the_outer_is_generic() -> None:
    """A proxy's 500 around a 429 is a 429; a definite outer status stays."""
    assert (
        classify(status=500, body='{"error": {"message": "no", "code": "429"}}').code == C.MODEL_RATE_LIMITED
    )
    assert classify(status=401, body='{"error": {"message": "no", "code": 429}}').code == C.MODEL_AUTH


def test_headers_type_the_errors_of_aws() -> None:
    """The exception's name in a header is a code like any other."""
    for name in ("ThrottlingException", "ThrottlingException:http://internal/", "com.x#ThrottlingException"):
        headers = {"x-amzn-ErrorType": name}
        assert classify(status=400, headers=headers, body='{"message": "no"}').code == C.MODEL_RATE_LIMITED


def test_quoted_prompts_are_not_read() -> None:
    """Words of the request, quoted in the error, do not decide."""
    body = flat(
        detail=[{"msg": "Field required", "input": {"content": "rate limit, billing, context length"}}]
    )
    assert classify(status=422, body=body).code == C.MODEL_INVALID_REQUEST


def test_limits_on_names_are_no_sizes() -> None:
    """An id or a name that is too long is a mistake, not too many bytes."""
    body = openai("string too long. Expected a string with maximum length 40", code="string_above_max_length")
    assert classify(status=400, body=body).code == C.MODEL_INVALID_REQUEST


def test_large_bodies_are_read_in_part() -> None:
    """More fields than anyone reads are left unread."""
    many = {"error": [{"message": f"note {number}"} for number in range(50)] * 20}
    assert classify(status=400, body=json.dumps([many] * 50)).code == C.MODEL_INVALID_REQUEST


RATE = json.dumps({"error": {"message": "no", "code": "429"}})


@pytest.mark.parametrize("status", [200, 400, 401, 404, 500, 501, 502, 503, None])
def test_generic_statuses_yield_to_one_in_the_body(status: int | None) -> None:
    """Those that gateways send for anything; others are believed."""
    limited = classify(status=status, body=RATE).code is C.MODEL_RATE_LIMITED
    assert limited == (status in {None, 200, 400, 500, 502})


@pytest.mark.parametrize(
    ("status", "words", "code"),
    [
        (400, "the value 'rate limit' is refused", C.MODEL_INVALID_REQUEST),
        (422, "the value 'rate limit' is refused", C.MODEL_INVALID_REQUEST),
        (423, "the value 'rate limit' is refused", C.MODEL_RATE_LIMITED),
        (400, "the value rate limit is refused", C.MODEL_RATE_LIMITED),
        (400, "the value 'jailbreak' is refused", C.MODEL_CONTENT_FILTERED),
    ],
)
def test_complaints_quote_what_they_complain_of(status: int, words: str, code: ErrorCode) -> None:
    """A name or value quoted in a 400 or 422 is no sign of trouble with the backend, but may be one of a filter."""
    assert classify(status=status, body=openai(words)).code == code


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (200, "unknown parameter: rate limit", C.MODEL_INVALID_REQUEST, "unknown parameter: rate limit"),
        (None, "unknown parameter: rate limit", C.MODEL_INVALID_REQUEST, "unknown parameter: rate limit"),
        (200, "rate limit".ljust(999, "."), C.MODEL_RATE_LIMITED, "rate limit"),
        (200, "rate limit".ljust(1_000, "."), C.MODEL_RESPONSE_INVALID, "no JSON"),
        (200, '{"id": 1}', C.MODEL_RESPONSE_INVALID, "an answer without content"),
        (299, "", C.MODEL_RESPONSE_INVALID, "an empty body"),
        (300, "", C.MODEL_UNAVAILABLE, "HTTP 300"),
        (None, "hm", C.MODEL_UNAVAILABLE, "hm"),
        (300, "hm", C.MODEL_RESPONSE_INVALID, "hm"),
        (200, '{"error": "hm"}', C.MODEL_UNAVAILABLE, "hm"),
    ],
)
def test_answers_and_failures_are_told_apart(
    status: int | None, body: str, code: ErrorCode, message: str
) -> None:
    """An answer from 200 to 299 that holds none is invalid, but for a short sentence that names the trouble."""
    error = classify(status=status, body=body)
    assert (error.code, error.message) == (code, message)


def test_a_request_of_the_whole_allowance_fits() -> None:
    """One token more does not, ever."""
    for asked, retryable in ((10, True), (11, False)):
        body = openai(f"TPM: Limit 10, Requested {asked}", "tokens", "rate_limit_exceeded")
        assert classify(status=429, body=body).retryable is retryable


def test_headers_are_read_in_part() -> None:
    """1,000 characters of each; ids keep 128."""
    for spaces, retryable in ((996, True), (997, False)):
        headers = {"x-should-retry": " " * spaces + "true", "request-id": "i" * 129}
        error = classify(status=400, headers=headers)
        assert (error.retryable, error.request_id) == (retryable, "i" * 128)


def test_only_a_failures_headers_ask_for_a_wait() -> None:
    """A failure is what is outside 200 to 299."""
    for status, wait in ((299, None), (300, 5.0), (None, 5.0)):
        assert classify(status=status, headers={"retry-after": "5"}).retry_after == wait


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ([1] * 4 + [{"error": "model overloaded"}], C.MODEL_OVERLOADED),
        ([1] * 5 + [{"error": "model overloaded"}], C.MODEL_RESPONSE_INVALID),
        ({"choices": [{}] * 7 + [{"finish_reason": "content_filter"}]}, C.MODEL_CONTENT_FILTERED),
        ({"choices": [{}] * 8 + [{"finish_reason": "content_filter"}]}, C.MODEL_RESPONSE_INVALID),
        ({"choices": [{"delta": {"refusal": ""}}]}, C.MODEL_RESPONSE_INVALID),
        ({"choices": [{"delta": {"refusal": ["no"]}}]}, C.MODEL_RESPONSE_INVALID),
    ],
)
def test_answers_are_searched_up_to_a_bound(value: Any, code: ErrorCode) -> None:
    """5 items of a list and 8 choices; a refusal is a text."""
    assert classify(status=200, body=json.dumps(value)).code == code
