"""What raised exceptions mean: those of HTTP clients, SDKs, and our own."""

from __future__ import annotations

import asyncio
import json
import ssl
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx2
import openai
import pytest
import requests
from yarl import URL

from resilient_llm.errors import BackendFailure, ErrorCode, LLMError, ModelTimeoutError
from resilient_llm.policy.classify_exception import classify_exception, classify_exception_text

C = ErrorCode
REQUEST = httpx2.Request("POST", "https://host/v1/chat/completions")
CONNECTION = aiohttp.client_reqrep.ConnectionKey("host", 443, True, True, None, None, None)


def foreign(name: str, message: str = "", /, **attributes: Any) -> Exception:
    """An exception of a library that is not installed."""
    exc = type(name, (Exception,), {})(message)
    for key, value in attributes.items():
        setattr(exc, key, value)
    return exc


def caused(exc: Exception, cause: BaseException) -> Exception:
    exc.__cause__ = cause
    return exc


CONNECTIONS: list[tuple[BaseException, ErrorCode, bool]] = [
    (aiohttp.ClientConnectorError(CONNECTION, OSError(111, "Connection refused")), C.MODEL_UNAVAILABLE, True),
    (aiohttp.ServerDisconnectedError(), C.MODEL_UNAVAILABLE, True),
    (aiohttp.ClientOSError(104, "Connection reset by peer"), C.MODEL_UNAVAILABLE, True),
    (aiohttp.ConnectionTimeoutError("Connection timeout to host http://host"), C.MODEL_UNAVAILABLE, True),
    (aiohttp.SocketTimeoutError("Timeout on reading data from socket"), C.MODEL_TIMEOUT, True),
    (aiohttp.ServerTimeoutError("too slow"), C.MODEL_TIMEOUT, True),
    (aiohttp.ClientPayloadError("Response payload is not completed"), C.MODEL_RESPONSE_INVALID, True),
    (aiohttp.InvalidURL("nowhere"), C.MODEL_INVALID_REQUEST, False),
    (
        aiohttp.ClientConnectorCertificateError(
            CONNECTION, ssl.SSLCertVerificationError("self-signed certificate")
        ),
        C.MODEL_UNAVAILABLE,
        False,
    ),
    (httpx2.ConnectError("[Errno 111] Connection refused"), C.MODEL_UNAVAILABLE, True),
    (httpx2.ConnectTimeout("timed out"), C.MODEL_UNAVAILABLE, True),
    (httpx2.ReadTimeout("timed out"), C.MODEL_TIMEOUT, True),
    (httpx2.ReadError("reset"), C.MODEL_UNAVAILABLE, True),
    (
        httpx2.RemoteProtocolError("Server disconnected without sending a response."),
        C.MODEL_UNAVAILABLE,
        True,
    ),
    (
        httpx2.RemoteProtocolError("peer closed connection (incomplete chunked read)"),
        C.MODEL_RESPONSE_INVALID,
        True,
    ),
    (
        httpx2.UnsupportedProtocol("Request URL is missing an 'http://' or 'https://' protocol."),
        C.MODEL_INVALID_REQUEST,
        False,
    ),
    (requests.exceptions.ConnectionError("Connection aborted."), C.MODEL_UNAVAILABLE, True),
    (requests.exceptions.ConnectTimeout("connect timeout=1"), C.MODEL_UNAVAILABLE, True),
    (requests.exceptions.ReadTimeout("Read timed out."), C.MODEL_TIMEOUT, True),
    (requests.exceptions.ChunkedEncodingError("Connection broken"), C.MODEL_RESPONSE_INVALID, True),
    (openai.APIConnectionError(request=REQUEST), C.MODEL_UNAVAILABLE, True),
    (openai.APITimeoutError(request=REQUEST), C.MODEL_TIMEOUT, True),
    (caused(openai.APITimeoutError(request=REQUEST), httpx2.ConnectTimeout("")), C.MODEL_UNAVAILABLE, True),
    (
        caused(openai.APIConnectionError(request=REQUEST), ssl.SSLCertVerificationError("bad")),
        C.MODEL_UNAVAILABLE,
        False,
    ),
    (TimeoutError(), C.MODEL_TIMEOUT, True),
    (ConnectionRefusedError(111, "Connection refused"), C.MODEL_UNAVAILABLE, True),
    (BrokenPipeError(), C.MODEL_UNAVAILABLE, True),
    (OSError(113, "No route to host"), C.MODEL_UNAVAILABLE, True),
    (foreign("gaierror", "Name or service not known"), C.MODEL_UNAVAILABLE, True),
    (foreign("EndpointConnectionError", "Could not connect to the endpoint URL"), C.MODEL_UNAVAILABLE, True),
    (foreign("NoCredentialsError", "Unable to locate credentials"), C.MODEL_AUTH, False),
    (foreign("DeadlineExceeded", "504 Deadline Exceeded"), C.MODEL_TIMEOUT, True),
    (asyncio.IncompleteReadError(b"", 4), C.MODEL_RESPONSE_INVALID, True),
    (json.JSONDecodeError("Expecting value", "", 0), C.MODEL_RESPONSE_INVALID, True),
    (foreign("Wrapper", "Error code: 429 - {'error': {'message': 'slow down'}}"), C.MODEL_RATE_LIMITED, True),
    (foreign("Wrapper", "the server said 503"), C.MODEL_UNAVAILABLE, True),
]


@pytest.mark.parametrize(("exc", "code", "retryable"), CONNECTIONS, ids=lambda value: repr(value)[:60])
def test_clients_exceptions(exc: BaseException, code: ErrorCode, retryable: bool) -> None:
    """Names, bases, causes and messages tell what broke."""
    error = classify_exception(exc, "somewhere", model="m")
    assert (error.code, error.retryable) == (code, retryable)
    assert (error.backend, error.model, error.status) == ("somewhere", "m", None)
    assert error.message


def answered(status: int, body: Any, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, json=body, headers=headers, request=REQUEST)


def test_openais_status_errors_carry_their_answer() -> None:
    """Status, headers and body of the SDK's error are classified like the answer itself."""
    body = {
        "message": "You exceeded your current quota",
        "type": "insufficient_quota",
        "code": "insufficient_quota",
    }
    response = answered(429, {"error": body}, **{"retry-after": "7", "x-request-id": "r"})
    error = classify_exception(openai.RateLimitError("no", response=response, body=body), "openai")
    assert (error.code, error.status, error.retry_after, error.request_id) == (
        C.MODEL_QUOTA_EXCEEDED,
        429,
        7,
        "r",
    )


def test_a_body_that_the_sdk_lost_is_read_from_the_response() -> None:
    """Without a parsed body, the response's text serves."""
    response = answered(400, {"error": {"message": "API key not valid"}})
    assert classify_exception(openai.BadRequestError("no", response=response, body=None)).code == C.MODEL_AUTH


def test_openais_stream_errors_have_no_status() -> None:
    """An error inside a stream carries a body only."""
    exc = openai.APIError(
        "Overloaded", request=REQUEST, body={"type": "overloaded_error", "message": "Overloaded"}
    )
    assert classify_exception(exc).code == C.MODEL_OVERLOADED


def test_aiohttps_response_errors_carry_status_and_headers() -> None:
    """raise_for_status keeps no body, but status and headers."""
    info = aiohttp.RequestInfo(URL("http://host"), "POST", headers=None, real_url=URL("http://host"))  # type: ignore[arg-type]
    exc = aiohttp.ClientResponseError(
        info, (), status=429, message="Too Many Requests", headers={"Retry-After": "3"}
    )
    error = classify_exception(exc)
    assert (error.code, error.retry_after) == (C.MODEL_RATE_LIMITED, 3)


def test_a_page_instead_of_json_is_an_invalid_response() -> None:
    """Aiohttp's ContentTypeError with status 200 is no answer."""
    info = aiohttp.RequestInfo(URL("http://host"), "POST", headers=None, real_url=URL("http://host"))  # type: ignore[arg-type]
    exc = aiohttp.ContentTypeError(info, (), status=200, message="unexpected mimetype: text/html")
    assert classify_exception(exc).code == C.MODEL_RESPONSE_INVALID


ANSWERED: list[tuple[Exception, ErrorCode]] = [
    (
        foreign(
            "ClientError",
            "An error occurred",
            response={
                "Error": {"Code": "ThrottlingException", "Message": "Too many tokens, please wait"},
                "ResponseMetadata": {"HTTPStatusCode": 429, "HTTPHeaders": {"x-amzn-requestid": "r"}},
            },
        ),
        C.MODEL_RATE_LIMITED,
    ),
    (
        foreign("ResponseError", "model 'x' not found", status_code=404, error="model 'x' not found"),
        C.MODEL_NOT_FOUND,
    ),
    (
        foreign(
            "APIError", "no", code=429, status="RESOURCE_EXHAUSTED", details={"error": {"message": "quota"}}
        ),
        C.MODEL_RATE_LIMITED,
    ),
    (foreign("ServiceUnavailable", "503 busy", code=HTTPStatus.SERVICE_UNAVAILABLE), C.MODEL_OVERLOADED),
    (foreign("SDKError", "no", status_code=401, body='{"detail": "Unauthorized"}'), C.MODEL_AUTH),
    (
        foreign(
            "HTTPError",
            "no",
            response=SimpleNamespace(status_code=413, text="", content=b"Payload Too Large"),
        ),
        C.MODEL_PAYLOAD_TOO_LARGE,
    ),
    (foreign("ApiError", "no", status_code=400, body=["context length exceeded"]), C.MODEL_CONTEXT_LENGTH),
    (foreign("ApiError", "no", status_code=400, body={"x": object()}), C.MODEL_INVALID_REQUEST),
    (foreign("Odd", "no", status_code=True, status="x", body=""), C.MODEL_UNAVAILABLE),
]


@pytest.mark.parametrize(("exc", "code"), ANSWERED, ids=lambda value: repr(value)[:50])
def test_sdks_answers(exc: Exception, code: ErrorCode) -> None:
    """Whatever carries a status or a body is judged by it."""
    assert classify_exception(exc).code == code


def test_our_own_raw_failure() -> None:
    """A transport's BackendFailure is the answer itself, of a stream too."""
    failure = BackendFailure(429, {"retry-after": "2"}, "slow down")
    error = classify_exception(failure, "x", now=0.0)
    assert (error.code, error.status, error.retry_after, error.backend) == (C.MODEL_RATE_LIMITED, 429, 2, "x")
    stream = BackendFailure(200, {}, b'data: {"error": {"message": "Overloaded"}}\n\n', surface="stream")
    assert classify_exception(stream).code == C.MODEL_OVERLOADED


def test_a_classified_error_stays_itself() -> None:
    """An LLMError comes back unchanged, also as a cause."""
    error = ModelTimeoutError("slow")
    assert classify_exception(error) is error
    assert classify_exception(caused(RuntimeError("wrapped"), error)) is error


@pytest.mark.parametrize(
    "exc",
    [
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        TypeError("'NoneType' object is not subscriptable"),
        KeyError("choices"),
        RuntimeError("Session is closed"),
        ValueError("503"),
        foreign("Strange", "what is this"),
    ],
    ids=repr,
)
def test_what_is_no_backends_failure_is_neutral(exc: BaseException) -> None:
    """Cancellation, bugs and strangers are never retried and count against nobody."""
    error = classify_exception(exc)
    assert not error.retryable
    assert not error.backend_fault


def test_a_context_is_followed_unless_suppressed() -> None:
    """`raise … from None` hides what came before."""
    shown, hidden = foreign("Wrapper", "failed"), foreign("Wrapper", "failed")
    shown.__context__ = hidden.__context__ = httpx2.ReadTimeout("slow")
    hidden.__suppress_context__ = True
    assert classify_exception(shown).code == C.MODEL_TIMEOUT
    assert not classify_exception(hidden).retryable


def test_circles_end() -> None:
    """Causes that lead back to each other are followed once."""
    one, two = foreign("Wrapper", "one"), foreign("Wrapper", "two")
    one.__cause__, two.__cause__ = two, one
    assert isinstance(classify_exception(one), LLMError)


def test_a_body_that_is_no_json_is_left_out() -> None:
    """A body that refers to itself cannot be printed; the status still counts."""
    body: dict[str, Any] = {}
    body["error"] = body
    assert (
        classify_exception(foreign("SDKError", "no", status_code=503, body=body)).code == C.MODEL_OVERLOADED
    )


class HostileError(Exception):
    """Everything about it raises."""

    def __str__(self) -> str:
        raise RuntimeError

    @property
    def status_code(self) -> int:
        raise OSError

    @property
    def response(self) -> object:
        raise KeyError


class BadHeaders(dict[str, str]):
    def items(self) -> Any:
        raise OSError


def test_hostile_exceptions_do_no_harm() -> None:
    """An exception whose attributes raise is still classified."""
    assert not classify_exception(HostileError()).retryable
    bad = foreign("SDKError", "no", status_code=503, headers=BadHeaders(a="b"))
    assert classify_exception(bad).code == C.MODEL_OVERLOADED


def test_secrets_and_length() -> None:
    """Messages of exceptions are scrubbed and short."""
    message = classify_exception(
        OSError(f"connection to http://host?key=sk-abcdefghijklmno refused {'x' * 400}")
    ).message
    assert "abcdefgh" not in message
    assert len(message) == 300


@pytest.mark.parametrize(
    ("outer", "inner", "message"),
    [
        (
            "Connection error.",
            "[Errno 111] Connection refused",
            "Connection error: [Errno 111] Connection refused",
        ),
        ("cannot reach host [Connection refused]", "[Errno 111] Connection refused", None),
        (
            "Connection refused",
            "[Errno 111] Connection refused to host.",
            "[Errno 111] Connection refused to host",
        ),
        ("Read timed out.", "read timed out", "Read timed out"),
        ("...", "reset", "reset"),
    ],
)
def test_a_chain_says_everything_once(outer: str, inner: str, message: str | None) -> None:
    """Neither what a cause repeats is shown twice, nor full stops before a colon."""
    exc = caused(foreign("ConnectError", outer), foreign("OSLevelError", inner))
    assert classify_exception(exc).message == f"ConnectError: {message or outer}"


def test_a_class_is_named_once() -> None:
    """A message that begins with the class needs no class before it."""
    assert classify_exception_text("ReadTimeout", "ReadTimeout: too slow").message == "ReadTimeout: too slow"
    assert classify_exception_text("httpx.ReadTimeout", "").message == "ReadTimeout"


@pytest.mark.parametrize(
    ("name", "message", "code"),
    [
        ("httpx.ReadTimeout", "", C.MODEL_TIMEOUT),
        ("url.Error", "net/http: TLS handshake timeout", C.MODEL_UNAVAILABLE),
        ("aiohttp.client_exceptions.ClientConnectorDNSError", "Cannot connect to host", C.MODEL_UNAVAILABLE),
        ("Error", "getaddrinfo ENOTFOUND host", C.MODEL_UNAVAILABLE),
        (
            "TypeError",
            "fetch failed\n  [cause]: ConnectTimeoutError: Connect Timeout Error",
            C.MODEL_UNAVAILABLE,
        ),
        ('Get "http://127.0.0.1/"', "dial tcp 127.0.0.1:1: connect: connection refused", C.MODEL_UNAVAILABLE),
        ("stream disconnected before completion", "idle timeout", C.MODEL_RESPONSE_INVALID),
        ("net::ERR_CONNECTION_REFUSED", "", C.MODEL_UNAVAILABLE),
        ("TypeError", "terminated\n  [cause]: SocketError: other side closed", C.MODEL_RESPONSE_INVALID),
        ("TypeError", "terminated\n  [cause]: BodyTimeoutError: Body Timeout Error", C.MODEL_TIMEOUT),
        ("reqwest::Error", "error sending request for url", C.MODEL_UNAVAILABLE),
        ("", "", C.MODEL_UNAVAILABLE),
    ],
)
def test_exceptions_known_by_their_text(name: str, message: str, code: ErrorCode) -> None:
    """A log line is enough: Python's, Node's, Go's, Rust's."""
    error = classify_exception_text(name, message, backend="b", model="m")
    assert (error.code, error.backend, error.model) == (code, "b", "m")


def test_headers_are_looked_for_wherever_there_are_some() -> None:
    """LiteLLM makes up a response without headers, and keeps the real ones beside it."""
    response = SimpleNamespace(status_code=429, headers={})
    exc = foreign(
        "RateLimitError", "slow down", response=response, litellm_response_headers={"retry-after": "7"}
    )
    assert classify_exception(exc).retry_after == 7


def test_the_error_on_a_wrapped_clients_exception_is_taken_over() -> None:
    """It knows more than the answer that was made up for the client."""
    error = ModelTimeoutError("slow")
    assert classify_exception(foreign("APIStatusError", "", status_code=503, llm_error=error)) is error
    assert classify_exception(foreign("APIStatusError", "", status_code=503, llm_error="no")).status == 503


@pytest.mark.parametrize(
    ("exc", "code"),
    [
        (openai.ContentFilterFinishReasonError(), C.MODEL_CONTENT_FILTERED),
        (openai.OpenAIError("The api_key client option must be set"), C.MODEL_AUTH),
    ],
    ids=str,
)
def test_what_an_sdk_raises_without_an_answer_is_known(exc: Exception, code: ErrorCode) -> None:
    """A refusal found by a parser, a key that is missing."""
    assert classify_exception(exc).code is code


@pytest.mark.parametrize("place", ["the answer in it", "its cause", "the answer in its cause"])
def test_an_error_of_ours_goes_before_a_frameworks_words(place):
    """A framework makes an exception of its own from a wrapped client's: with its status, but not with our error."""
    error = LLMError("the circuit is open", retryable=False, status=None)
    response = foreign("Response", "", status_code=503, llm_error=error)
    raised = foreign("FrameworkError", "503", status_code=503)
    if place == "the answer in it":
        raised.response = response
    elif place == "its cause":
        raised.__cause__ = foreign("APIStatusError", "", status_code=503, llm_error=error)
    else:
        raised.__cause__ = foreign("APIStatusError", "", status_code=503, response=response)
    assert classify_exception(raised) is error


def test_an_error_of_ours_that_was_handled_before_is_not_this_ones():
    """What was raised while one of ours was handled, and not from it, has a status of its own to be judged by."""
    raised = foreign("APIStatusError", "", status_code=429)
    raised.__context__ = LLMError("another backend's", retryable=False)
    assert classify_exception(raised).status == 429


def test_what_has_no_status_is_judged_by_what_was_handled() -> None:
    """An error of ours, too."""
    raised = RuntimeError("it broke")
    raised.__context__ = LLMError("the circuit is open", retryable=False)
    assert classify_exception(raised) is raised.__context__


def test_eight_links_of_a_chain_are_followed() -> None:
    """What lies deeper is not seen."""
    for links, code in ((7, C.MODEL_RATE_LIMITED), (8, C.MODEL_UNAVAILABLE)):
        exc = foreign("StatusError", status_code=429)
        for _ in range(links):
            exc = caused(RuntimeError("it broke"), exc)
        assert classify_exception(exc).code == code


@pytest.mark.parametrize(
    ("surface", "status", "body", "code"),
    [
        ("stream", 200, 'data: {"stop_reason": "refusal"}', C.MODEL_CONTENT_FILTERED),
        ("http", 503, "", C.MODEL_OVERLOADED),
    ],
)
def test_our_own_failure_knows_whether_it_was_a_stream(
    surface: Any, status: int, body: str, code: ErrorCode
) -> None:
    """A stream's text is searched for events, a body is not."""
    exc = BackendFailure(status=status, headers={}, body=body, surface=surface)
    assert classify_exception(exc).code == code


@pytest.mark.parametrize("body", ["", {}, 7, None])
def test_a_body_that_says_nothing_is_passed_over(body: Any) -> None:
    """The response's own text is read instead."""
    text = json.dumps({"error": {"message": "no", "code": "content_filter"}})
    exc = foreign("StatusError", "no", status_code=400, body=body, response=SimpleNamespace(text=text))
    assert classify_exception(exc).code == C.MODEL_CONTENT_FILTERED


def test_only_a_failures_status_is_one() -> None:
    """From 400 to 599."""
    for status, taken in ((399, None), (400, 400), (599, 599), (600, None)):
        assert classify_exception(foreign("StatusError", status_code=status)).status == taken


@pytest.mark.parametrize(("beyond", "code"), [(0, C.MODEL_INVALID_REQUEST), (1, C.MODEL_UNAVAILABLE)])
def test_messages_are_read_up_to_a_bound(beyond: int, code: ErrorCode) -> None:
    """8,000 characters of a chain, 4,000 of each exception, and class names in the first 4,000."""
    assert classify_exception_text("X", "invalid url".rjust(8_000 + beyond)).code == code
    assert classify_exception_text("X", "LocationParseError".rjust(4_000 + beyond)).code == code
    assert classify_exception(ValueError("invalid url".rjust(4_000 + beyond))).code == code
