"""A summary in the place of what is dropped."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokens.histories import SEEDS, SHAPES, assistant, history, system, turn_starts, user

from resilient_llm.errors import TokenLimitExceededError
from resilient_llm.tokens import ChatCounter, prune
from resilient_llm.tokens.summarizing import HEADING, Summarize

COUNTER = ChatCounter("gpt-4o")


async def summarized(strategy: Summarize, messages, budget: int):
    return await strategy.summarized(messages, strategy.prune(messages, budget, COUNTER), COUNTER)


def talk(turns: int) -> list[dict]:
    return [
        system("Be terse."),
        *(m for n in range(turns) for m in (user(f"question {n} " * 10), assistant(f"answer {n} " * 10))),
        user("And now?"),
    ]


async def test_a_summary_stands_behind_the_instructions():
    """It tells of what was dropped, all of it and nothing else, and the result fits."""
    seen = []

    def write(dropped):
        seen.extend(dropped)
        return "They talked."

    messages = talk(10)
    result = await summarized(Summarize(write, tokens=20), messages, 200)
    kept = result.messages
    assert kept[0] == messages[0]
    assert kept[1] == {"role": "system", "content": HEADING + "They talked."}
    assert kept[2]["role"] == "user"
    assert [messages[0], *seen, *kept[2:]] == messages
    assert COUNTER.conversation(kept) == result.tokens == result.report.tokens_after <= 200
    assert (result.report.dropped, result.report.summarized) == (len(seen), True)


async def test_the_function_may_be_awaited_and_may_give_a_message():
    """A coroutine's result serves as well; a message is taken as it is."""
    message = {"role": "developer", "content": "They talked."}

    async def write(_dropped):
        return message

    result = await summarized(Summarize(write, tokens=30), talk(10), 300)
    assert result.messages[1] is message


async def test_for_anthropic_s_shape_the_summary_is_a_user_s():
    """Its list holds no system messages; the conversation still begins with a user."""
    messages = talk(10)[1:]
    result = await summarized(Summarize(lambda _: "They talked.", tokens=20, role="user"), messages, 200)
    assert [m["role"] for m in result.messages[:2]] == ["user", "user"]


async def test_a_long_summary_is_shortened_and_a_long_message_left_out():
    """The budget is kept whatever the function gives."""
    text = await summarized(Summarize(lambda _: "word " * 999, tokens=50), talk(10), 300)
    assert text.report.summarized
    assert text.tokens <= 300
    message = await summarized(Summarize(lambda _: user("word " * 999), tokens=50), talk(10), 300)
    assert not message.report.summarized
    assert len(message.messages) == len(text.messages) - 1


@pytest.mark.parametrize("nothing", [None, "", {}])
async def test_no_summary_is_an_answer_too(nothing):
    """The conversation is then merely pruned."""
    result = await summarized(Summarize(lambda _: nothing, tokens=20), talk(10), 200)
    assert not result.report.summarized
    assert result.messages[1]["role"] == "user"


async def test_an_earlier_summary_is_summarized_with_the_rest():
    """Whoever goes on with what was sent does not collect summaries."""
    seen = []
    strategy = Summarize(lambda dropped: seen.append(dropped) or "They talked.", tokens=20)
    messages = talk(10)
    for turn in range(5):
        messages = (await summarized(strategy, messages, 200)).messages
        messages += [assistant(f"news {turn} " * 12), user("And now?")]
    assert sum(m["content"].startswith(HEADING) for m in messages) == 1
    assert seen[-1][0]["content"] == HEADING + "They talked."


async def test_without_room_for_a_summary_nothing_is_asked():
    """If the newest turn fills the budget, it is kept and the function is not called."""
    messages = [user("old " * 50), user("new " * 50)]
    budget = COUNTER.conversation(messages[1:]) + 5
    strategy = Summarize(lambda _: pytest.fail("called"), tokens=20)
    result = await summarized(strategy, messages, budget)
    assert result.messages == messages[1:]
    with pytest.raises(TokenLimitExceededError):
        strategy.prune(messages, 20, COUNTER)


async def test_what_fits_needs_no_summary():
    """Nothing is dropped, nobody is asked."""
    messages = talk(3)
    result = await summarized(Summarize(lambda _: pytest.fail("called")), messages, 10_000)
    assert (result.messages, result.report) == (messages, None)


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=SEEDS, share=st.floats(0.05, 1.1), words=st.integers(0, 60))
@settings(max_examples=50, deadline=None)
async def test_with_a_summary_all_promises_hold(shape, seed, share, words):
    """Fits, instructions and newest turn kept, begins with a user behind the instructions, input left alone."""
    messages = history(seed, shape)
    budget = int(COUNTER.conversation(messages) * share)
    before = copy.deepcopy(messages)
    strategy = Summarize(
        lambda _: "word " * words, tokens=30, role="user" if shape == "anthropic" else "system"
    )
    try:
        result = await summarized(strategy, messages, budget)
    except TokenLimitExceededError:
        with pytest.raises(TokenLimitExceededError):
            prune(messages, budget, COUNTER)
        return
    assert messages == before
    kept = result.messages
    assert COUNTER.conversation(kept) <= budget
    head, starts = turn_starts(messages)
    assert kept[:head] == messages[:head]
    newest = messages[starts[-1] :]
    assert kept[-len(newest) :] == newest
    if result.report is None:
        assert kept == messages
    else:
        assert kept[turn_starts(kept)[0]]["role"] == "user"
        again = strategy.prune(kept, budget, COUNTER)
        assert (again.messages, again.report) == (kept, None)


@pytest.mark.parametrize(
    ("options", "error"),
    [({"tokens": -1}, ValueError), ({"role": "tool"}, ValueError), ({"function": 3}, TypeError)],
)
def test_wrong_options_are_refused(options, error):
    """At construction."""
    with pytest.raises(error):
        Summarize(**({"function": str} | options))
