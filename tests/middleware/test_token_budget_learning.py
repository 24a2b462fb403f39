"""TokenBudget learns from what backends report: ratios, and prompts cut without a word."""

from __future__ import annotations

import warnings

import attrs
import pytest

from resilient_llm.errors import ModelContextLengthError, TokenLimitExceededError
from resilient_llm.events import Finish, TextDelta, UsageEvent
from resilient_llm.middleware.token_budget import TokenBudget
from resilient_llm.models import PromptCut, Request, Usage
from resilient_llm.pipeline import Pipeline
from resilient_llm.testing import ScriptedTransport
from resilient_llm.tokens import TokenTracker

PROSE = "the quick brown fox jumps over the lazy dog and then it sleeps for a while. "


def ask(turns: int, model: str = "local", *, stream: bool = False, prose: str = PROSE) -> Request:
    messages = [{"role": "system", "content": "Be terse."}]
    for number in range(turns):
        messages += [
            {"role": "user", "content": f"question {number}: {prose}"},
            {"role": "assistant", "content": f"answer {number}: {prose}"},
        ]
    messages.append({"role": "user", "content": "And now?"})
    return Request(messages=messages, model=model, stream=stream)


def size(messages, model: str = "local") -> int:
    return TokenTracker(model).count_conversation_tokens(messages)


def answer(tokens: int | None) -> list:
    usage = [] if tokens is None else [UsageEvent(Usage(prompt_tokens=tokens))]
    return [TextDelta("ok"), *usage, Finish("stop")]


async def send(budget: TokenBudget, transport, request: Request):
    return await (await Pipeline([budget], transport)(request)).completion()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_model_that_counts_more_gets_less(stream) -> None:
    """If the backend reports twice our tokens, the next prompt is pruned to half of the window in ours."""
    request = ask(20, stream=stream)
    budget = TokenBudget(context_window=2 * size(request.messages), margin=0)
    transport = ScriptedTransport(answer(2 * size(request.messages)))
    done = await send(budget, transport, request)
    assert done.pruned is None
    done = await send(budget, transport, ask(25, stream=stream))
    assert size(done.sent) <= size(request.messages)
    assert done.pruned is not None


async def test_a_model_that_counts_less_changes_nothing() -> None:
    """The estimate stays on the safe side."""
    request = ask(20)
    budget = TokenBudget(context_window=size(request.messages), margin=0)
    transport = ScriptedTransport(answer(size(request.messages) // 2))
    await send(budget, transport, request)
    done = await send(budget, transport, ask(40))
    assert size(done.sent) <= size(request.messages)


async def test_a_known_vocabulary_needs_no_correction() -> None:
    """What OpenAI reports beyond our count is no matter of the vocabulary, and is not learned."""
    request = ask(20, "gpt-4o")
    window = size(request.messages, "gpt-4o")
    budget = TokenBudget(context_window=window)
    await send(budget, ScriptedTransport(answer(3 * window)), request)
    done = await send(budget, ScriptedTransport(answer(3 * window)), request)
    assert done.pruned is None


async def test_models_are_told_apart() -> None:
    """One model's ratio says nothing about another."""
    request = ask(20)
    window = size(request.messages)
    budget = TokenBudget(context_window=window, margin=0)
    await send(budget, ScriptedTransport(answer(2 * window)), request)
    done = await send(budget, ScriptedTransport(answer(1)), attrs.evolve(request, model="other"))
    assert done.pruned is None


async def test_a_backend_that_tells_nothing_teaches_nothing() -> None:
    """Without usage the next call is what the first was."""
    request = ask(20)
    budget = TokenBudget(context_window=size(request.messages), margin=0)
    for _ in range(2):
        done = await send(budget, ScriptedTransport(answer(None)), request)
        assert done.pruned is None


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_prompt_cut_without_a_word_is_noticed_and_learned(stream) -> None:
    """Far fewer tokens reported than words sent: a warning, a notice, and prompts are pruned here from then on."""
    request = ask(200, stream=stream)
    assert size(request.messages) > 6_000
    budget, notices = TokenBudget(), []
    transport = ScriptedTransport(answer(2_000))
    with pytest.warns(RuntimeWarning, match="2000 tokens, far fewer.*taken for 2048 tokens"):
        done = await send(budget, transport, attrs.evolve(request, observers=(notices.append,)))
    assert done.pruned is None
    assert PromptCut(2_000, 2_048) in notices
    done = await send(budget, transport, request)
    assert size(done.sent) <= 2_048
    assert done.sent[0] == request.messages[0]


async def test_it_is_warned_of_once() -> None:
    """Prompts that fit the learned window raise no second warning; one that is cut again lowers it once more."""
    budget, request = TokenBudget(), ask(40, prose=4 * PROSE)
    with pytest.warns(RuntimeWarning, match="taken for 2048 tokens"):
        await send(budget, ScriptedTransport(answer(1_100)), request)
    with pytest.warns(RuntimeWarning, match="taken for 1150 tokens"):
        await send(budget, ScriptedTransport(answer(1_150)), request)
    for tokens in (1_150, 1_000, 700):
        await send(budget, ScriptedTransport(answer(tokens)), request)


async def test_a_warning_that_is_an_error_spoils_no_answer() -> None:
    """An account must not raise: the answer is the caller's all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = await send(TokenBudget(), ScriptedTransport(answer(2_000)), ask(200))
    assert done.text == "ok"


@pytest.mark.parametrize("tokens", [12, 400])
async def test_an_odd_report_is_no_cut(tokens) -> None:
    """A few tokens of a long prompt: a backend that leaves out what it had in a cache."""
    budget = TokenBudget()
    for _ in range(2):
        done = await send(budget, ScriptedTransport(answer(tokens)), ask(200))
        assert done.pruned is None


async def test_a_backend_that_took_more_before_has_cut_nothing() -> None:
    """A later report of less is a matter of its cache."""
    budget = TokenBudget()
    await send(budget, ScriptedTransport(answer(6_500)), ask(200))
    done = await send(budget, ScriptedTransport(answer(800)), ask(200))
    assert done.pruned is None


async def test_a_ratio_from_a_refusal_that_is_beyond_belief_is_used_once() -> None:
    """The call itself is pruned by it; the next ones by no more than a factor of eight."""
    request = ask(60)
    refusal = ModelContextLengthError(
        "too long", context_limit=4_000, context_requested=40 * size(request.messages)
    )
    budget = TokenBudget()
    transport = ScriptedTransport(refusal, "ok")
    await send(budget, transport, request)
    assert size(transport.requests[1].messages) <= 100
    done = await send(budget, transport, request)
    assert 300 <= size(done.sent) <= 500


class Tokenizer:
    """Counts so many times our tokens, or fails."""

    def __init__(self, ratio: float = 1.0, *, fails: Exception | None = None) -> None:
        self.ratio = ratio
        self.fails = fails
        self.asked: list = []

    async def count_tokens(self, prompt, *, model="", tools=None) -> int:
        self.asked.append((list(prompt), model, tools))
        if self.fails:
            raise self.fails
        return int(size(prompt) * self.ratio)


async def test_a_tokenizer_that_counts_less_keeps_more() -> None:
    """Measured, an estimate may be corrected downwards as well: fewer turns are dropped."""
    request = ask(60)
    window = size(request.messages) // 2
    plain = await send(TokenBudget(context_window=window), ScriptedTransport("ok"), request)
    tokenizer = Tokenizer(0.7)
    asked = await send(
        TokenBudget(context_window=window, tokenizer=tokenizer), ScriptedTransport("ok"), request
    )
    assert len(asked.sent) > len(plain.sent)
    assert size(asked.sent) * 0.7 <= window
    assert len(tokenizer.asked) == 1
    assert tokenizer.asked[0][1:] == ("local", None)


async def test_a_tokenizer_that_counts_more_keeps_less() -> None:
    """A conversation that fits by our estimate, but not by the backend's count, is pruned before it is sent."""
    request = ask(60)
    window = int(size(request.messages) * 1.2)
    budget = TokenBudget(context_window=window, tokenizer=Tokenizer(2.0))
    done = await send(budget, ScriptedTransport("ok"), request)
    assert size(done.sent) * 2 <= window
    assert done.pruned is not None


async def test_a_conversation_that_is_counted_to_fit_is_sent_as_it_is() -> None:
    """Near the limit, counted, and whole."""
    request = ask(60)
    budget = TokenBudget(context_window=int(size(request.messages) * 1.1), tokenizer=Tokenizer(1.04))
    done = await send(budget, ScriptedTransport("ok"), request)
    assert done.pruned is None


async def test_a_tokenizer_is_asked_once_for_a_prompt() -> None:
    """The same conversation and tools again: from memory. Other tools: asked again."""
    tokenizer = Tokenizer()
    request = ask(60)
    budget = TokenBudget(context_window=size(request.messages), tokenizer=tokenizer)
    for _ in range(3):
        await send(budget, ScriptedTransport("ok"), request)
    assert len(tokenizer.asked) == 1
    tools = [{"type": "function", "function": {"name": "f"}}]
    await send(budget, ScriptedTransport("ok"), attrs.evolve(request, params={"tools": tools}))
    assert [asked[2] for asked in tokenizer.asked] == [None, tools]


@pytest.mark.parametrize("case", ["far from the limit", "bytes prove it", "known vocabulary"])
async def test_a_tokenizer_is_not_asked_in_vain(case) -> None:
    """Where the estimate is less than half of the budget, or exact, nobody is asked."""
    request = ask(60, "gpt-4o" if case == "known vocabulary" else "local")
    share = {"far from the limit": 2.2, "bytes prove it": 20, "known vocabulary": 1}[case]
    budget = TokenBudget(
        context_window=int(size(request.messages) * share), tokenizer=Tokenizer(fails=OSError())
    )
    await send(budget, ScriptedTransport("ok"), request)
    assert budget.tokenizer.asked == []


async def test_a_tokenizer_that_fails_is_done_without() -> None:
    """The estimate serves; after three failures in a row it is not asked any more, and one warning says so."""
    tokenizer = Tokenizer(fails=OSError("no such route"))
    budget = TokenBudget(context_window=2_000, tokenizer=tokenizer)
    plain = await send(TokenBudget(context_window=2_000), ScriptedTransport("ok"), ask(104))
    for turns in (100, 101):
        await send(budget, ScriptedTransport("ok"), ask(turns))
    with pytest.warns(RuntimeWarning, match="failed 3 times"):
        await send(budget, ScriptedTransport("ok"), ask(102))
    for turns in (103, 104):
        done = await send(budget, ScriptedTransport("ok"), ask(turns))
    assert len(tokenizer.asked) == 3
    assert len(done.sent) == len(plain.sent)


async def test_a_failure_now_and_then_is_forgiven() -> None:
    """An answer in between starts the counting of failures anew."""
    tokenizer = Tokenizer()
    budget = TokenBudget(context_window=2_000, tokenizer=tokenizer)
    for turns in range(100, 108):
        tokenizer.fails = OSError("busy") if turns % 3 else None
        await send(budget, ScriptedTransport("ok"), ask(turns))
    assert len(tokenizer.asked) == 8


async def test_a_count_of_nothing_is_no_count() -> None:
    """A tokenizer that answers 0 is not believed."""
    budget = TokenBudget(context_window=2_000, tokenizer=Tokenizer(0.0))
    done = await send(budget, ScriptedTransport("ok"), ask(100))
    assert size(done.sent) <= 2_000


LONG_TURN = Request(messages=[*ask(3).messages[:-1], {"role": "user", "content": 30 * PROSE}], model="local")


async def test_a_turn_that_does_not_fit_by_the_estimate_is_counted_before_it_is_refused() -> None:
    """The estimate is on the safe side; a tokenizer may know that the newest turn fits, and how much beside it."""
    window = int(size(LONG_TURN.messages[-1:]) * 0.9)
    with pytest.raises(TokenLimitExceededError):
        await send(TokenBudget(context_window=window), ScriptedTransport("ok"), LONG_TURN)
    tokenizer = Tokenizer(0.7)
    done = await send(
        TokenBudget(context_window=window, tokenizer=tokenizer), ScriptedTransport("ok"), LONG_TURN
    )
    assert [asked[0] for asked in tokenizer.asked] == [[LONG_TURN.messages[0], LONG_TURN.messages[-1]]]
    assert 2 < len(done.sent) < len(LONG_TURN.messages)
    assert size(done.sent) * 0.7 <= window


@pytest.mark.parametrize(
    "tokenizer", [Tokenizer(1.0), Tokenizer(fails=OSError("down"))], ids=["counts", "fails"]
)
async def test_a_turn_that_surely_does_not_fit_is_refused(tokenizer) -> None:
    """By the count, or by the estimate where nobody counts."""
    budget = TokenBudget(context_window=int(size(LONG_TURN.messages[-1:]) * 0.9), tokenizer=tokenizer)
    transport = ScriptedTransport("ok")
    with pytest.raises(TokenLimitExceededError, match="more than the budget"):
        await send(budget, transport, LONG_TURN)
    assert transport.requests == []
    assert len(tokenizer.asked) == 1
