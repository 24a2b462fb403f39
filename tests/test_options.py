"""From keywords to requests, and bad input named."""

from __future__ import annotations

import pytest

from resilient_llm.errors import ModelInvalidRequestError
from resilient_llm.options import build_request, conversation
from resilient_llm.testing import FakeClock

ASK = [{"role": "user", "content": "Hello"}]


def build(**options):
    return build_request(ASK, False, options, model="default", clock=FakeClock())


def test_a_text_becomes_a_user_message() -> None:
    """A prompt, with a system message in front if there is one."""
    assert conversation("Hello") == ASK
    assert conversation("Hello", "Be terse.") == [{"role": "system", "content": "Be terse."}, *ASK]


def test_a_conversation_is_taken_as_it_is() -> None:
    """Messages are the same objects, unknown keys and all; the list is another one, for its owner goes on with it."""
    message = {"role": "user", "content": None, "own_key": 1}
    messages = [message]
    taken = conversation(messages)
    messages.append({"role": "assistant", "content": "Hello"})
    assert len(taken) == 1
    assert taken[0] is message


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "messages is empty"),
        (None, "must be a text or a list of messages, not NoneType"),
        (b"Hello", "not bytes"),
        ({"role": "user"}, "not dict"),
        ([*ASK, "Hello"], r"messages\[1\] must be a mapping"),
        ([{"content": "Hello"}], r"messages\[0\] has no role"),
        ([{"role": 3}], r"messages\[0\] has no role"),
    ],
)
def test_malformed_messages_are_named(messages, problem) -> None:
    """Each mistake gets an error that says which message and what is wrong."""
    with pytest.raises(ModelInvalidRequestError, match=problem):
        conversation(messages)


def test_options_go_where_they_belong() -> None:
    """Options of stages become extensions, the deadline an instant, all else goes into the body untouched."""
    request = build(
        max_retries=1, extra_headers={"a": "b"}, deadline=5, temperature=0, own={"x": 1}, model="m", seed=None
    )
    assert request.extensions == {"max_retries": 1, "headers": {"a": "b"}}
    assert request.params == {"temperature": 0, "own": {"x": 1}}
    assert (request.model, request.deadline) == ("m", 5.0)
    assert build(model=None).model == "default"


@pytest.mark.parametrize(
    "options",
    [
        {"deadline": 0},
        {"deadline": "soon"},
        {"attempt_timeout": -1},
        {"first_token_timeout": float("nan")},
        {"idle_timeout": True},
        {"initial_backoff": 0},
        {"max_retries": -1},
        {"max_retries": 2.5},
        {"tool_deltas": "yes"},
        {"extra_headers": [("a", "b")]},
        {"extra_headers": {"a": 3}},
        {"extra_headers": {"a": "b\r\nx-other: c"}},
        {"extra_headers": {"a\n": "b"}},
        {"stream": True},
        {"messages": ASK},
        {"model": 3},
        {"recovery": "again"},
        {"recovery": ["restart"]},
    ],
)
def test_wrong_options_are_named(options) -> None:
    """Wrong types and ranges are refused before anything is sent."""
    with pytest.raises(ModelInvalidRequestError, match=next(iter(options))):
        build(**options)


@pytest.mark.parametrize("recovery", ["raise", "restart", "resume"])
def test_recovery_is_an_option_of_a_stage(recovery) -> None:
    """What becomes of a broken stream is not the backend's to know; None leaves it to the stack."""
    request = build(recovery=recovery)
    assert (request.extensions, request.params) == ({"recovery": recovery}, {})
    assert build(recovery=None).extensions == {}


@pytest.mark.parametrize(
    "name",
    [
        "deadline",
        "max_retries",
        "initial_backoff",
        "tool_deltas",
        "cache",
        "extra_headers",
        "extra_query",
        "extra_body",
        "seed",
    ],
)
def test_none_is_not_given(name) -> None:
    """Code that passes on what it was given, or was not, need not tell the two apart."""
    assert build(**{name: None}) == build()


def test_that_a_stream_is_one_may_be_said_twice() -> None:
    """Code that comes from another library's client says so with each call."""
    assert build(stream=False) == build()
    streamed = build_request(ASK, True, {"stream": True}, model="default", clock=FakeClock())
    assert (streamed.stream, streamed.params) == (True, {})


def test_a_limit_of_none_means_no_limit() -> None:
    """None is a value for time limits."""
    assert build(idle_timeout=None).extensions == {"idle_timeout": None}
