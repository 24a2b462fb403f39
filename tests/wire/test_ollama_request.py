"""Bodies of requests in Ollama's dialect."""

from __future__ import annotations

import json
from collections import UserDict
from typing import Any

import pytest

from resilient_llm.errors import ModelInvalidRequestError
from resilient_llm.models import Request
from resilient_llm.wire.ollama import encode_chat, encode_embeddings

MESSAGES = [{"role": "user", "content": "Hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "g"}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
PIXEL = "iVBORw0KGgo="


def chat(messages: Any = MESSAGES, **options: Any) -> dict[str, Any]:
    return json.loads(encode_chat(Request(messages=messages, **options)))


def params(**given: Any) -> dict[str, Any]:
    body = chat(params=given)
    for name in ("messages", "stream", "truncate", "shift"):
        del body[name]
    return body


def written(*messages: Any) -> list[Any]:
    return chat(messages)["messages"]


def refusal(*messages: Any, **given: Any) -> str:
    with pytest.raises(ModelInvalidRequestError) as caught:
        chat(messages or MESSAGES, params=given)
    return caught.value.message


# Options ...


@pytest.mark.parametrize("stream", [True, False])
def test_plain_body(stream: bool):
    """Ollama streams unless told not to, and cuts what is too long unless told not to."""
    assert chat(model="m", stream=stream) == {
        "model": "m",
        "messages": MESSAGES,
        "stream": stream,
        "truncate": False,
        "shift": False,
    }


def test_options_of_the_model_move_into_options():
    """OpenAI's names become Ollama's; a single stop text becomes a list."""
    given = {
        "temperature": 0,
        "top_p": 0.5,
        "stop": "\n",
        "seed": 1,
        "max_tokens": 9,
        "frequency_penalty": 0.1,
        "num_ctx": 8192,
    }
    assert params(**given)["options"] == {
        "temperature": 0,
        "top_p": 0.5,
        "stop": ["\n"],
        "seed": 1,
        "num_predict": 9,
        "frequency_penalty": 0.1,
        "num_ctx": 8192,
    }
    assert params(max_completion_tokens=5, stop=["a", "b"]) == {
        "options": {"num_predict": 5, "stop": ["a", "b"]}
    }


def test_ollamas_own_options_win():
    """Who writes `options` means it."""
    assert params(temperature=0.7, options={"temperature": 0, "num_gpu": 1})["options"] == {
        "temperature": 0,
        "num_gpu": 1,
    }


def test_what_ollama_has_no_place_for_is_passed_on():
    """Its own switches, and whatever it may learn."""
    own = {"keep_alive": "10m", "think": "high", "logprobs": True, "user": "u", "new": [1], "format": "json"}
    assert params(**own) == own


def test_truncation_can_be_asked_for():
    """The caller decides whether Ollama may cut."""
    body = chat(params={"truncate": True, "shift": True})
    assert (body["truncate"], body["shift"]) == (True, True)


def test_what_has_no_meaning_is_left_out():
    """Usage is always told, and there is one choice anyway."""
    assert params(stream_options={"include_usage": True}, n=1, parallel_tool_calls=False) == {}
    assert "n is 2" in refusal(n=2)


@pytest.mark.parametrize(
    ("response_format", "written"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, "json"),
        ({"type": "json_object", "schema": SCHEMA}, SCHEMA),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}, SCHEMA),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, "json"),
    ],
)
def test_response_formats(response_format: Any, written: Any):
    """A schema is Ollama's `format` itself."""
    assert params(response_format=response_format).get("format") == written


@pytest.mark.parametrize(
    ("effort", "think"),
    [("none", False), ("minimal", "low"), ("low", "low"), ("high", "high"), ("xhigh", "max")],
)
def test_reasoning_effort(effort: str, think: Any):
    """Ollama's word for it; its own wins."""
    assert params(reasoning_effort=effort) == {"think": think}
    assert params(reasoning_effort=effort, think=True) == {"think": True}


def test_extra_body():
    """It wins over parameters, completes `options`, and may replace anything."""
    extensions = {"body": {"options": {"num_ctx": 1}, "keep_alive": 0, "seed": 2, "model": "x", "stream": 3}}
    body = chat(model="m", params={"seed": 1, "top_k": 5}, extensions=extensions)
    assert body["options"] == {"seed": 2, "top_k": 5, "num_ctx": 1}
    assert (body["keep_alive"], body["model"], body["stream"]) == (0, "x", 3)


def test_what_cannot_be_sent_is_named():
    """A parameter that is no JSON, or no messages at all."""
    assert refusal(keep_alive=float("nan")).startswith("keep_alive")
    with pytest.raises(ModelInvalidRequestError, match="messages is empty"):
        chat(())


# Tools ...


@pytest.mark.parametrize(
    ("given", "tools"),
    [
        ({"tools": [TOOL, OTHER]}, [TOOL, OTHER]),
        ({"tools": [TOOL], "tool_choice": "auto"}, [TOOL]),
        ({"tools": [TOOL], "tool_choice": "required"}, [TOOL]),
        ({"tools": [TOOL], "tool_choice": "none"}, None),
        ({"tools": (TOOL, OTHER), "tool_choice": {"type": "function", "function": {"name": "g"}}}, [OTHER]),
        ({"functions": [TOOL["function"]]}, [TOOL]),
        ({"functions": [TOOL["function"]], "function_call": "none"}, None),
        ({"functions": [TOOL["function"], OTHER["function"]], "function_call": {"name": "f"}}, [TOOL]),
        ({"tools": [TOOL], "functions": [OTHER["function"]]}, [TOOL]),
        ({"tools": []}, None),
    ],
)
def test_tools(given: dict[str, Any], tools: Any):
    """Functions are tools; who is to call none is offered none, and who is to call one only that."""
    assert params(**given) == ({"tools": tools} if tools else {})


def test_a_choice_that_is_not_on_offer():
    """It is named."""
    assert "'x'" in refusal(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "x"}})


# Messages ...


def test_plain_messages_are_passed_on_as_they_are():
    """Unknown keys and Ollama's own stay."""
    plain = [
        {"role": "system", "content": "a", "x": 1},
        {"role": "user", "content": "b", "images": [PIXEL]},
        {"role": "assistant", "content": "c", "thinking": "d"},
    ]
    assert written(*plain) == plain


def test_anthropics_own_blocks_stay_here():
    """A conversation may go on here; signed thoughts are nobody else's business."""
    blocks = [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}]
    assistant = {"role": "assistant", "content": "Yes."}
    assert written({**assistant, "anthropic_content": blocks}) == [assistant]


def test_roles():
    """The developer is the system, a function is a tool."""
    assert written(
        {"role": "developer", "content": "a"}, {"role": "function", "name": "f", "content": "1"}
    ) == [
        {"role": "system", "content": "a"},
        {"role": "tool", "name": "f", "tool_name": "f", "content": "1"},
    ]


def test_parts():
    """Texts are joined by lines, images stand beside them, base64 without its prefix."""
    parts = [
        {"type": "text", "text": "What is"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"}},
        "this?",
        {"type": "image_url", "image_url": "data:image/svg+xml,%3Csvg%2F%3E"},
    ]
    assert written({"role": "user", "content": parts}) == [
        {"role": "user", "content": "What is\nthis?", "images": [PIXEL, "PHN2Zy8+"]}
    ]
    refused = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    assert written(refused) == [{"role": "assistant", "content": "No."}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([{"type": "image_url", "image_url": {"url": "https://example.com/secret.png"}}], "no data: URL"),
        ([{"type": "image_url", "image_url": 3}], "the image of messages[1] must be a mapping"),
        ([{"type": "input_audio", "input_audio": {}}], "a part of type 'input_audio'"),
        ([3], "a part of messages[1] must be a mapping, not int"),
        (5, "messages[1] must have a text or a list of parts"),
    ],
)
def test_content_that_ollama_does_not_take(content: Any, said: str):
    """The message is named, and nothing of it is quoted."""
    told = refusal(*MESSAGES, {"role": "user", "content": content})
    assert said in told
    assert "secret" not in told


def test_tool_calls_and_their_results():
    """Arguments become an object as they stand, and a result names its function by the call's id."""
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1.50}'}},
        {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}},
    ]
    assistant = {"role": "assistant", "content": None, "tool_calls": calls, "reasoning_content": "hm"}
    results = [{"role": "tool", "tool_call_id": f"c{number}", "content": str(number)} for number in (2, 1, 9)]
    conversation = (*MESSAGES, assistant, *results)
    assert b'"arguments":{"a": 1.50}' in encode_chat(Request(messages=conversation))
    assert written(*conversation)[1:] == [
        {
            "role": "assistant",
            "content": "",
            "thinking": "hm",
            "tool_calls": [
                {"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"a": 1.5}}},
                {"id": "c2", "function": {"index": 1, "name": "g", "arguments": {}}},
            ],
        },
        {"role": "tool", "tool_call_id": "c2", "content": "2", "tool_name": "g"},
        {"role": "tool", "tool_call_id": "c1", "content": "1", "tool_name": "f"},
        {"role": "tool", "tool_call_id": "c9", "content": "9"},
    ]


def test_a_legacy_function_call():
    """It is a tool call without an id; arguments may be an object already."""
    legacy = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": {"a": 1}}}
    assert written(legacy) == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"index": 0, "name": "f", "arguments": {"a": 1}}}],
        }
    ]


@pytest.mark.parametrize("arguments", ["[1]", "{", "3", '{"a": NaN}', 7])
def test_arguments_that_are_no_object(arguments: Any):
    """Ollama would refuse them; the message is named."""
    call = {"id": "c", "function": {"name": "f", "arguments": arguments}}
    told = refusal({"role": "assistant", "content": None, "tool_calls": [call]})
    assert "messages[0] has a tool call whose arguments are no JSON object" in told


def test_messages_of_other_types():
    """Mappings of any kind, and the models of an SDK inside them."""

    class Model:
        def model_dump(self, **_: Any) -> dict[str, Any]:
            return {"id": "c", "function": {"name": "f", "arguments": "{}"}}

    (message,) = written(UserDict({"role": "assistant", "content": None, "tool_calls": [Model()]}))
    assert message["tool_calls"][0]["function"]["name"] == "f"
    assert written(UserDict(MESSAGES[0])) == MESSAGES


# Embeddings ...


def test_embeddings():
    """The input as it is, with what Ollama knows beside it; a text that is too long is refused, not cut."""
    body = json.loads(
        encode_embeddings(Request("embed", model="e", params={"input": ["a"], "dimensions": 8, "num_ctx": 5}))
    )
    assert body == {
        "model": "e",
        "input": ["a"],
        "dimensions": 8,
        "options": {"num_ctx": 5},
        "truncate": False,
    }
    cut = Request("embed", params={"input": "a"}, extensions={"body": {"truncate": True}})
    assert json.loads(encode_embeddings(cut)) == {"input": "a", "truncate": True}
    with pytest.raises(ModelInvalidRequestError, match="input is empty"):
        encode_embeddings(Request("embed"))
