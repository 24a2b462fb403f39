"""A conversation behind a sliding window."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokens.histories import SEEDS, SHAPES, assistant, history, system, user

import resilient_llm as rl
from resilient_llm.errors import TokenLimitExceededError
from resilient_llm.testing import ScriptedTransport
from resilient_llm.tokens import ChatCounter, Conversation, MalformedMessageError, prune

COUNTER = ChatCounter("gpt-4o")


def pruned(messages, budget):
    try:
        return prune(messages, budget, COUNTER).messages
    except TokenLimitExceededError as error:
        return str(error)


def shown(talk):
    try:
        return talk.messages
    except TokenLimitExceededError as error:
        return str(error)


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=SEEDS, share=st.floats(0.05, 1.1), keep=st.booleans())
@settings(max_examples=50, deadline=None)
def test_at_every_moment_it_is_what_pruning_would_leave(shape, seed, share, keep):
    """After each message: the same messages as from the whole history, or the same refusal; sizes that add up."""
    messages = history(seed, shape)
    budget = max(1, int(COUNTER.conversation(messages) * share))
    talk = Conversation(max_tokens=budget, counter=COUNTER, keep_history=keep)
    for end, message in enumerate(messages, 1):
        talk.add(message)
        assert shown(talk) == pruned(messages[:end], budget)
        assert len(talk) == end
        if isinstance(shown(talk), list):
            assert talk.tokens == COUNTER.conversation(talk.messages) <= budget
            assert talk.dropped == end - len(talk.messages)
        if keep:
            assert talk.history == messages[:end]


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=SEEDS, share=st.floats(0.05, 1.1))
@settings(max_examples=50, deadline=None)
def test_taking_a_message_back_undoes_its_adding(shape, seed, share):
    """Whatever was added and taken back: what is shown is what pruning would leave of the rest."""
    rng, messages = Random(seed), history(seed, shape)
    budget = max(1, int(COUNTER.conversation(messages) * share))
    talk, kept = Conversation(max_tokens=budget, counter=COUNTER), []
    for message in messages:
        talk.add(message)
        kept.append(message)
        while rng.random() < 0.3 and kept and kept[-1]["role"] not in {"system", "developer"}:
            assert talk.pop() is kept.pop()
        assert (talk.history, shown(talk)) == (kept, pruned(kept, budget))


def test_without_a_history_what_slid_out_is_gone():
    """Taking a message back brings back only what was kept."""
    talk = Conversation("gpt-4o", max_tokens=30, keep_history=False)
    talk.add(user("old " * 15), user("new " * 15))
    assert talk.pop() == user("new " * 15)
    assert talk.messages == []
    assert (len(talk), talk.dropped) == (1, 1)
    talk.add(system("Later."), user("new " * 15), user("newer " * 15))  # no leading instruction any more
    assert talk.messages == [user("newer " * 15)]


class Counting:
    """A counter by words that notes which texts it was asked for."""

    exact = True
    primer = 3

    def __init__(self) -> None:
        self.counted = 0

    def message(self, message):
        self.counted += 1
        return len(message["content"].split())

    def definitions(self, tools=None):
        return len(tools or ())


def test_a_message_costs_its_own_counting_whatever_came_before():
    """One count for each message added to a history of 10,000, and none for looking at the window."""
    counter = Counting()
    talk = Conversation(max_tokens=50, counter=counter)
    for number in range(10_000):
        talk.add(user(f"message number {number} of many"))
    assert counter.counted == 10_000
    assert len(talk.messages) == 9
    talk.add(assistant("an answer"))
    assert len(talk.messages) == 10
    assert counter.counted == 10_001


def test_the_memory_can_be_bounded():
    """Without the history only the instructions and the window are held on to."""
    talk = Conversation(max_tokens=50, counter=Counting(), keep_history=False, system="Be terse.")
    for number in range(1_000):
        talk.add(user(f"message number {number} of many"))
    assert talk.history == talk.messages
    assert (len(talk), talk.dropped) == (1_001, 1_001 - len(talk.messages))
    assert talk._past is None


def test_tools_and_instructions_take_their_share():
    """As in the request that will be sent."""
    tools = [{"type": "function", "function": {"name": "add", "description": "word " * 40}}]
    bare, full = (Conversation("gpt-4o", max_tokens=500, tools=offered) for offered in (None, tools))
    assert full.tokens - bare.tokens == COUNTER.definitions(tools=tools)
    talk = Conversation("gpt-4o", max_tokens=500, system="Be terse.", tools=tools)
    talk.add(user("Hello"))
    assert talk.tokens == COUNTER.conversation(talk.messages, tools=tools)


@pytest.mark.parametrize("keep", [True, False])
def test_a_newest_turn_that_does_not_fit_pushes_nothing_out(keep):
    """It is refused with the shortfall when it is to be sent; taken back, all is as it was."""
    talk = Conversation("gpt-4o", max_tokens=60, system="Be terse.", keep_history=keep)
    talk.add(user("Hello"), assistant("Hi!"))
    before = talk.messages
    talk.add(user("word " * 100))
    needed = COUNTER.conversation([before[0], talk.history[-1]])
    with pytest.raises(TokenLimitExceededError, match=f"need {needed} tokens, {needed - 60} more") as caught:
        _ = talk.messages
    assert caught.value.context_requested == needed
    talk.pop()
    assert talk.messages == before


def test_a_turn_cut_short_lets_older_ones_out():
    """When the last of its messages is taken back and the rest fits, the window slides."""
    talk = Conversation("gpt-4o", max_tokens=60)
    talk.add(user("old " * 20), assistant("a"), user("word " * 30), assistant("word " * 60))
    assert isinstance(shown(talk), str)
    talk.pop()
    assert talk.messages == [user("word " * 30)]


def test_instructions_alone_can_be_too_long():
    """Then there is nothing to take back."""
    talk = Conversation("gpt-4o", max_tokens=10, system="word " * 30)
    with pytest.raises(TokenLimitExceededError):
        _ = talk.messages
    with pytest.raises(IndexError, match="no message to take back"):
        talk.pop()


def test_a_malformed_message_is_named_and_not_added():
    """With its place; what came before it is in."""
    talk = Conversation("gpt-4o", max_tokens=100, system="Be terse.")
    with pytest.raises(MalformedMessageError, match=r"messages\[2\]"):
        talk.add(user("Hello"), {"role": "user", "content": 3}, user("more"))
    assert talk.messages == [system("Be terse."), user("Hello")]


async def test_it_goes_with_the_client():
    """Send its messages, add the answer's message."""
    talk = rl.Conversation("gpt-4o", max_tokens=100, system="Be terse.")
    transport = ScriptedTransport("Rhine.", "Elbe.")
    async with rl.AsyncClient(transport=transport, model="gpt-4o") as llm:
        for question in ("Name a river.", "Another one."):
            talk.add(user(question))
            talk.add((await llm.complete(talk.messages)).message)
    assert [m["content"] for m in talk.messages] == [
        "Be terse.",
        "Name a river.",
        "Rhine.",
        "Another one.",
        "Elbe.",
    ]
    assert "Rhine" not in repr(talk)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "8k"])
def test_a_wrong_limit_is_refused(limit):
    """At construction."""
    with pytest.raises(ValueError, match="max_tokens must be a whole number above 0"):
        Conversation(max_tokens=limit)
