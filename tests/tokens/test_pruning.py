"""Pruning: six properties that hold for every conversation, and what happens at the edges."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_llm.errors import TokenLimitExceededError
from resilient_llm.tokens import ChatCounter, MalformedMessageError, prune

O200K = ChatCounter("gpt-4o")
UNKNOWN = ChatCounter("some-local-model")
WORDS = st.text("ab 漢1", max_size=30)


def system(text: str) -> dict:
    return {"role": "system", "content": text}


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict:
    return {"role": "assistant", "content": text}


@st.composite
def openai_round(draw):
    ids = [f"call_{draw(st.integers(0, 10**6))}" for _ in range(draw(st.integers(1, 3)))]
    calls = [
        {"id": name, "type": "function", "function": {"name": "f", "arguments": draw(WORDS)}} for name in ids
    ]
    return [
        {"role": "assistant", "content": None, "tool_calls": calls},
        *({"role": "tool", "tool_call_id": name, "content": draw(WORDS)} for name in ids),
    ]


@st.composite
def legacy_round(draw):
    return [
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": draw(WORDS)}},
        {"role": "function", "name": "f", "content": draw(WORDS)},
    ]


@st.composite
def anthropic_round(draw):
    ids = [f"toolu_{draw(st.integers(0, 10**6))}" for _ in range(draw(st.integers(1, 3)))]
    return [
        assistant(
            [{"type": "tool_use", "id": name, "name": "f", "input": {"a": draw(WORDS)}} for name in ids]
        ),
        user([{"type": "tool_result", "tool_use_id": name, "content": draw(WORDS)} for name in ids]),
    ]


@st.composite
def turns(draw):
    rounds = draw(st.lists(st.one_of(openai_round(), legacy_round(), anthropic_round()), max_size=2))
    answer = draw(st.lists(st.builds(assistant, WORDS), max_size=1))
    content = draw(st.one_of(WORDS, st.just([{"type": "text", "text": "look"}, {"type": "image_url"}])))
    return [user(content), *(message for each in rounds for message in each), *answer]


@st.composite
def conversations(draw):
    """Leading instructions, perhaps a greeting, and turns with tool rounds, answered or not."""
    leading = draw(
        st.lists(st.builds(lambda role, text: {"role": role, "content": text}, ROLES, WORDS), max_size=2)
    )
    greeting = draw(st.lists(st.builds(assistant, WORDS), max_size=2))
    body = [message for turn in draw(st.lists(turns(), min_size=1, max_size=6)) for message in turn]
    return [*leading, *greeting, *body]


ROLES = st.sampled_from(["system", "developer"])
COUNTERS = st.sampled_from([O200K, UNKNOWN])


def turn_starts(messages):
    """Independently of the code under test: where a tail may begin."""
    head = next(
        (i for i, m in enumerate(messages) if m["role"] not in {"system", "developer"}), len(messages)
    )
    users = [
        i
        for i, m in enumerate(messages)
        if i >= head
        and m["role"] == "user"
        and not (isinstance(m["content"], list) and m["content"][0].get("type") == "tool_result")
    ]
    return head, sorted({head, *users})


def calls_and_results(messages):
    """The ids of the calls and of the results in a conversation."""
    calls, results = [], []
    for message in messages:
        calls += [call["id"] for call in message.get("tool_calls", ())]
        calls += [None] if "function_call" in message else []
        results += [message["tool_call_id"]] if message["role"] == "tool" else []
        results += [None] if message["role"] == "function" else []
        for part in message["content"] if isinstance(message["content"], list) else ():
            calls += [part["id"]] if part.get("type") == "tool_use" else []
            results += [part["tool_use_id"]] if part.get("type") == "tool_result" else []
    return calls, results


def expected(messages, budget, counter):
    """The best tail, found by trying all of them; None if not even the newest turn fits."""
    head, starts = turn_starts(messages)
    for start in starts:
        candidate = messages[:head] + messages[start:]
        if counter.conversation(candidate) <= budget:
            return candidate
    return None


@given(conversations(), st.floats(0, 1.1), COUNTERS)
@settings(max_examples=300, deadline=None)
def test_pruning_keeps_its_promises(messages, share, counter):
    """System kept, starts at a user, calls paired, nothing altered, newest kept, fits; the longest tail."""
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
    assert kept[:head] == messages[:head]
    assert kept[-1] is messages[-1]
    assert len(kept) == len(messages) or kept[head]["role"] == "user"
    calls, results = calls_and_results(kept)
    assert sorted(map(str, calls)) == sorted(map(str, results))
    assert counter.conversation(kept) <= budget
    again = prune(kept, budget, counter)
    assert again.messages == kept
    assert again.report is None


@given(conversations(), st.floats(0, 1.1))
@settings(max_examples=100, deadline=None)
def test_the_report_says_what_was_dropped(messages, share):
    """Number, sizes and budget; nothing dropped, no report."""
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
