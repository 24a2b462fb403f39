"""What calls ask for, in the stages' words, and how they read again after a stage changed them."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

import resilient_llm as rl
from resilient_llm.integrations.dialects import understand
from resilient_llm.integrations.http_backend import request_of

CHAT = "/v1/chat/completions"


def asked(path: str, body: Any, method: str = "POST", **headers: str) -> rl.Request:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return request_of(method, f"http://host{path}", path, headers, content, original=None, read_timeout=None)


def edited(request: rl.Request, **changes: Any) -> Any:
    """The body that goes out after a stage's changes; None if it is the one that came."""
    body = request.extensions["http_call"].asked.edited(attrs.evolve(request, **changes))
    return None if body is None else json.loads(body)


@pytest.mark.parametrize(
    ("path", "body", "operation", "roles"),
    [
        (CHAT, {"model": "m", "messages": [{"role": "user", "content": "a"}]}, "chat", ["user"]),
        ("/openai/deployments/d/chat/completions", {"messages": []}, "chat", []),
        (
            "/v1/messages",
            {"system": "s", "messages": [{"role": "user", "content": "a"}]},
            "chat",
            ["system", "user"],
        ),
        ("/v1/projects/p/models/claude:rawPredict", {"messages": []}, "chat", []),
        ("/v1/responses", {"model": "m", "instructions": "s", "input": "a"}, "chat", ["system", "user"]),
        ("/v1/responses", {"model": "m", "prompt": {"id": "p"}}, "raw", []),
        ("/v1/embeddings", {"model": "m", "input": "a"}, "embed", []),
        ("/v1/messages/batches", {"requests": []}, "raw", []),
        ("/model/nova/invoke", {"messages": [{"role": "user", "content": "a"}]}, "raw", []),
        ("/model/claude/invoke", {"anthropic_version": "v", "messages": []}, "chat", []),
        (CHAT, {"model": "m", "messages": "none"}, "raw", []),
        (CHAT, b"no json", "raw", []),
        (CHAT, b"[" * 10_000, "raw", []),
        ("/v1/files", {}, "raw", []),
    ],
)
def test_calls_are_known_by_path_and_body(path, body, operation, roles):
    """Whatever the host; what nobody knows, or is malformed, is raw."""
    request = asked(path, body)
    assert request.operation == operation
    assert [message["role"] for message in request.messages] == roles


def test_nothing_is_encoded_that_nobody_changed():
    """The attempt's number, the deadline and equal values are no change of the body."""
    request = asked(CHAT, {"model": "m", "messages": [{"role": "user", "content": "a"}], "top_k": 3})
    assert edited(request, attempt=2, deadline=9.0) is None
    assert edited(request, messages=list(request.messages), params=dict(request.params)) is None


def test_changes_are_written_into_the_body_and_nothing_else_is_touched():
    """Model, parameters and messages, each by itself; unknown fields stay, and what was taken out is gone."""
    body = {"top_k": 3, "model": "m", "messages": [{"role": "user", "content": "a"}] * 2, "seed": 1}
    request = asked(CHAT, body)
    assert edited(request, model="small") == {**body, "model": "small"}
    assert edited(request, messages=request.messages[1:]) == {**body, "messages": body["messages"][1:]}
    params = {name: value for name, value in request.params.items() if name != "seed"}
    assert edited(request, params={**params, "top_k": 4}) == {
        "top_k": 4,
        **{n: body[n] for n in ("model", "messages")},
    }


def test_items_of_a_response_go_back_as_they_came():
    """Calls, results and thoughts are messages to the stages; those that are kept are the caller's own items."""
    items: list[Any] = [
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "x"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "id": "fc"},
        {"type": "function_call_output", "call_id": "c", "output": "sunny"},
        {"type": "message", "role": "user", "content": "Thanks"},
    ]
    body = {"model": "m", "instructions": "Terse.", "input": items, "max_output_tokens": 9}
    request = asked("/v1/responses", body)
    assert [message["role"] for message in request.messages] == [
        *("system", "user", "assistant", "assistant", "tool", "user")
    ]
    assert request.messages[3]["tool_calls"][0]["function"]["name"] == "f"
    assert request.params["max_tokens"] == 9
    kept = [request.messages[0], request.messages[-1]]
    assert edited(request, messages=kept) == {**body, "input": items[-1:]}
    assert edited(request, params={**request.params, "max_tokens": 5}) == {**body, "max_output_tokens": 5}
    added = [*request.messages, {"role": "tool", "tool_call_id": "d", "content": "no"}]
    last = edited(request, messages=added)["input"]
    assert last == [*items, {"type": "function_call_output", "call_id": "d", "output": "no"}]


def test_a_turn_of_anthropics_that_is_cut_keeps_its_other_blocks():
    """Results stand in a user's turn with other blocks; whichever is kept is the caller's own."""
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "sunny"}]}
    text = {"type": "text", "text": "And now?", "cache_control": {"type": "ephemeral"}}
    turns: list[Any] = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
        {"role": "user", "content": [result, text]},
    ]
    body = {"model": "m", "max_tokens": 9, "system": [{"type": "text", "text": "s"}], "messages": turns}
    request = asked("/v1/messages", body)
    roles = [message["role"] for message in request.messages]
    assert roles == ["system", "user", "assistant", "tool", "user"]
    assert edited(request, messages=list(request.messages)) is None
    kept = [request.messages[0], request.messages[-1]]
    assert edited(request, messages=kept) == {**body, "messages": [{"role": "user", "content": [text]}]}
    anew = edited(request, messages=[*kept, {"role": "assistant", "content": "Hm"}])
    assert [turn["role"] for turn in anew["messages"]] == ["user", "assistant"]


@pytest.mark.parametrize(
    ("path", "body", "model"),
    [
        ("/openai/deployments/d/chat/completions", {"model": "m", "messages": []}, "m"),
        ("/openai/deployments/d/embeddings", {"input": "a"}, "d"),
        ("/v1/projects/p/models/claude@2:streamRawPredict", {"messages": []}, "claude@2"),
        ("/model/eu.claude/invoke", {"messages": []}, "eu.claude"),
        (
            "/model/arn:aws:bedrock::1:profile/a/invoke-with-response-stream",
            {},
            "arn:aws:bedrock::1:profile/a",
        ),
        ("/model/eu.claude/converse-stream", {}, "eu.claude"),
    ],
)
def test_a_model_that_stands_in_the_url_is_seen_and_not_written(path, body, model):
    """Where the URL says the model, no stage can change it: the body stays as it came, or as it was changed."""
    request = asked(path, body)
    assert request.model == model
    assert edited(request, model="other") is None
    if request.operation == "chat":
        assert edited(request, model="other", params={"a": 1}) == {**body, "a": 1}


@pytest.mark.parametrize("path", [CHAT, "/models/chat/completions", "/v1/models/d/chat/completions"])
def test_a_model_that_stands_in_the_body_is_written_there(path):
    """Also where it was missing."""
    assert edited(asked(path, {"messages": []}), model="other") == {"messages": [], "model": "other"}


def test_what_is_signed_is_never_changed():
    """Whatever a stage asks for."""
    request = asked(CHAT, {"model": "m"}, authorization="AWS4-HMAC-SHA256 Credential=x")
    assert edited(request, model="other", params={"a": 1}, messages=[{"role": "user"}]) is None


def test_of_what_is_signed_no_stage_sees_the_messages():
    """They could not be changed; the answer is judged all the same."""
    body = {"messages": [{"role": "user", "content": "a"}], "model": "m"}
    request = asked("/v1/messages", body, authorization="AWS4-HMAC-SHA256 Credential=x")
    assert (request.operation, request.messages, request.model) == ("chat", (), "m")
    decoder = request.extensions["http_call"].asked.decoder()
    decoder.feed(b"{}")
    decoder.eof()
    assert isinstance(decoder.failure, rl.ModelResponseInvalidError)


@pytest.mark.parametrize(
    ("path", "body", "seconds", "limit"),
    [
        ("/v1/files", {}, 600.0, 600.0),
        ("/v1/files", {}, 5.0, 5.0),
        (CHAT, {"messages": []}, 600.0, None),
        (CHAT, {"messages": []}, 5.0, 5.0),
        ("/v1/responses", {"model": "m", "prompt": {"id": "p"}}, 600.0, None),
    ],
)
@pytest.mark.parametrize("signed", [False, True])
def test_the_clients_read_timeout_is_each_attempts_unless_nobody_set_it(path, body, seconds, limit, signed):
    """The SDKs' own 600 s give way to the stack's limits, signed or not; of files nobody knows better."""
    headers = {"authorization": "AWS4-HMAC-SHA256 x"} if signed else {}
    content = json.dumps(body).encode()
    request = request_of("POST", "", path, headers, content, original=None, read_timeout=seconds)
    names = ("attempt_timeout", "first_token_timeout", "idle_timeout")
    assert [request.extensions.get(name) for name in names] == [limit] * 3


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "repeatable"),
    [
        ("GET", "/v1/files", {}, b"", True),
        ("PUT", "/v1/files", {}, b"", True),
        ("POST", "/v1/files", {}, b"", False),
        ("POST", "/v1/files", {"idempotency-key": "k"}, b"", True),
        ("POST", "/v1/messages/count_tokens", {}, b"{}", True),
        ("POST", CHAT, {}, b'{"messages": []}', True),
        ("PATCH", "/v1/files", {}, b"", False),
        ("GET", "/v1/files", {}, None, False),
        ("POST", CHAT, {}, None, False),
    ],
)
def test_what_may_be_repeated(method, path, headers, body, repeatable):
    """Questions, methods without another effect, and what has a key; never a body that is gone once it was sent."""
    assert understand(method, path, headers, body).repeatable is repeatable


@pytest.mark.parametrize(
    ("path", "error", "status", "kind"),
    [
        (CHAT, rl.CircuitOpenError("open"), 503, "CIRCUIT_OPEN"),
        ("/v1/responses", rl.LimitExceededError("full"), 429, "LIMIT_EXCEEDED"),
        ("/v1/messages", rl.TokenLimitExceededError("long"), 400, "invalid_request_error"),
        ("/v1/messages", rl.ModelOverloadedError("busy"), 529, "overloaded_error"),
        (CHAT, rl.ModelUnavailableError("gone"), None, "MODEL_UNAVAILABLE"),
    ],
)
def test_our_errors_read_as_the_dialects(path, error, status, kind):
    """The status and the words that the dialect's clients know; no status where no answer came."""
    body = {"model": "m", "input": "a", "messages": []}
    told, content = asked(path, body).extensions["http_call"].asked.refused(error)
    detail = json.loads(content)["error"]
    assert told == status
    assert kind in {detail.get("code"), detail.get("type")}


def test_the_repr_of_a_call_shows_no_secret():
    """Neither its body, its headers, nor its query; the path alone."""
    call = request_of(
        "POST",
        "http://me:secret@host/v1/chat/completions?key=secret",
        "/v1/chat/completions",
        {"authorization": "Bearer secret"},
        b'{"model": "m", "messages": [{"role": "user", "content": "secret"}]}',
        original="secret",
        read_timeout=None,
    ).extensions["http_call"]
    assert "secret" not in repr(call)
    assert "/v1/chat/completions" in repr(call)


@pytest.mark.parametrize("kind", [1, None, ["message"], {}])
def test_an_item_of_a_kind_that_is_none_is_the_backends_to_refuse(kind):
    """What a client's user got wrong goes out as it came."""
    body = json.dumps({"model": "m", "input": [{"type": kind, "content": "Hi"}]}).encode()
    request = request_of(
        "POST", "http://host/v1/responses", "/v1/responses", {}, body, original=None, read_timeout=None
    )
    assert len(request.messages) == 1
    assert request.extensions["http_call"].asked.edited(request) is None
