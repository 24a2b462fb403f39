"""Bodies of requests in OpenAI's dialect."""

from __future__ import annotations

import json
from collections import UserDict, UserList
from enum import StrEnum
from typing import Any

import pytest

from resilient_llm.errors import ModelInvalidRequestError
from resilient_llm.models import Request
from resilient_llm.wire.openai import encode_chat, encode_embeddings

MESSAGES = [{"role": "user", "content": "Hi", "cache_control": {"ttl": 1}}]


def chat(**options: Any) -> dict[str, Any]:
    return json.loads(encode_chat(Request(messages=options.pop("messages", MESSAGES), **options)))


def refusal(**params: Any) -> str:
    with pytest.raises(ModelInvalidRequestError) as caught:
        chat(params=params)
    return caught.value.message


def test_plain_body():
    """Model, messages and parameters go into the body untouched."""
    body = chat(model="m", params={"temperature": 0.5, "tools": [{"type": "function"}], "odd": None})
    assert body == {
        "model": "m",
        "messages": MESSAGES,
        "temperature": 0.5,
        "tools": [{"type": "function"}],
        "odd": None,
        "stream": False,
    }


def test_empty_model_is_left_out():
    """Without a model the server chooses."""
    assert "model" not in chat()


def test_stream_asks_for_usage():
    """A stream asks for its usage, unless the caller says otherwise."""
    assert chat(stream=True)["stream_options"] == {"include_usage": True}
    assert chat(stream=True, params={"stream_options": None})["stream_options"] is None
    own = {"include_obfuscation": False}
    assert chat(stream=True, extensions={"body": {"stream_options": own}})["stream_options"] == own
    assert "stream_options" not in chat()


def test_extra_body_is_merged_last():
    """The extension `body` wins over parameters."""
    assert chat(params={"seed": 1, "top_k": 2}, extensions={"body": {"seed": 3}})["seed"] == 3


def test_request_is_not_changed():
    """Encoding leaves the request's parameters as they were."""
    params: dict[str, Any] = {"n": 1}
    chat(params=params, stream=True)
    assert params == {"n": 1}


@pytest.mark.parametrize("messages", [[], (), None])
def test_no_messages(messages: Any):
    """A chat without messages is refused."""
    with pytest.raises(ModelInvalidRequestError, match="messages is empty"):
        chat(messages=messages)


def test_more_than_one_choice():
    """Several choices are refused with the number asked for, wherever it stands."""
    assert refusal(n=2).startswith("n is 2; ")
    with pytest.raises(ModelInvalidRequestError):
        chat(extensions={"body": {"n": 3}})
    assert chat(params={"n": 1})["n"] == 1
    assert chat(params={"n": None})["n"] is None


class Word(str):
    __slots__ = ()


class Level(StrEnum):
    LOW = "low"


class Count(int):
    pass


class Ratio(float):
    pass


class SdkMessage:
    def model_dump(self, **options: Any) -> dict[str, Any]:
        return {"role": "assistant", "content": "x", "options": sorted(options)}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Word("w"), "w"),
        (Level.LOW, "low"),
        (Count(3), 3),
        (Ratio(0.5), 0.5),
        (UserDict(a=1), {"a": 1}),
        (UserList([1]), [1]),
        ((1, 2), [1, 2]),
        ({"a": None, "b": [0.5, "null", b"x"]}, {"a": None, "b": [0.5, "null", "eA=="]}),
        (SdkMessage(), {"role": "assistant", "content": "x", "options": ["exclude_none", "mode"]}),
    ],
)
def test_values_that_are_nearly_plain(value: object, written: object):
    """Subclasses, mappings, sequences and an SDK's models are written as the plain data they stand for."""
    assert chat(params={"x": value})["x"] == written


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), [{"a": float("-inf")}], Ratio("nan"), UserDict(a=float("nan"))]
)
def test_numbers_that_json_lacks(value: object):
    """NaN and infinity are refused by the name of their parameter, however deep, and not sent as null."""
    assert (
        refusal(seed=1, bias=value)
        == "bias cannot be sent: it holds NaN or an infinite number, which JSON cannot express"
    )


def loop() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [object(), {"a": [lambda: 1]}, {(1, 2): 3}, "\ud83d", loop()],
    ids=["object", "lambda", "key", "str", "loop"],
)
def test_values_that_cannot_be_written(value: object):
    """What is no JSON is refused by the name of its parameter."""
    assert refusal(seed=1, odd=value).startswith("odd cannot be sent: ")


def test_message_that_cannot_be_written():
    """Of messages the place is named."""
    with pytest.raises(
        ModelInvalidRequestError, match=r"messages\[1\] cannot be sent: a value of type object is no JSON"
    ):
        chat(messages=[*MESSAGES, {"content": object()}])
    with pytest.raises(ModelInvalidRequestError, match="messages cannot be sent"):
        chat(messages=object())


def test_name_that_cannot_be_written():
    """Where no value is to blame, the body is."""
    with pytest.raises(ModelInvalidRequestError, match="the body cannot be sent"):
        chat(params={None: 1})


def test_embeddings():
    """The input and what else was given go into the body."""
    request = Request(
        "embed", model="e", params={"input": ["a"], "dimensions": 8}, extensions={"body": {"user": "u"}}
    )
    assert json.loads(encode_embeddings(request)) == {
        "model": "e",
        "input": ["a"],
        "dimensions": 8,
        "user": "u",
    }
    assert "model" not in json.loads(encode_embeddings(Request("embed", params={"input": "a"})))


@pytest.mark.parametrize("params", [{}, {"input": []}, {"input": ""}])
def test_embeddings_of_nothing(params: dict[str, Any]):
    """Embeddings without a text are refused."""
    with pytest.raises(ModelInvalidRequestError, match="input is empty"):
        encode_embeddings(Request("embed", params=params))
