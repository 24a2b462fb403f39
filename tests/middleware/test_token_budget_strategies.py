"""TokenBudget with other strategies than dropping the oldest turns."""

from __future__ import annotations

import asyncio

import pytest

from resilient_llm.errors import ModelContextLengthError, ModelUnavailableError
from resilient_llm.middleware.deadline import Deadline
from resilient_llm.middleware.token_budget import TokenBudget
from resilient_llm.models import Request
from resilient_llm.pipeline import Pipeline
from resilient_llm.testing import ScriptedTransport, run_virtual
from resilient_llm.tokens import ShortenResults, Summarize, TokenTracker

DOWN = ModelUnavailableError("down")
LONG = "0123456789 abc " * 100


def ask(turns: int = 8) -> Request:
    messages = [{"role": "system", "content": "Be terse."}]
    for number in range(turns):
        call = {"id": f"c{number}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        messages += [
            {"role": "user", "content": f"question {number} " * 5},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"c{number}", "content": LONG},
            {"role": "assistant", "content": f"answer {number} " * 5},
        ]
    return Request(messages=[*messages, {"role": "user", "content": "And now?"}], model="gpt-4o")


def size(messages) -> int:
    return TokenTracker().count_conversation_tokens(messages)


async def send(budget: TokenBudget, transport, request: Request):
    return await (await Pipeline([budget], transport)(request)).completion()


async def test_the_first_turn_may_be_kept() -> None:
    """By the strategy's name."""
    done = await send(
        TokenBudget(context_window=2_000, strategy="keep_first_turn"), ScriptedTransport("ok"), ask()
    )
    assert done.sent[:2] == ask().messages[:2]
    assert size(done.sent) <= 2_000
    assert done.pruned.dropped > 0


async def test_results_may_be_shortened_first() -> None:
    """Nothing is dropped, the report says how many results went short, the caller's messages are as they were."""
    request = ask()
    budget = TokenBudget(context_window=3_000, strategy=ShortenResults(tokens=64))
    done = await send(budget, ScriptedTransport("ok"), request)
    assert len(done.sent) == len(request.messages)
    assert (done.pruned.dropped, done.pruned.shortened > 0) == (0, True)
    assert request.messages == ask().messages


async def test_a_refused_prompt_is_shortened_further() -> None:
    """The resend need not drop a message: shorter results make it smaller."""
    refusal = ModelContextLengthError("too long", context_limit=1_500)
    transport = ScriptedTransport(refusal, "ok")
    done = await send(TokenBudget(strategy="shorten_results"), transport, ask(3))
    assert len(transport.requests[1].messages) == len(transport.requests[0].messages)
    assert size(done.sent) <= 1_500


async def test_a_summary_stands_for_what_was_dropped() -> None:
    """An asynchronous function is awaited; the report says so."""

    async def write(dropped) -> str:
        await asyncio.sleep(0)
        return f"{len(dropped)} messages about questions."

    budget = TokenBudget(context_window=2_000, strategy=Summarize(write, tokens=50))
    done = await send(budget, ScriptedTransport("ok"), ask())
    assert done.sent[1]["content"].endswith(f"{done.pruned.dropped} messages about questions.")
    assert done.pruned.summarized
    assert done.pruned.tokens_after == size(done.sent) <= 2_000


async def test_a_summarizer_whose_model_fails_costs_the_summary_only() -> None:
    """An `LLMError` in it is no failure of the call; any other exception is the caller's own and is raised."""

    async def fail(_dropped) -> str:
        raise DOWN

    budget = TokenBudget(context_window=2_000, strategy=Summarize(fail, tokens=50))
    done = await send(budget, ScriptedTransport("ok"), ask())
    assert not done.pruned.summarized
    budget = TokenBudget(context_window=2_000, strategy=Summarize(lambda _: 1 / 0, tokens=50))
    with pytest.raises(ZeroDivisionError):
        await send(budget, ScriptedTransport("ok"), ask())


def test_a_summarizer_that_hangs_is_bounded_by_the_deadline() -> None:
    """Nothing inside may outlast the call's time."""

    async def hang(_dropped) -> str:
        await asyncio.sleep(1_000)
        return "late"

    async def main() -> float:
        budget = TokenBudget(context_window=2_000, strategy=Summarize(hang, tokens=50))
        started = asyncio.get_running_loop().time()
        with pytest.raises(Exception, match="deadline"):
            await Pipeline([Deadline(5), budget], ScriptedTransport("ok"))(ask())
        return asyncio.get_running_loop().time() - started

    assert run_virtual(main()) < 6


def test_wrong_strategies_are_refused() -> None:
    """At construction, with the names that there are."""
    with pytest.raises(ValueError, match="keep_first_turn, oldest_first, shorten_results"):
        TokenBudget(strategy="newest_first")
    with pytest.raises(TypeError, match="have a method prune"):
        TokenBudget(strategy=3)
