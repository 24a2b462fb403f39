"""What holds true of every backend, whether a fault server or a real model answers.

A row is a function of a `Subject`. It asserts nothing about the words of an answer, so that any model will do.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from conformance.questions import ENDLESS, FUNCTION, GREEDY, QUESTION, RESULT, SCHEMA, SYSTEM, TOOLS, WEATHER

import resilient_llm as rl

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conformance.subject import Subject

Row: TypeAlias = "Callable[[Subject], Awaitable[None]]"

SHORT = {"max_tokens": 16, **GREEDY}
CALLING = {"tools": TOOLS, "tool_choice": "required", "max_tokens": 120, **GREEDY}


async def a_whole_answer(subject: Subject) -> None:
    """Text, model, backend, finish reason, usage that adds up, and the message to go on with."""
    done = await subject.llm.complete(QUESTION, **SHORT)
    assert done.text
    assert done.finish_reason in {"stop", "length"}
    assert done.model
    assert (done.backend, done.attempts) == (subject.llm.transport.name, 1)
    assert done.message == {"role": "assistant", "content": done.text} | done.extra
    assert list(done.messages) == [*QUESTION, done.message]
    adds_up(done.usage)


async def the_same_streamed(subject: Subject) -> None:
    """Pieces that make up the text, one usage, the finish last; and `completion()` is what `complete()` gives."""
    whole = await subject.llm.complete(QUESTION, **SHORT)
    async with subject.llm.stream(QUESTION, **SHORT) as response:
        events = [event async for event in response]
        done = await response.completion()
    pieces = [event.text for event in events if isinstance(event, rl.TextDelta)]
    assert len(pieces) > 1
    assert all(pieces)
    assert "".join(pieces) == done.text == whole.text
    assert [event.usage for event in events if isinstance(event, rl.UsageEvent)] == [done.usage]
    assert events[-1] == rl.Finish(done.finish_reason or "")
    assert (done.finish_reason, done.model) == (whole.finish_reason, whole.model)
    assert done.usage.prompt_tokens == whole.usage.prompt_tokens
    assert done.usage.completion_tokens == whole.usage.completion_tokens
    adds_up(done.usage)


async def a_conversation_goes_on(subject: Subject) -> None:
    """The messages of an answer are the beginning of the next question."""
    first = await subject.llm.complete(QUESTION, **SHORT)
    second = await subject.llm.complete([*first.messages, {"role": "user", "content": "And then?"}], **SHORT)
    assert second.text
    assert (second.usage.prompt_tokens or 0) > (first.usage.prompt_tokens or 0)


async def system_and_developer(subject: Subject) -> None:
    """Both roles are taken, and both are read: their words cost tokens."""
    for role in ("system", "developer"):
        asked = [[{"role": role, "content": text}, *QUESTION] for text in (SYSTEM, 3 * SYSTEM)]
        terse, long = [await subject.llm.complete(messages, **SHORT) for messages in asked]
        assert terse.text
        assert long.text
        assert (long.usage.prompt_tokens or 0) > (terse.usage.prompt_tokens or 0)


async def a_length_that_is_kept(subject: Subject) -> None:
    """An answer that is cut at its length says so, whole and streamed."""
    done = await subject.llm.complete(QUESTION, max_tokens=2, **GREEDY)
    assert done.finish_reason == "length"
    assert (done.usage.completion_tokens or 0) <= 2
    async with subject.llm.stream(QUESTION, max_tokens=2, **GREEDY) as response:
        assert (await response.completion()).finish_reason == "length"


async def tools_called(subject: Subject) -> None:
    """Whole calls with ids of their own, names that were offered, and arguments that are JSON objects."""
    done = await subject.llm.complete(WEATHER, **CALLING)
    assert done.finish_reason == "tool_calls"
    called(done.tool_calls, subject)
    assert len(done.message["tool_calls"]) == len(done.tool_calls)


async def tools_called_in_a_stream(subject: Subject) -> None:
    """The same calls as in a whole answer, each handed over once, when it is complete."""
    whole = await subject.llm.complete(WEATHER, **CALLING)
    async with subject.llm.stream(WEATHER, **CALLING) as response:
        events = [event async for event in response]
        done = await response.completion()
    calls = tuple(event for event in events if isinstance(event, rl.ToolCall))
    called(calls, subject)
    assert not any(isinstance(event, rl.ToolCallDelta) for event in events)
    assert calls == done.tool_calls
    assert _told(calls) == _told(whole.tool_calls)
    assert events[-1] == rl.Finish("tool_calls")


async def fragments_of_calls(subject: Subject) -> None:
    """Fragments that were asked for: the first of a call has its id and name, together they are the arguments."""
    async with subject.llm.stream(WEATHER, tool_deltas=True, **CALLING) as response:
        events = [event async for event in response]
        done = await response.completion()
    fragments = defaultdict(list)
    for event in events:
        if isinstance(event, rl.ToolCallDelta):
            fragments[event.index].append(event)
    called(done.tool_calls, subject)
    assert sorted(fragments) == [call.index for call in done.tool_calls]
    for call in done.tool_calls:
        first, *rest = fragments[call.index]
        assert (first.id, first.name) == (call.id, call.name)
        assert not any(fragment.id or fragment.name for fragment in rest)
        assert "".join(fragment.arguments for fragment in fragments[call.index]) == call.arguments


async def results_sent_back(subject: Subject) -> None:
    """What the tools gave goes back, a message each, and the model answers."""
    asked = await subject.llm.complete(WEATHER, **CALLING)
    assert asked.tool_calls
    results = [{"role": "tool", "tool_call_id": call.id, "content": RESULT} for call in asked.tool_calls]
    done = await subject.llm.complete([*asked.messages, *results], tools=TOOLS, **SHORT)
    assert done.text
    assert not done.tool_calls
    assert (done.usage.prompt_tokens or 0) > (asked.usage.prompt_tokens or 0)


async def functions_of_the_old_kind(subject: Subject) -> None:
    """Offered as `functions`, called as `function_call`, answered by the role `function`: whole and streamed."""
    options: dict[str, Any] = {"functions": [FUNCTION], "max_tokens": 120, **GREEDY}
    options["function_call"] = {"name": FUNCTION["name"]}
    done = await subject.llm.complete(WEATHER, **options)
    async with subject.llm.stream(WEATHER, **options) as response:
        streamed = await response.completion()
    for asked in (done, streamed):
        assert asked.finish_reason == "function_call"
        assert not asked.tool_calls
        assert asked.function_call is not None
        assert asked.function_call.name == FUNCTION["name"]
        assert isinstance(json.loads(asked.function_call.arguments), dict)
    result = {"role": "function", "name": FUNCTION["name"], "content": RESULT}
    assert (await subject.llm.complete([*done.messages, result], **SHORT)).text


async def a_json_schema(subject: Subject) -> None:
    """An answer that must fit a schema does."""
    form = {"type": "json_schema", "json_schema": {"name": "river", "strict": True, "schema": SCHEMA}}
    done = await subject.llm.complete(QUESTION, response_format=form, max_tokens=40, **GREEDY)
    answer = json.loads(done.text)
    assert answer.keys() == {"river", "long"}
    assert isinstance(answer["long"], bool)


async def a_stream_left_early(subject: Subject) -> None:
    """The server sees that its reader has left, and answers the next call."""
    async with subject.llm.stream(ENDLESS, **_endless(subject)) as response:
        async for event in response:
            if isinstance(event, rl.TextDelta):
                break
    assert response.outcome is not None
    assert response.outcome.kind is rl.OutcomeKind.ABANDONED
    await subject.idle()
    assert (await subject.llm.complete(QUESTION, **SHORT)).attempts == 1


async def a_call_cancelled(subject: Subject) -> None:
    """The server sees that its caller has left, and answers the next call."""
    for stream in (False, True):
        call = asyncio.create_task(_ask(subject, stream, **_endless(subject)))
        await subject.busy()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await subject.idle()
    assert (await subject.llm.complete(QUESTION, **SHORT)).attempts == 1


async def a_prompt_too_long(subject: Subject) -> None:
    """A prompt larger than the window is that error, and no call is repeated for it."""
    assert subject.window is not None
    for stream in (False, True):
        with pytest.raises(rl.ModelContextLengthError) as caught:
            await _ask(subject, stream, "river " * 3 * subject.window)
        error = caught.value
        assert (error.attempts, error.backend) == (1, subject.llm.transport.name)
        assert error.context_limit in {subject.window, None}


async def embeddings(subject: Subject) -> None:
    """A vector for each text, in order, all of a length, the same for the same text; and what they cost."""
    texts = ["a river", "", "a mountain", "a river"]
    told = await subject.llm.embed(texts, model=subject.embedder)
    assert len(told.vectors) == len(texts)
    assert len({len(vector) for vector in told.vectors}) == 1
    assert told.vectors[0] == pytest.approx(told.vectors[3], abs=1e-3)
    assert told.vectors[0] != pytest.approx(told.vectors[2], abs=1e-3)
    assert (told.usage.prompt_tokens or 0) > 0
    (alone,) = (await subject.llm.embed("a mountain", model=subject.embedder)).vectors
    assert alone == pytest.approx(told.vectors[2], abs=1e-2)


async def models_listed(subject: Subject) -> None:
    """The model that answers is among those that are offered, with its window, where the server tells."""
    models = {model.id: model for model in await subject.llm.models()}
    assert subject.model in models
    assert models[subject.model].context_length in {subject.window, None}


async def calls_at_once(subject: Subject) -> None:
    """Calls that run together do not mix: each gets what it would have got alone."""
    prompts = ["Name a river.", "Name a town.", "Name a tree."]
    alone = [(await subject.llm.complete(prompt, **SHORT)).text for prompt in prompts]
    together = await asyncio.gather(*(_ask(subject, True, prompt, **SHORT) for prompt in prompts))
    assert [done.text for done in together] == alone


def adds_up(usage: rl.Usage) -> None:
    assert usage.prompt_tokens
    assert usage.completion_tokens
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def called(calls: tuple[rl.ToolCall, ...], subject: Subject) -> None:
    assert len(calls) >= subject.calls
    assert [call.index for call in calls] == list(range(len(calls)))
    assert len({call.id for call in calls if call.id}) == len(calls)
    assert {call.name for call in calls} <= {tool["function"]["name"] for tool in TOOLS}
    assert all(isinstance(json.loads(call.arguments), dict) for call in calls)


def _told(calls: tuple[rl.ToolCall, ...]) -> list[tuple[int, str, Any]]:
    return [(call.index, call.name, json.loads(call.arguments)) for call in calls]


def _endless(subject: Subject) -> dict[str, Any]:
    more = {"ignore_eos": True} if subject.llm.transport.name in {"llamacpp", "llamafile"} else {}
    return {"max_tokens": 400, **more}


async def _ask(subject: Subject, stream: bool, prompt: str | None = None, **options: object) -> rl.Completion:
    if not stream:
        return await subject.llm.complete(prompt or ENDLESS, **options)
    async with subject.llm.stream(prompt or ENDLESS, **options) as response:
        return await response.completion()


ROWS: tuple[Row, ...] = (
    a_whole_answer,
    the_same_streamed,
    a_conversation_goes_on,
    system_and_developer,
    a_length_that_is_kept,
    tools_called,
    tools_called_in_a_stream,
    fragments_of_calls,
    results_sent_back,
    functions_of_the_old_kind,
    a_json_schema,
    a_stream_left_early,
    a_call_cancelled,
    a_prompt_too_long,
    embeddings,
    models_listed,
    calls_at_once,
)
