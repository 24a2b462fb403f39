"""Bodies of requests in Anthropic's dialect."""

from __future__ import annotations

import json
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire.anthropic_cases import HI, OWN_TOOL, SCHEMA, TOOL, WEATHER, body

from resilient_llm.errors import ModelInvalidRequestError
from resilient_llm.models import Request
from resilient_llm.wire.anthropic import encode_chat, encode_count
from resilient_llm.wire.anthropic_names import honours_prefill, takes_sampling, version_of
from resilient_llm.wire.anthropic_request import JSON_ONLY

OLD, WORDY, NEW, LOCAL = "claude-sonnet-4-5", "claude-opus-4-6", "claude-sonnet-5", "qwen3-8b"


def sent(**more: Any) -> Any:
    """What a request's options become, but for what is always there."""
    whole = body(**more)
    for name in ("model", "messages", "stream"):
        del whole[name]
    return whole


def test_plain_body():
    """The API demands a limit; what it calls like OpenAI, and what it knows alone, is untouched."""
    assert body(top_k=3, container="c", odd=None) == {
        "model": "claude-haiku-4-5",
        "messages": HI,
        "top_k": 3,
        "container": "c",
        "odd": None,
        "max_tokens": 4096,
        "stream": False,
    }
    assert body(stream=True)["stream"] is True
    assert "model" not in body(model="")


def test_renamed_options():
    """OpenAI's names become Anthropic's."""
    assert sent(max_completion_tokens=9, max_tokens=8, stop="x", user="u") == {
        "max_tokens": 9,
        "stop_sequences": ["x"],
        "metadata": {"user_id": "u"},
    }
    assert sent(max_tokens=0, stop=["a", "b"], stop_sequences=["c"]) == {
        "max_tokens": 0,
        "stop_sequences": ["a", "b"],
    }
    assert sent(safety_identifier="s", user="u", metadata={"user_id": "m"})["metadata"] == {"user_id": "m"}
    assert sent(stop=None, user=None, max_tokens=None) == {"max_tokens": 4096}


@pytest.mark.parametrize(
    ("tier", "expected"),
    [("auto", "auto"), ("default", "standard_only"), ("standard_only", "standard_only"), ("flex", None)],
)
def test_service_tiers(tier: str, expected: str | None):
    """Tiers that there are have other names."""
    assert sent(service_tier=tier).get("service_tier") == expected


def test_options_without_a_counterpart():
    """What the API does not know, and would refuse, is left out where that does no harm."""
    dropped = {"seed": 1, "logit_bias": {"1": 2}, "logprobs": True, "top_logprobs": 2, "presence_penalty": 1}
    dropped |= {"frequency_penalty": 1, "n": 1, "store": True, "stream_options": {}, "verbosity": "low"}
    assert sent(**dropped, modalities=["text"], prediction={}, prompt_cache_key="k") == {"max_tokens": 4096}


@pytest.mark.parametrize(
    ("model", "given", "expected"),
    [
        (OLD, {"temperature": 1.7}, {"temperature": 1}),
        (OLD, {"temperature": 0, "top_p": 0.5, "top_k": 3}, {"temperature": 0, "top_k": 3}),
        (OLD, {"top_p": 0.5}, {"top_p": 0.5}),
        (OLD, {"temperature": None}, {}),
        (OLD, {"temperature": "hot"}, {"temperature": "hot"}),
        (
            "claude-3-5-sonnet-20241022",
            {"temperature": 0.2, "top_p": 0.5},
            {"temperature": 0.2, "top_p": 0.5},
        ),
        (LOCAL, {"temperature": 0.2, "top_p": 0.5}, {"temperature": 0.2, "top_p": 0.5}),
        (NEW, {"temperature": 0.7, "top_p": 0.5, "top_k": 3}, {}),
        (OLD, {"temperature": 0.7, "thinking": {"type": "enabled"}}, {"thinking": {"type": "enabled"}}),
        (OLD, {"temperature": 0.7, "thinking": {"type": "disabled"}}, None),
    ],
)
def test_sampling_as_far_as_the_model_takes_it(model: str, given: Any, expected: Any):
    """Clamped, or left out where a model refuses it: the same call must be good for each backend of a fallback."""
    got = sent(model=model, **given)
    del got["max_tokens"]
    assert got == (given if expected is None else expected)


def test_later_versions_of_the_api_have_no_sampling():
    """Not for any model, not even by its default."""
    request = Request(messages=HI, model=OLD, params={"temperature": 1, "top_p": 1})
    assert "temperature" not in json.loads(encode_chat(request, "2026-10-21"))
    assert "temperature" in json.loads(encode_chat(request, "2023-06-01"))


# Tools ...


def test_tools():
    """Functions lose their wrapper, what stands beside it stays; the API's own tools are untouched."""
    cached = {**TOOL, "cache_control": {"type": "ephemeral"}}
    bare = {
        "type": "function",
        "function": {"name": "f", "strict": True, "description": None, "parameters": {}},
    }
    loose = {"type": "function", "function": {"name": "g", "parameters": {"properties": {}}}}
    assert sent(tools=[cached, OWN_TOOL, bare, loose])["tools"] == [
        {
            "name": "get_weather",
            "description": "The weather in a city.",
            "input_schema": WEATHER["parameters"],
            "cache_control": {"type": "ephemeral"},
        },
        OWN_TOOL,
        {"name": "f", "strict": True, "input_schema": {"type": "object", "properties": {}}},
        {"name": "g", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert sent(tools=[SimpleNamespace(model_dump=lambda **_: TOOL)])["tools"][0]["name"] == "get_weather"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"type": "tool", "name": "f"}),
        ({"tool_choice": {"type": "any"}}, {"type": "any"}),
        ({"parallel_tool_calls": True}, None),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"tool_choice": "required", "parallel_tool_calls": False},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
    ],
)
def test_tool_choice(given: Any, expected: Any):
    """How to choose, and how many calls at a time."""
    assert sent(tools=[TOOL], **given).get("tool_choice") == expected
    assert "tool_choice" not in sent(**given)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {"type": "auto", "disable_parallel_tool_use": True}),
        ("auto", {"type": "auto", "disable_parallel_tool_use": True}),
        ("none", {"type": "none"}),
        ({"name": "get_weather"}, {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True}),
    ],
)
def test_functions_are_tools(choice: Any, expected: Any):
    """A legacy caller understands a single call."""
    got = sent(functions=[WEATHER], function_call=choice)
    assert (got["tools"][0]["name"], got["tool_choice"]) == ("get_weather", expected)
    assert {"functions", "function_call"}.isdisjoint(got)


# Schemas and thinking ...


def test_answers_by_a_schema():
    """A schema is the API's own; plain JSON, which it has not, is asked for in the system's words."""
    form = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}}
    assert sent(response_format=form)["output_config"] == {
        "format": {"type": "json_schema", "schema": SCHEMA}
    }
    flat = {"type": "json_schema", "schema": SCHEMA}
    assert sent(response_format=flat, output_config={"effort": "low"})["output_config"] == {
        "format": flat,
        "effort": "low",
    }
    told = body([{"role": "system", "content": "Be terse."}, *HI], response_format={"type": "json_object"})
    assert told["system"] == f"Be terse.\n\n{JSON_ONLY}"
    assert sent(response_format={"type": "text"}) == {"max_tokens": 4096}


@pytest.mark.parametrize(
    ("model", "effort", "more", "expected"),
    [
        (OLD, "high", {}, {"thinking": {"type": "enabled", "budget_tokens": 16384}, "max_tokens": 20480}),
        (
            OLD,
            "high",
            {"max_tokens": 5000},
            {"thinking": {"type": "enabled", "budget_tokens": 2500}, "max_tokens": 5000},
        ),
        (OLD, "low", {"max_tokens": 2000}, {"max_tokens": 2000}),
        (OLD, "none", {}, {"max_tokens": 4096}),
        (LOCAL, "low", {}, {"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 6144}),
        ("claude-3-5-haiku-latest", "high", {}, {"max_tokens": 4096}),
        (
            WORDY,
            "minimal",
            {"temperature": 0.7},
            {
                "output_config": {"effort": "low"},
                "thinking": {"type": "adaptive", "display": "summarized"},
                "max_tokens": 4096,
            },
        ),
        (NEW, "none", {}, {"thinking": {"type": "disabled"}, "max_tokens": 4096}),
        (
            NEW,
            "max",
            {"thinking": {"type": "between_tools"}, "output_config": {"effort": "low"}},
            {"output_config": {"effort": "low"}, "thinking": {"type": "between_tools"}, "max_tokens": 4096},
        ),
    ],
)
def test_reasoning_effort(model: str, effort: str, more: Any, expected: Any):
    """A word for models that take one, tokens for those before, nothing for those that do not think."""
    assert sent(model=model, reasoning_effort=effort, **more) == expected


def test_own_budget_counts_towards_the_length():
    """Without a limit of the caller's, there is room for an answer after the thoughts."""
    assert sent(thinking={"type": "enabled", "budget_tokens": 9000})["max_tokens"] == 13096
    assert sent(thinking={"type": "enabled", "budget_tokens": 9000}, max_tokens=9001)["max_tokens"] == 9001


@pytest.mark.parametrize("model", [OLD, NEW])
def test_a_forced_call_excludes_thinking(model: str):
    """The API refuses both together, and the call was asked for by name."""
    got = sent(model=model, reasoning_effort="high", tools=[TOOL], tool_choice="required")
    assert "thinking" not in got
    assert "thinking" in sent(model=model, reasoning_effort="high", tools=[TOOL], tool_choice="auto")


def test_extra_body_is_merged_last():
    """The extension `body` wins, in the API's own words."""
    got = body(temperature=0.5, extensions={"body": {"temperature": 2, "max_tokens": 3}})
    assert (got["temperature"], got["max_tokens"]) == (2, 3)


# What cannot be sent ...


def test_no_messages():
    """There is nothing to answer."""
    with pytest.raises(ModelInvalidRequestError, match="messages is empty"):
        body([])


def test_more_than_one_choice():
    """The API gives one."""
    with pytest.raises(ModelInvalidRequestError, match="n is 2"):
        body(n=2)


@pytest.mark.parametrize(
    ("messages", "params", "why"),
    [
        (HI, {"top_k": object()}, "top_k cannot be sent"),
        (HI, {"stop": ["a", object()]}, "stop cannot be sent"),
        (HI, {"metadata": {"a": float("nan")}}, "metadata cannot be sent: it holds NaN"),
        (
            [*HI, *HI, {"role": "user", "content": [{"type": "x", "y": object()}]}],
            {},
            r"messages\[2\] cannot be sent",
        ),
        (HI, {"tools": [3]}, "the request holds a tool of type int"),
        (HI, {"system": 3}, "the request has content of type int"),
    ],
)
def test_what_cannot_be_written_is_named_as_the_caller_does(messages: Any, params: Any, why: str):
    """Places and names are the caller's, though neighbours were merged and options renamed."""
    with pytest.raises(ModelInvalidRequestError, match=why):
        encode_chat(Request(messages=messages, model="m", params=params))


def test_request_is_not_changed():
    """Encoding leaves the request's parameters as they were."""
    params = {"thinking": {"type": "enabled"}, "temperature": 2, "tools": [TOOL], "output_config": {}, "n": 1}
    before = json.dumps(params)
    encode_chat(Request(messages=HI, model=WORDY, params={**params, "reasoning_effort": "low"}))
    assert json.dumps(params) == before


def test_counting_asks_with_what_counts():
    """The route for counting refuses limits and sampling."""
    params = {"tools": [TOOL], "temperature": 1, "max_tokens": 4, "stop": "x", "reasoning_effort": "low"}
    request = Request(
        messages=[{"role": "system", "content": "s"}, *HI], model=WORDY, params=params, stream=True
    )
    assert json.loads(encode_count(request)).keys() == {
        "model",
        "messages",
        "system",
        "tools",
        "thinking",
        "output_config",
    }


# Names of models ...


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("claude-opus-4-7", (4, 7)),
        ("claude-sonnet-4-5-20250929", (4, 5)),
        ("claude-opus-4-20250514", (4, 0)),
        ("claude-opus-4@20250514", (4, 0)),
        ("claude-3-5-sonnet-20241022", (3, 5)),
        ("claude-3-haiku-20240307", (3, 0)),
        ("claude-2.1", (2, 1)),
        ("claude-instant-1.2", (1, 2)),
        ("us.anthropic.claude-opus-4-1-20250805-v1:0", (4, 1)),
        ("anthropic/claude-opus-4.6", (4, 6)),
        ("claude-fable-5-2", (5, 2)),
        ("Claude-Sonnet-5", (5, 0)),
        ("claude-mythos-preview", (99, 0)),
        ("gpt-4o", None),
        ("", None),
    ],
)
def test_versions_are_told_from_names(name: str, version: Any):
    """Whoever hosts the model, and however its date is written."""
    assert version_of(name) == version


def test_what_versions_accept():
    """Answers are gone on with before 4.6; sampling is taken before 4.7, and by what is no Claude."""
    assert [honours_prefill(name) for name in (OLD, WORDY, NEW, LOCAL)] == [True, False, False, False]
    assert [takes_sampling(name) for name in (OLD, WORDY, "claude-opus-4-7", LOCAL)] == [
        True,
        True,
        False,
        True,
    ]


# Anything ...

KEYS = ["type", "text", "content", "function", "arguments", "image_url", "url", "file", "file_data", "id"]
KEYS += ["schema"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "a", "{}", "file", "\ud83d"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner
            | st.sampled_from(
                ["text", "thinking", "image_url", "file", "function", "tool_use", "json_schema"]
            ),
            max_size=4,
        )
    ),
    max_leaves=8,
)
FIELDS = ["content", "name", "tool_calls", "function_call", "anthropic_content", "cache_control"]
FIELDS += ["tool_call_id", "refusal"]
ANY_MESSAGE = st.builds(
    lambda role, fields: {**fields, "role": role},
    st.sampled_from(["system", "user", "assistant", "tool", "function"]),
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4),
)
NAMES = ["tools", "functions", "tool_choice", "function_call", "parallel_tool_calls", "stop", "max_tokens"]
NAMES += ["temperature", "thinking", "system", "output_config", "response_format", "reasoning_effort"]
NAMES += ["user", "metadata", "service_tier", "n", "x"]


@given(
    st.lists(ANY_MESSAGE | VALUES, max_size=4),
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4),
    st.sampled_from([OLD, WORDY, NEW, LOCAL]),
)
def test_any_request(messages: Any, params: Any, model: str):
    """Whatever is asked, there is a body or an error that says what is wrong with the request."""
    request = Request(messages=messages, params=params, model=model)
    with suppress(ModelInvalidRequestError):
        json.loads(encode_chat(request))
    with suppress(ModelInvalidRequestError):
        json.loads(encode_count(request))
