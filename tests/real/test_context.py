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
