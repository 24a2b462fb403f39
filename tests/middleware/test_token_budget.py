"""TokenBudget: pruned before, learned from a refusal, sent once more."""

from __future__ import annotations

import threading
from functools import partial

import attrs
import backoff
import pytest

from resilient_llm.errors import (
    ModelContextLengthError,
    ModelInvalidRequestError,
    ModelUnavailableError,
    TokenLimitExceededError,
)
from resilient_llm.middleware.retry import Retry
from resilient_llm.middleware.token_budget import TokenBudget
from resilient_llm.models import PruneReport, Request
from resilient_llm.pipeline import Pipeline
from resilient_llm.testing import ScriptedTransport
from resilient_llm.tokens import ChatCounter, TokenTracker

SYSTEM = {"role": "system", "content": "Be terse."}


def turns(number: int, words: int = 20) -> list[dict[str, str]]:
    texts = ((f"question {i} " + "word " * words, f"answer {i} " + "word " * words) for i in range(number))
    return [
        {"role": role, "content": text}
        for pair in texts
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]


def ask(number: int = 20, model: str = "gpt-4o", **params) -> Request:
    messages = [SYSTEM, *turns(number), {"role": "user", "content": "And now?"}]
    return Request(messages=messages, model=model, params=params)


def size(messages, model: str = "gpt-4o") -> int:
    return TokenTracker(model).count_conversation_tokens(messages)


async def send(budget: TokenBudget, transport: ScriptedTransport, request: Request):
    return await (await Pipeline([budget], transport)(request)).completion()


async def test_a_conversation_that_fits_is_sent_as_it_is() -> None:
    """Nothing is dropped, copied or reported."""
    transport = ScriptedTransport("ok")
    request = ask()
    done = await send(TokenBudget(), transport, request)
    assert transport.requests[0].messages is request.messages
    assert done.pruned is None


async def test_an_overlong_conversation_loses_its_oldest_turns() -> None:
    """The system message and the newest turns stay, within the window, and the report says what went."""
    transport = ScriptedTransport("ok")
    notices = []
    request = attrs.evolve(ask(), observers=(notices.append,))
    done = await send(TokenBudget(context_window=500), transport, request)
    sent = transport.requests[0].messages
    assert sent[0] == SYSTEM
    assert sent[-1]["content"] == "And now?"
    assert sent[1]["role"] == "user"
    assert size(sent) <= 500
    assert done.pruned == PruneReport(
        len(request.messages) - len(sent), size(request.messages), size(sent), 500
    )
    assert done.pruned in notices
    assert len(request.messages) == 42


async def test_the_answer_and_the_tools_take_their_share() -> None:
    """`max_tokens` and tool definitions are taken off the window."""
    transport = ScriptedTransport("ok")
    tools = [{"type": "function", "function": {"name": "add", "description": "word " * 50, "parameters": {}}}]
    await send(TokenBudget(context_window=800), transport, ask(max_tokens=200, tools=tools))
    sent = transport.requests[0].messages
    assert size(sent) + TokenTracker().count_conversation_tokens([], tools=tools) <= 600


async def test_a_turn_that_cannot_fit_is_refused_here() -> None:
    """Nothing is sent when not even the newest turn fits; the error says by how much."""
    transport = ScriptedTransport("ok")
    with pytest.raises(TokenLimitExceededError, match="more than the budget") as caught:
        await send(TokenBudget(context_window=15), transport, ask())
    assert transport.requests == []
    assert (caught.value.attempts, caught.value.model) == (0, ask().model)


async def test_a_refused_prompt_is_pruned_to_the_named_window_and_sent_once_more() -> None:
    """The limit comes from the error; there are exactly two requests; the next call is pruned before it is sent."""
    refusal = ModelContextLengthError("too long", context_limit=400, context_requested=size(ask().messages))
    transport = ScriptedTransport(refusal, "ok")
    budget = TokenBudget()
    done = await send(budget, transport, ask(model="gpt-4o"))
    assert (done.text, len(transport.requests)) == ("ok", 2)
    assert size(transport.requests[1].messages) <= 400
    assert done.pruned.budget == 400
    await send(budget, transport, ask(model="gpt-4o"))
    assert len(transport.requests) == 3
    assert size(transport.requests[2].messages) <= 400


async def test_an_estimate_that_was_too_low_is_corrected_by_the_error() -> None:
    """A backend that counts twice as many tokens gets half as many of ours."""
    request = ask(model="unknown-model")
    ours = size(request.messages, "unknown-model")
    refusal = ModelContextLengthError("too long", context_limit=800, context_requested=2 * ours)
    transport = ScriptedTransport(refusal, "ok")
    await send(TokenBudget(), transport, request)
    assert size(transport.requests[1].messages, "unknown-model") <= 400


async def test_a_refusal_without_numbers_uses_the_known_window() -> None:
    """If the error tells nothing and the estimate had fitted, half of the conversation is sent."""
    request = ask()
    window = size(request.messages) + 10
    transport = ScriptedTransport(ModelContextLengthError("too long"), "ok")
    done = await send(TokenBudget(context_window=window), transport, request)
    assert size(transport.requests[1].messages) <= size(request.messages) / 2
    assert done.pruned is not None


async def test_a_refusal_that_teaches_nothing_is_raised() -> None:
    """With no window known anywhere, the backend's error is the caller's."""
    transport = ScriptedTransport(ModelContextLengthError("too long"), "ok")
    with pytest.raises(ModelContextLengthError):
        await send(TokenBudget(), transport, ask(model="unknown-model"))
    assert len(transport.requests) == 1


async def test_a_second_refusal_is_raised() -> None:
    """There is one resend, not a loop."""
    transport = ScriptedTransport(ModelContextLengthError("too long", context_limit=400))
    with pytest.raises(ModelContextLengthError):
        await send(TokenBudget(), transport, ask(model="unknown-model"))
    assert len(transport.requests) == 2


async def test_a_refused_single_turn_cannot_be_pruned() -> None:
    """If the newest turn alone is too long, the error says so, with the refusal as its cause."""
    refusal = ModelContextLengthError("too long", context_limit=5, context_requested=50)
    request = Request(messages=[{"role": "user", "content": "word " * 40}], model="m")
    with pytest.raises(TokenLimitExceededError) as caught:
        await send(TokenBudget(), ScriptedTransport(refusal), request)
    assert caught.value.__cause__ is refusal


async def test_the_window_may_come_from_a_function() -> None:
    """A function of the model is asked for each call."""
    transport = ScriptedTransport("ok")
    await send(TokenBudget(context_window={"a": 400}.get), transport, ask(model="a"))
    await send(TokenBudget(context_window={"a": 400}.get), transport, ask(model="b"))
    assert len(transport.requests[0].messages) < len(transport.requests[1].messages) == 42


async def test_malformed_messages_are_named() -> None:
    """A message that cannot be counted is the caller's mistake, with its index."""
    request = Request(messages=[{"role": "user", "content": 3}], model="gpt-4o")
    with pytest.raises(ModelInvalidRequestError, match=r"messages\[0\]"):
        await send(TokenBudget(), ScriptedTransport("ok"), request)
    with pytest.raises(ModelInvalidRequestError, match="tools"):
        await send(TokenBudget(), ScriptedTransport("ok"), ask(tools=[3]))


async def test_other_operations_and_other_errors_pass() -> None:
    """Embeddings are not pruned, and a broken backend is not a full window."""
    await Pipeline([TokenBudget(context_window=1)], ScriptedTransport("ok"))(Request("embed"))
    with pytest.raises(ModelUnavailableError):
        await send(TokenBudget(), ScriptedTransport(ModelUnavailableError("down")), ask())


@pytest.mark.parametrize("window", [0, -5, "big", True, 1.5])
def test_impossible_windows_are_rejected(window) -> None:
    """A wrong window fails at construction."""
    with pytest.raises(ValueError, match="context_window"):
        TokenBudget(context_window=window)


@pytest.mark.parametrize("times", [10, 1.2], ids=["as bytes prove", "as counted"])
async def test_a_refusal_that_pruning_would_not_answer_is_not_repeated(times) -> None:
    """If the named window holds what was sent, the same messages are not sent again."""
    size_now = size(ask().messages)
    limit = int(times * size_now)
    refusal = ModelContextLengthError("too long", context_limit=limit, context_requested=size_now)
    transport = ScriptedTransport(refusal, "ok")
    with pytest.raises(ModelContextLengthError):
        await send(TokenBudget(), transport, ask())
    assert len(transport.requests) == 1


async def test_the_attempts_of_both_sendings_are_counted_through() -> None:
    """The refused attempt and the one after pruning are numbers 1 and 2 of one trace."""
    refusal = ModelContextLengthError("too long", context_limit=400)
    transport = ScriptedTransport(refusal, "ok")
    pipeline = Pipeline([TokenBudget(), Retry()], transport)
    done = await (await pipeline(ask(model="unknown-model"))).completion()
    assert (done.attempts, [attempt.number for attempt in done.trace]) == (2, [1, 2])
    assert done.trace[0].error is refusal


async def test_numbers_go_on_after_a_loop_that_retried() -> None:
    """A refusal that came at the second attempt makes the resent one the third."""
    refusal = ModelContextLengthError("too long", context_limit=400)
    transport = ScriptedTransport(ModelUnavailableError("reset"), refusal, "ok")
    retry = Retry(wait=partial(backoff.constant, interval=0.001), jitter=None)
    done = await (await Pipeline([TokenBudget(), retry], transport)(ask(model="unknown-model"))).completion()
    assert [attempt.number for attempt in done.trace] == [1, 2, 3]


async def test_a_default_answer_length_does_not_close_a_small_window() -> None:
    """With `max_tokens` above the whole window, three quarters of it are left for the prompt."""
    transport = ScriptedTransport("ok")
    done = await send(TokenBudget(context_window=400), transport, ask(max_tokens=1024))
    assert 0 < size(transport.requests[0].messages) <= 300
    assert done.pruned.budget == 300


@pytest.mark.parametrize("known", [True, False])
async def test_a_vocabulary_is_loaded_beside_the_event_loop(monkeypatch, known) -> None:
    """The first count, before sending or after a refusal, does not stop the loop's other calls."""
    threads = []
    monkeypatch.setattr(ChatCounter, "ready", property(lambda counter: bool(threads)))
    monkeypatch.setattr(ChatCounter, "load", lambda counter: threads.append(threading.get_ident()))
    refusal = ModelContextLengthError("too long", context_limit=400)
    transport = ScriptedTransport("ok") if known else ScriptedTransport(refusal, "ok")
    budget = TokenBudget(context_window=400 if known else None)
    done = await send(budget, transport, ask(model="unknown-model"))
    assert done.pruned is not None
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


async def test_what_stands_beside_the_messages_needs_a_vocabulary(monkeypatch) -> None:
    """Tools are counted whatever the messages' bytes prove; a malformed message is refused without loading anything."""
    loads = []
    monkeypatch.setattr(ChatCounter, "ready", property(lambda counter: False))
    monkeypatch.setattr(ChatCounter, "load", lambda counter: loads.append(1))
    budget = TokenBudget(context_window=100_000)
    await send(
        budget, ScriptedTransport("ok"), ask(1, tools=[{"type": "function", "function": {"name": "f"}}])
    )
    assert loads == [1]
    with pytest.raises(ModelInvalidRequestError, match=r"messages\[0\]"):
        await send(
            budget, ScriptedTransport("ok"), Request(messages=[{"role": "user", "content": 3}], model="m")
        )
    assert loads == [1]


async def test_what_bytes_prove_needs_no_vocabulary(monkeypatch) -> None:
    """A short conversation is sent without loading anything."""
    monkeypatch.setattr(ChatCounter, "ready", property(lambda counter: False))
    monkeypatch.setattr(ChatCounter, "load", lambda counter: pytest.fail("not needed"))
    await send(TokenBudget(context_window=100_000), ScriptedTransport("ok"), ask(1))


async def test_a_system_prompt_beside_the_messages_takes_its_share() -> None:
    """Anthropic's shape has the system prompt outside of the list: its tokens are taken off all the same."""
    transport = ScriptedTransport("ok")
    messages = [*turns(20), {"role": "user", "content": "And now?"}]
    await send(
        TokenBudget(context_window=800),
        transport,
        Request(messages=messages, model="gpt-4o", params={"system": "word " * 300}),
    )
    assert 0 < size(transport.requests[0].messages) <= 800 - 300


async def test_what_an_image_costs_is_checked_at_construction() -> None:
    """A wrong constant is refused when the stage is made, not when it first counts."""
    with pytest.raises(ValueError, match="image_tokens must be 0 or more"):
        TokenBudget(image_tokens=-1)
