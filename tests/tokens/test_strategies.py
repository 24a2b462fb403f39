"""Strategies: what each keeps, and that all of them keep what pruning promises."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokens.histories import SEEDS, SHAPES, assistant, check_whole_turns, history, system, turn_starts, user

from resilient_llm.errors import TokenLimitExceededError
from resilient_llm.tokens import ChatCounter, MalformedMessageError, prune
from resilient_llm.tokens.shortening import ShortenResults, shorten
from resilient_llm.tokens.strategies import KeepFirstTurn, OldestFirst, strategy_of

COUNTER = ChatCounter("gpt-4o")
STRATEGIES = [OldestFirst(), KeepFirstTurn(), ShortenResults(tokens=32)]


def pruned(strategy, messages, budget):
    try:
        return strategy.prune(messages, budget, COUNTER)
    except TokenLimitExceededError:
        return None


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: type(strategy).__name__)
@given(seed=SEEDS, share=st.floats(0.05, 1.1))
@settings(max_examples=80, deadline=None)
def test_every_strategy_keeps_the_promises_of_pruning(strategy, shape, seed, share):
    """Fits, whole turns, newest kept, input left alone, idempotent; infeasible only where nothing else would fit."""
    messages = history(seed, shape)
    total = COUNTER.conversation(messages)
    budget = int(total * share)
    before = copy.deepcopy(messages)
    result = pruned(strategy, messages, budget)
    assert messages == before
    if result is None:
        assert pruned(OldestFirst(), messages, budget) is None
        return
    kept = result.messages
    size = COUNTER.conversation(kept)
    assert size <= budget
    check_whole_turns(messages, kept)
    assert result.tokens in {None, size}
    again = strategy.prune(kept, budget, COUNTER)
    assert (again.messages, again.report) == (kept, None)
    assert (result.report is None) == (kept == messages)
    if result.report is not None:
        assert result.report.dropped == len(messages) - len(kept)
        assert (result.report.tokens_before, result.report.tokens_after) == (total, size)


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=SEEDS, share=st.floats(0.05, 1.1))
@settings(max_examples=80, deadline=None)
def test_the_first_turn_is_kept_and_the_longest_tail_beside_it(shape, seed, share):
    """Found by trying all tails; if none fits beside the first turn, the result is the plain one."""
    messages = history(seed, shape)
    budget = int(COUNTER.conversation(messages) * share)
    head, starts = turn_starts(messages)
    turns = [start for start in starts if messages[start]["role"] == "user"]
    first = messages[turns[0] : [*turns, len(messages)][1]]
    wholes = [messages] + [messages[:head] + first + messages[start:] for start in turns[1:]]
    best = next((whole for whole in wholes if COUNTER.conversation(whole) <= budget), None)
    result = pruned(KeepFirstTurn(), messages, budget)
    if best is None or len(turns) == 1:
        plain = pruned(OldestFirst(), messages, budget)
        assert (result and result.messages) == (plain and plain.messages)
    else:
        assert result is not None
        assert result.messages == best


LONG = "0123456789 abc " * 200


def tool(text: str) -> list[dict]:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": text},
    ]


def test_results_are_shortened_before_turns_are_dropped_the_oldest_first():
    """With room for all turns but not for all results, the older results go short and nothing is dropped."""
    messages = [
        system("s"),
        *(m for n in range(3) for m in (user(f"q{n}"), *tool(LONG), assistant("a"))),
    ]
    budget = COUNTER.conversation(messages) - 1
    result = ShortenResults().prune(messages, budget, COUNTER)
    assert len(result.messages) == len(messages)
    assert [m is other for m, other in zip(result.messages, messages, strict=True)].index(False) == 3
    assert sum(m is not other for m, other in zip(result.messages, messages, strict=True)) == 1
    short = result.messages[3]["content"]
    assert COUNTER.text(short) <= 256
    assert short.startswith(LONG[:100])
    assert short.endswith(LONG[-50:])
    assert "characters left out" in short
    assert (result.report.dropped, result.report.shortened) == (0, 1)


def test_the_newest_turn_s_results_are_shortened_only_if_they_must_be():
    """They stay whole while older turns can be dropped, and go short before the call is refused."""
    messages = [user("old " * 30), assistant("a"), user("q"), *tool(LONG)]
    newest = COUNTER.conversation(messages[2:])
    result = ShortenResults().prune(messages, newest, COUNTER)
    assert result.messages == messages[2:]
    result = ShortenResults().prune(messages, newest - 1, COUNTER)
    assert result.messages[-3:-1] == messages[2:4]
    assert COUNTER.text(result.messages[-1]["content"]) <= 256
    with pytest.raises(TokenLimitExceededError, match="more than the budget of 60"):
        ShortenResults().prune(messages, 60, COUNTER)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "tool", "content": LONG},
        {"role": "function", "name": "f", "content": LONG},
        {"role": "tool", "content": [{"type": "text", "text": LONG}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": LONG}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "content": [{"type": "text", "text": LONG}, {"type": "image"}]},
                {"type": "text", "text": "and?"},
            ],
        },
    ],
)
def test_results_of_every_shape_are_shortened(message):
    """OpenAI's and Anthropic's, as text and as parts; all else in the message stays."""
    counter = ChatCounter("gpt-4o", image_tokens=10)
    before = copy.deepcopy(message)
    start = [user("q"), assistant("thinking")]
    kept = ShortenResults().prune([*start, message], 400, counter).messages[-1]
    assert message == before
    assert counter.message(kept) <= 400
    assert {key: kept[key] for key in kept if key != "content"} == {
        key: message[key] for key in message if key != "content"
    }
    assert "left out" in repr(kept["content"])


@pytest.mark.parametrize(
    "message",
    [
        {"role": "tool", "content": "short"},
        {"role": "tool", "content": None},
        {"role": "tool", "content": ["a", {"type": "image"}]},
        {"role": "user", "content": LONG},
        {"role": "user", "content": [{"type": "text", "text": LONG}, "a"]},
        {"role": "assistant", "content": LONG},
    ],
)
def test_other_messages_are_left_as_they_are(message):
    """Only results are shortened, and only long ones: the same object comes out."""
    old = [user("q"), *tool(LONG)]
    newest = [user("q"), message]
    budget = COUNTER.conversation([*old, *newest]) - 10
    assert ShortenResults().prune([*old, *newest], budget, COUNTER).messages[-1] is message


@given(text=st.text(max_size=400), tokens=st.integers(32, 60))
@settings(max_examples=100, deadline=None)
def test_a_shortened_text_is_short_enough(text, tokens):
    """For any text and any limit; a text within the limit is returned as it is."""
    short = shorten(text, tokens, COUNTER.text)
    assert COUNTER.text(short) <= tokens
    assert short == text or COUNTER.text(text) > tokens


def test_a_text_that_is_denser_at_its_ends_is_shortened_further():
    """The first guess assumes that the tokens are spread evenly; where they are not, less is kept."""
    text = "漢字仮名" * 100 + " " * 5_000 + "漢字仮名" * 100
    assert COUNTER.text(shorten(text, 100, COUNTER.text)) <= 100


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: type(strategy).__name__)
@pytest.mark.parametrize("bad", [None, "text", {"role": "user", "content": 3}])
def test_a_malformed_message_is_reported_with_its_index(strategy, bad):
    """Whatever the strategy, the caller learns which message it is."""
    messages = [system("s"), user("a " * 60), user("b " * 60), bad]
    with pytest.raises(MalformedMessageError, match=r"messages\[3\]"):
        strategy.prune(messages, 100, COUNTER)


@pytest.mark.parametrize("messages", [[], [system("s " * 50)], [assistant("a " * 50)]])
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: type(strategy).__name__)
def test_conversations_without_a_user_turn(strategy, messages):
    """Nothing, instructions alone, a greeting alone: kept, or refused like with the plain strategy."""
    for budget in (1_000, 60, 10):
        try:
            plain = prune(messages, budget, COUNTER).messages
        except TokenLimitExceededError:
            with pytest.raises(TokenLimitExceededError):
                strategy.prune(messages, budget, COUNTER)
        else:
            assert strategy.prune(messages, budget, COUNTER).messages == plain


class Counting:
    """A counter that notes how many messages it was asked for."""

    exact = True
    primer = 0

    def __init__(self) -> None:
        self.counted = 0

    def text(self, text):
        return len(text.split())

    def message(self, message):
        self.counted += 1
        return self.text(message["content"])

    def bound(self, message):
        return len(message["content"])


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: type(strategy).__name__)
def test_the_cost_is_the_budget_s_not_the_conversation_s(strategy):
    """Of 10,000 messages as many are counted as fit into the budget, and a few more."""
    counter = Counting()
    messages = [user(f"message number {index} of many") for index in range(10_000)]
    assert len(strategy.prune(messages, 50, counter).messages) == 10
    assert counter.counted <= 40


def test_strategies_have_names():
    """Or are objects with a method `prune`; anything else is refused, and the names are told."""
    assert strategy_of("oldest_first") == OldestFirst()
    assert strategy_of("keep_first_turn") == KeepFirstTurn()
    assert strategy_of("shorten_results") == ShortenResults()
    own = KeepFirstTurn()
    assert strategy_of(own) is own
    with pytest.raises(ValueError, match="keep_first_turn, oldest_first, shorten_results or have"):
        strategy_of("newest_first")
    with pytest.raises(TypeError, match="have a method prune"):
        strategy_of(len)


@pytest.mark.parametrize(("tokens", "error"), [(31, ValueError), (-1, ValueError), (3.5, TypeError)])
def test_a_result_cannot_be_shortened_to_nothing(tokens, error):
    """The note of what was left out needs some room itself."""
    with pytest.raises(error, match="tokens must be"):
        ShortenResults(tokens=tokens)
