"""Pruning: six properties that hold for every conversation, and what happens at the edges."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokens.histories import SEEDS, SHAPES, assistant, check_whole_turns, history, system, turn_starts, user

from resilient_llm.errors import TokenLimitExceededError
from resilient_llm.tokens import ChatCounter, MalformedMessageError, prune
from resilient_llm.tokens.vocabulary import Vocabulary

O200K = ChatCounter("gpt-4o")
UNKNOWN = ChatCounter("some-local-model")
COUNTERS = st.sampled_from([O200K, UNKNOWN])


def expected(messages, budget, counter):
    """The best tail, found by trying all of them; None if not even the newest turn fits."""
    head, starts = turn_starts(messages)
    for start in starts:
        candidate = messages[:head] + messages[start:]
        if counter.conversation(candidate) <= budget:
            return candidate
    return None


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=SEEDS, share=st.floats(0, 1.1), counter=COUNTERS)
@settings(max_examples=150, deadline=None)
def test_pruning_keeps_its_promises(shape, seed, share, counter):
    """System kept, starts at a user, calls paired, nothing altered, newest kept, fits; the longest tail."""
    messages = history(seed, shape)
    budget = int(counter.conversation(messages) * share)
    before = copy.deepcopy(messages)
    best = expected(messages, budget, counter)
    head, starts = turn_starts(messages)
    if best is None:
        needed = counter.conversation(messages[:head] + messages[starts[-1] :])
        with pytest.raises(
            TokenLimitExceededError, match=f"need {needed} tokens, {needed - budget} more"
        ) as caught:
            prune(messages, budget, counter)
        assert (caught.value.context_limit, caught.value.context_requested) == (budget, needed)
        return
    result = prune(messages, budget, counter)
    kept = result.messages
    assert messages == before
    assert len(kept) == len(best)
    assert all(one is other for one, other in zip(kept, best, strict=True))
    check_whole_turns(messages, kept)
    assert counter.conversation(kept) <= budget
    assert result.tokens in {None, counter.conversation(kept)}
    again = prune(kept, budget, counter)
    assert again.messages == kept
    assert again.report is None


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=SEEDS, share=st.floats(0, 1.1))
@settings(max_examples=60, deadline=None)
def test_the_report_says_what_was_dropped(shape, seed, share):
    """Number, sizes and budget; nothing dropped, no report."""
    messages = history(seed, shape)
    total = O200K.conversation(messages)
    budget = int(total * share)
    if expected(messages, budget, O200K) is None:
        return
    result = prune(messages, budget, O200K)
    if len(result.messages) == len(messages):
        assert result.report is None
    else:
        assert result.report is not None
        assert result.report.dropped == len(messages) - len(result.messages)
        assert result.report.tokens_before == total
        assert result.report.tokens_after == O200K.conversation(result.messages)
        assert result.report.budget == budget
        assert result.report.exact


@pytest.mark.parametrize("spare", [0, -1])
def test_the_budget_may_be_used_to_the_last_token(spare):
    """A turn that exactly uses the budget up is kept; one token less and it is dropped."""
    messages = [system("s"), user("oldest " * 30), user("older " * 30), user("newest")]
    best = [messages[0], *messages[2:]]
    kept = prune(messages, O200K.conversation(best) + spare, O200K).messages
    assert kept == (best if spare == 0 else [messages[0], messages[3]])


def test_an_estimate_is_reported_as_one():
    """The report says whether the tokens were counted with the model's own vocabulary."""
    report = prune([user("word " * 50), user("hello")], 30, UNKNOWN).report
    assert report is not None
    assert not report.exact


def test_an_empty_conversation_stays_empty():
    """There is nothing to drop and nothing to refuse."""
    assert prune([], 0, O200K).messages == []


def test_instructions_alone_are_kept_or_refused():
    """System messages are never dropped, not even when nothing else is there."""
    messages = [system("Be terse. " * 10), {"role": "developer", "content": "And kind."}]
    size = O200K.conversation(messages)
    assert prune(messages, size, O200K).messages == messages
    with pytest.raises(
        TokenLimitExceededError, match=f"need {size} tokens, 1 more than the budget of {size - 1}"
    ):
        prune(messages, size - 1, O200K)


def test_a_later_system_message_goes_with_its_turn():
    """Only leading instructions are protected."""
    messages = [user("old " * 40), system("Now in French."), assistant("Bien. " * 40), user("new")]
    assert prune(messages, 30, O200K).messages == [messages[3]]


def test_a_greeting_is_the_oldest_turn():
    """What stands before the first user message goes first, and goes whole."""
    messages = [
        system("s"),
        assistant("Welcome! " * 20),
        assistant("Ask me. " * 20),
        user("hi"),
        assistant("Hello."),
    ]
    assert prune(messages, O200K.conversation(messages) - 1, O200K).messages == [messages[0], *messages[3:]]


def test_a_conversation_without_a_user_is_one_turn():
    """A prefill or a greeting alone is kept whole or refused."""
    messages = [system("s"), assistant("Welcome! " * 20), assistant("Ask me. " * 20)]
    size = O200K.conversation(messages)
    assert prune(messages, size, O200K).messages == messages
    with pytest.raises(TokenLimitExceededError, match="1 more than"):
        prune(messages, size - 1, O200K)


def test_user_messages_in_a_row_are_turns_of_their_own():
    """The older of two can be dropped without the newer."""
    messages = [user("old " * 40), user("new")]
    assert prune(messages, 30, O200K).messages == [messages[1]]


def test_a_negative_budget_holds_nothing():
    """Tools that fill the window leave less than nothing; the shortfall counts from there."""
    with pytest.raises(TokenLimitExceededError, match="need 8 tokens, 18 more than the budget of -10"):
        prune([user("hello")], -10, O200K)


def test_a_malformed_message_is_reported_with_its_index():
    """In the instructions as well as in the turns."""
    for messages in ([system("s"), None], [user("u"), "no message"]):
        with pytest.raises(MalformedMessageError, match=r"messages\[1\] must be a mapping with a role"):
            prune(messages, 100, O200K)


def test_any_sequence_will_do():
    """A tuple is as good as a list."""
    assert prune((user("old " * 40), user("new")), 30, O200K).messages == [user("new")]


class Words:
    """A counter by words that notes which messages it was asked for."""

    exact = False
    primer = 0

    def __init__(self) -> None:
        self.counted: list[str] = []

    def message(self, message):
        self.counted.append(message["content"])
        return len(message["content"].split())

    def bound(self, message):
        return len(message["content"])


def test_only_the_newest_messages_are_counted():
    """The walk stops where the budget is used up: its cost does not grow with the conversation."""
    words = Words()
    messages = [user(f"message number {index} of many") for index in range(10_000)]
    result = prune(messages, 50, words)
    assert len(result.messages) == 10
    assert len(words.counted) == 11


def test_pruning_10_000_messages_counts_the_texts_that_are_kept(monkeypatch):
    """Of all texts less than 1 % is counted for 8,000 tokens, and for the next turn its own text alone."""
    counted = []
    count = Vocabulary.count
    monkeypatch.setattr(Vocabulary, "count", lambda self, text: counted.append(text) or count(self, text))
    words = [f"{number:04} lines of the report were read by someone" for number in range(1_000)]
    messages = [
        (user if place % 2 == 0 else assistant)(" ".join(words[place % 900 : place % 900 + 20]) + f" {place}")
        for place in range(10_000)
    ]
    counter = ChatCounter("gpt-4o")
    prune(messages, 8_000, counter)
    everything = sum(len(message["content"]) for message in messages)
    assert sum(map(len, counted)) < everything / 100
    counted.clear()
    prune([*messages, user("And now?")], 8_000, counter)
    assert counted == ["And now?"]


def test_a_fit_that_bytes_prove_counts_nothing():
    """No vocabulary is needed for a short conversation."""
    words = Words()
    assert prune([user("a short message")], 50, words).report is None
    assert words.counted == []


def test_the_size_of_a_long_history_is_estimated():
    """What was dropped is not counted if it is much; the report's estimate is of the right size."""
    messages = [user(f"Message number {index} of this quite ordinary history.") for index in range(5_000)]
    report = prune(messages, 500, O200K).report
    assert report is not None
    assert report.tokens_before == pytest.approx(O200K.conversation(messages), rel=0.1)
