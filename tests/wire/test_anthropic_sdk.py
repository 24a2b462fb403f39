"""Anthropic's dialect, judged by the official SDK: its types, what it sends, what it makes of an answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import product
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import message_create_params
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from wire.anthropic_cases import CONVERSATIONS, HI, OPTIONS, STREAMS, body, sse

from resilient_llm.events import Finish, ReasoningDelta, TextDelta, ToolCall, UsageEvent
from resilient_llm.wire.anthropic import ChatStreamDecoder, decode_chat
from resilient_llm.wire.anthropic_shapes import STOP_REASONS
from resilient_llm.wire.assembly import Assembler

BODY = TypeAdapter(message_create_params.MessageCreateParamsNonStreaming)
MODELS = ["claude-haiku-4-5", "claude-opus-4-8"]


def known(value: Any) -> Any:
    """What the SDK's types know of a validated body: they drop the other keys, and check lists when read."""
    if isinstance(value, Mapping):
        return {key: known(item) for key, item in value.items()}
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return value
    return [known(item) for item in value]


def client(answer: bytes, kind: str, seen: list[httpx2.Request]) -> anthropic.Anthropic:
    def handle(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, headers={"content-type": kind}, content=answer)

    transport = httpx2.MockTransport(handle)
    return anthropic.Anthropic(api_key="k", http_client=httpx2.Client(transport=transport), max_retries=0)


def final(answer: bytes, kind: str = "application/json") -> anthropic.types.Message:
    sdk = client(answer, kind, [])
    if kind == "application/json":
        return sdk.messages.create(model="m", max_tokens=9, messages=HI)
    with sdk.messages.stream(model="m", max_tokens=9, messages=HI) as stream:
        return stream.get_final_message()


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_bodies_are_of_the_sdks_types(conversation: str):
    """With any options and models: nothing is missing, of the wrong type, or unknown."""
    for options, model in product(OPTIONS.values(), MODELS):
        made = body(CONVERSATIONS[conversation], model=model, **options)
        assert known(BODY.validate_python(made)) == made


@given(
    st.lists(
        st.sampled_from([m for messages in CONVERSATIONS.values() for m in messages]), min_size=1, max_size=8
    )
)
def test_any_conversation_is_of_the_sdks_types(messages: list[Any]):
    """In any order, sensible or not."""
    made = body(messages)
    assert known(BODY.validate_python(made)) == made


def test_the_sdk_sends_the_same():
    """The SDK changes nothing of a body that was made here, and sends it to the same place."""
    seen: list[httpx2.Request] = []
    sdk = client(json.dumps({"type": "message", "content": []}).encode(), "application/json", seen)
    made = [body(messages, **OPTIONS["tools"]) for messages in CONVERSATIONS.values()]
    for one in made:
        sdk.messages.create(**one)
    assert [json.loads(request.content) for request in seen] == made
    assert {request.url.path for request in seen} == {"/v1/messages"}


def compare(events: list[Any], extra: Mapping[str, Any], message: anthropic.types.Message) -> None:
    """What was decoded here is what the SDK has."""
    blocks = [block.model_dump(exclude_none=True, mode="json") for block in message.content]
    usage = message.usage
    prompt = (
        usage.input_tokens + (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)
    )
    told = next(event.usage for event in events if isinstance(event, UsageEvent))
    assert (told.prompt_tokens, told.completion_tokens) == (prompt, usage.output_tokens)
    assert told.cached_tokens == usage.cache_read_input_tokens
    details = usage.output_tokens_details
    assert told.reasoning_tokens == (details.thinking_tokens if details else None)
    assert events[-1] == Finish(STOP_REASONS.get(message.stop_reason or "", message.stop_reason))
    for kind, name in ((TextDelta, "text"), (ReasoningDelta, "thinking")):
        ours = "".join(event.text for event in events if isinstance(event, kind))
        assert ours == "".join(block.get(name, "") for block in blocks)
    calls = [
        (call.id, call.name, json.loads(call.arguments)) for call in events if isinstance(call, ToolCall)
    ]
    uses = [(b["id"], b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"]
    assert calls == uses
    if extra:
        assert known(_without_nulls(extra["anthropic_content"])) == blocks
    else:
        assert {block["type"] for block in blocks} <= {"text", "tool_use"}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", sorted(STREAMS.keys() - {"cut by its length"}))
def test_streams_read_the_same(name: str):
    """Text, thoughts, calls, usage, stop reason and all blocks are those of the SDK's accumulator."""
    wire = sse(*STREAMS[name])
    decoder = ChatStreamDecoder()
    assembler = Assembler()
    assembler._said = True  # a refusal without a word is an error here, and none there
    events = assembler.feed(decoder.feed(wire))
    compare(events, decoder.extra, final(wire, "text/event-stream"))


@pytest.mark.parametrize("name", sorted(STREAMS.keys() - {"cut by its length"}))
def test_whole_answers_read_the_same(name: str):
    """So do the same answers in one piece, as the SDK writes them."""
    answer = final(sse(*STREAMS[name]), "text/event-stream").to_json().encode()
    decoded = decode_chat(answer)
    compare(decoded.events, decoded.extra, final(answer))


def test_errors_in_a_stream_end_both():
    """Neither takes a stream with an error for an answer."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    wire = sse(*STREAMS["text"][:4], error)
    decoder = ChatStreamDecoder()
    decoder.feed(wire)
    assert decoder.failure is not None
    with pytest.raises(anthropic.APIStatusError):
        final(wire, "text/event-stream")
