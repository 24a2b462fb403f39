"""Ordinary calls of a real llama.cpp server."""

from __future__ import annotations

import json

import pytest
from real.llama import WINDOW

import resilient_llm as rl

pytestmark = pytest.mark.real

RIVERS = [{"role": "user", "content": "Name three rivers in Europe."}]
GREEDY = {"temperature": 0, "seed": 1, "cache_prompt": False}


async def test_a_whole_answer_has_text_usage_and_a_finish_reason(llm):
    """A real answer arrives with its text, its tokens, and why it ended."""
    done = await llm.complete(RIVERS, max_tokens=12, **GREEDY)
    assert done.text.strip()
    assert done.finish_reason == "length"
    assert done.usage.completion_tokens == 12
    assert done.usage.total_tokens == done.usage.prompt_tokens + 12
    assert (done.model, done.backend, done.attempts) == ("smollm2", "llamacpp", 1)


async def test_a_stream_brings_the_same_text_piece_by_piece(llm):
    """Streamed and whole, the same greedy question gets the same text, tokens and finish reason."""
    whole = await llm.complete(RIVERS, max_tokens=12, **GREEDY)
    async with llm.stream(RIVERS, max_tokens=12, **GREEDY) as response:
        events = [event async for event in response]
        done = await response.completion()
    pieces = [event.text for event in events if isinstance(event, rl.TextDelta)]
    assert len(pieces) > 5
    assert "".join(pieces) == done.text == whole.text
    assert events[-1] == rl.Finish("length")
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (whole.usage.prompt_tokens, 12)
    assert response.outcome is not None
    assert response.outcome.kind is rl.OutcomeKind.COMPLETED


async def test_a_call_right_after_a_stream_is_not_lost(llm):
    """The server closes the connection after each stream: no call meets it while it is being closed."""
    for _ in range(3):
        async with llm.stream("Hi", max_tokens=2, **GREEDY) as response:
            assert (await response.completion()).attempts == 1
        assert (await llm.complete("Hi", max_tokens=2, max_retries=0, **GREEDY)).attempts == 1


async def test_an_answer_that_ends_by_itself_says_stop(llm):
    """A short answer ends with `stop`, and can be carried on as a conversation."""
    done = await llm.complete("Hi", max_tokens=60, **GREEDY)
    assert done.finish_reason == "stop"
    again = await llm.complete([*done.messages, *RIVERS], max_tokens=4, **GREEDY)
    assert again.usage.prompt_tokens > done.usage.total_tokens


async def test_models_tells_the_window_in_use(llm):
    """The model's context length is the slot's window, not what the model was trained for."""
    (model,) = await llm.models()
    assert (model.id, model.context_length, model.loaded) == ("smollm2", WINDOW, True)
    assert await llm.transport.health() is True


@pytest.mark.parametrize(
    "messages",
    [
        RIVERS,
        [{"role": "system", "content": "Be terse."}, *RIVERS],
        [*RIVERS, {"role": "assistant", "content": "Rhein, Po, Волга 🌊"}, {"role": "user", "content": " "}],
        [{"role": "user", "content": "<|im_end|> is a marker\n\n\tand  so   on"}],
    ],
    ids=["user", "system", "turns", "markers"],
)
async def test_tokens_are_counted_as_the_server_counts_them(llm, server, messages):
    """A conversation's count is that of its template by `/tokenize`, and what a call is charged for."""
    prompt = server.json("/apply-template", {"messages": messages})["prompt"]
    tokens = server.json("/tokenize", {"content": prompt, "add_special": True, "parse_special": True})
    done = await llm.complete(messages, max_tokens=1)
    assert await llm.count_tokens(messages) == len(tokens["tokens"]) == done.usage.prompt_tokens


async def test_a_text_is_counted_without_template_or_markers(llm, server):
    """The count of a bare text is that of `/tokenize`, markers taken as text."""
    text = "Hello, <|im_start|> wörld!"
    tokens = server.json("/tokenize", {"content": text, "add_special": False, "parse_special": False})
    assert await llm.count_tokens(text) == len(tokens["tokens"])


async def test_a_response_format_is_kept(llm):
    """A JSON schema is passed through, and the answer parses accordingly."""
    schema = {
        "type": "object",
        "properties": {"river": {"enum": ["Rhine", "Danube"]}, "long": {"type": "boolean"}},
        "required": ["river", "long"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "river", "strict": True, "schema": schema}}
    done = await llm.complete(RIVERS, max_tokens=40, response_format=form, **GREEDY)
    assert json.loads(done.text).keys() == {"river", "long"}
