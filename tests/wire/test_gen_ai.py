"""A call in OpenTelemetry's words."""

from __future__ import annotations

import json

import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

import resilient_llm as rl
from resilient_llm.wire import gen_ai

CONVENTIONS = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")}


@pytest.mark.skipif(
    gen_ai.FIRST_CHUNK not in CONVENTIONS, reason="the conventions that are installed are older"
)
def test_every_name_is_one_of_the_conventions() -> None:
    """Those of spans, parameters and usage."""
    own = {value for name, value in vars(gen_ai).items() if name.isupper() and isinstance(value, str)}
    own |= {*gen_ai.NUMBERS.values(), *gen_ai.USAGE.values()}
    assert {name for name in own if name.startswith("gen_ai.")} <= CONVENTIONS


def test_parameters_are_told_if_they_are_what_they_should_be() -> None:
    """Numbers and stop words; what a user put there by mistake is left out, and so is all that is not known."""
    params = {"top_p": "high", "n": True, "max_completion_tokens": 7, "stop": ["a", "b"], "user": "me"}
    assert gen_ai.request_attributes(rl.Request(model="m", stream=True, params=params)) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.request.stream": True,
        "gen_ai.request.max_tokens": 7,
        "gen_ai.request.stop_sequences": ["a", "b"],
    }
    odd = {"stop": [1], "response_format": {"type": "json_object"}}
    assert gen_ai.request_attributes(rl.Request("embed", params=odd)) == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.output.type": "json",
    }


def test_usage_that_was_not_told_is_left_out() -> None:
    """Zero is told, None is not."""
    assert gen_ai.usage_attributes(rl.Usage(prompt_tokens=0)) == {"gen_ai.usage.input_tokens": 0}


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"role": "user", "content": "Hé"}, [{"type": "text", "content": "Hé"}]),
        ({"role": "assistant", "content": None}, []),
        (
            {"role": "tool", "tool_call_id": "c", "content": "42"},
            [{"type": "tool_call_response", "id": "c", "response": "42"}],
        ),
        (
            {
                "role": "tool",
                "tool_call_id": "c",
                "content": [
                    {"type": "text", "text": "A map"},
                    {"type": "image", "source": {"type": "base64", "data": "AAAA"}},
                ],
            },
            [
                {
                    "type": "tool_call_response",
                    "id": "c",
                    "response": [{"type": "text", "content": "A map"}, {"type": "image"}],
                }
            ],
        ),
        (
            {"role": "assistant", "content": "Hm.", "tool_calls": [object(), {"id": "c", "function": None}]},
            [
                {"type": "text", "content": "Hm."},
                {"type": "tool_call", "id": "c", "name": None, "arguments": None},
            ],
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}],
            },
            [{"type": "tool_call", "id": "c", "name": "f", "arguments": "{}"}],
        ),
        (
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look"},
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                    {"type": "input_audio", "input_audio": {"data": "AAAA"}},
                    "odd",
                ],
            },
            [
                {"type": "text", "content": "Look"},
                {"type": "uri", "modality": "image", "uri": "https://example.com/a.png"},
                {"type": "blob", "modality": "image", "mime_type": "image/png"},
                {"type": "input_audio"},
            ],
        ),
    ],
)
def test_messages_become_parts(message, parts) -> None:
    """In the conventions' shape, without the bytes of media."""
    assert json.loads(gen_ai.input_messages([message])) == [{"role": message["role"], "parts": parts}]


def test_an_answer_becomes_parts_too() -> None:
    """Reasoning, text and calls, in that order, and why it ended."""
    answer = rl.Completion(
        text="t",
        reasoning="r",
        tool_calls=(rl.ToolCall(0, "c", "f", "{}"),),
        function_call=rl.FunctionCall("g", "{}"),
        finish_reason="tool_calls",
    )
    (message,) = json.loads(gen_ai.output_messages(answer))
    assert [part["type"] for part in message["parts"]] == ["reasoning", "text", "tool_call", "tool_call"]
    assert message["finish_reason"] == "tool_calls"
