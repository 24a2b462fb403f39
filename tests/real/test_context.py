"""A conversation that outgrows a real window."""

from __future__ import annotations

import pytest
from real.llama import WINDOW

import resilient_llm as rl

pytestmark = pytest.mark.real

CHAT = "/v1/chat/completions"
TURN = "Tell me something about the river number {} and about the towns that lie on its banks, please."
LONG = [
    {"role": "system", "content": "Be terse."},
    *(
        {"role": role, "content": TURN.format(number)}
        for number in range(20)
        for role in ("user", "assistant")
    ),
    {"role": "user", "content": "And now name a single one of them."},
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_refused_conversation_is_pruned_and_sent_once_more(server, session, sent, stream):
    """The server's refusal teaches its window: pruned and sent again, and pruned up front from then on."""
    client = rl.AsyncClient("llamacpp", base_url=server.url, session=session)

    async def ask():
        if not stream:
            return await client.complete(LONG, max_tokens=8)
        async with client.stream(LONG, max_tokens=8) as response:
            return await response.completion()

    async with client:
        assert await client.count_tokens(LONG) > WINDOW
        done = await ask()
        assert (sent[CHAT], done.attempts) == (2, 2)
        assert isinstance(done.trace[0].error, rl.ModelContextLengthError)
        assert done.trace[0].error.context_limit == WINDOW
        assert done.trace[0].error.context_requested == await client.count_tokens(LONG)
        assert done.pruned is not None
        assert len(done.sent) == len(LONG) - done.pruned.dropped
        assert (done.sent[0], done.sent[-1]) == (LONG[0], LONG[-1])
        assert WINDOW / 2 < done.usage.prompt_tokens <= WINDOW - 8
        again = await ask()
        assert (sent[CHAT], again.attempts) == (3, 1)
        assert (again.pruned, again.sent) == (done.pruned, done.sent)


async def test_a_newest_turn_that_cannot_fit_is_refused_with_both_sizes(server, session, sent):
    """When nothing can be dropped, the error says so; once the window is known nothing is sent any more."""
    turn = [{"role": "user", "content": "river " * (WINDOW + 50)}]
    async with rl.AsyncClient("llamacpp", base_url=server.url, session=session) as client:
        with pytest.raises(rl.TokenLimitExceededError) as caught:
            await client.complete(turn, max_tokens=8)
        refusal = caught.value.__cause__
        assert isinstance(refusal, rl.ModelContextLengthError)
        assert (refusal.context_limit, refusal.context_requested) == (
            WINDOW,
            await client.count_tokens(turn),
        )
        assert sent[CHAT] == 1
        with pytest.raises(rl.TokenLimitExceededError):
            await client.complete(turn, max_tokens=8)
        assert sent[CHAT] == 1


async def test_an_answer_that_fills_the_window_is_complete(llm):
    """An answer cut by the end of the window ends with `length`, and is no error."""
    prompt = [{"role": "user", "content": "river " * (WINDOW - 60)}]
    done = await llm.complete(prompt, ignore_eos=True)
    assert done.finish_reason == "length"
    assert done.usage.total_tokens == WINDOW


RIVERS = "長江與黃河是中國最長的兩條河流沿岸有許多城鎮"
"""The model's tokenizer takes a third more tokens for this than we estimate."""


def chinese(turns: int) -> list[dict[str, str]]:
    talk = [{"role": "user", "content": f"{number}{RIVERS}"} for number in range(turns)]
    return [*talk, {"role": "user", "content": "And now?"}]


async def test_what_the_server_reports_corrects_the_next_estimate(server, session, sent):
    """After one answer the next prompt, which fits by the estimate alone, is pruned before it is sent, and taken."""
    from resilient_llm.tokens import ChatCounter  # noqa: PLC0415 - beside what it is compared with

    counter = ChatCounter("smollm2")
    small = next(n for n in range(50) if not counter.fits_by_bytes(chinese(n), WINDOW))  # so it is counted
    large = next(n for n in range(50) if counter.conversation(chinese(n + 1)) > WINDOW * 0.96 - 8)
    async with rl.AsyncClient(
        "llamacpp", model="smollm2", base_url=server.url, session=session, context_window=WINDOW
    ) as client:
        first = await client.complete(chinese(small), max_tokens=8)
        assert first.pruned is None
        assert first.usage.prompt_tokens > counter.conversation(chinese(small))
        assert await client.count_tokens(chinese(large)) > WINDOW
        second = await client.complete(chinese(large), max_tokens=8)
    assert second.pruned is not None
    assert (sent[CHAT], second.attempts) == (2, 1)
    assert second.usage.prompt_tokens <= WINDOW - 8


async def test_a_budget_that_asks_the_server_is_not_refused(server, session, sent):
    """A prompt that fits by the estimate alone is refused and sent again; by the server's count it is taken at once."""
    requests = []
    for asks in (False, True):
        transport = rl.LlamaCppTransport(server.url, session=session)
        budget = rl.TokenBudget(context_window=WINDOW, tokenizer=transport if asks else None)
        async with rl.AsyncClient(transport=transport, model="smollm2", token_budget=budget) as client:
            done = await client.complete(chinese(9), max_tokens=8)
        assert done.pruned is not None
        assert done.usage.prompt_tokens <= WINDOW - 8
        requests.append(done.attempts)
    assert requests == [2, 1]
    assert (sent[CHAT], sent["/apply-template"], sent["/tokenize"]) == (3, 1, 1)
