"""Asking a tokenizer: in time, once, not for ever."""

from __future__ import annotations

import asyncio
import warnings

import pytest

import resilient_llm as rl
from resilient_llm.middleware.remote_count import PATIENCE, REMEMBERED, RemoteCount
from resilient_llm.models import Request
from resilient_llm.testing import run_virtual

ASK = Request(model="m", messages=[{"role": "user", "content": "Hello"}])


class Slow:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.cancelled = False
        self.asked = 0

    async def count_tokens(self, prompt, *, model="", tools=None) -> int:
        self.asked += 1
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return 7


def test_a_slow_tokenizer_is_not_waited_for() -> None:
    """An estimate is at hand: after two seconds the question is dropped, and what answered it is cancelled."""

    async def main() -> tuple[int | None, float]:
        started = asyncio.get_running_loop().time()
        tokens = await RemoteCount(slow).tokens(ASK, ASK.messages)
        return tokens, asyncio.get_running_loop().time() - started

    slow = Slow(60)
    assert run_virtual(main()) == (None, pytest.approx(PATIENCE))
    assert slow.cancelled


def test_a_cancelled_call_is_cancelled() -> None:
    """A cancellation from outside is no failure of the tokenizer, and passes through."""

    async def main() -> None:
        task = asyncio.create_task(RemoteCount(Slow(1)).tokens(ASK, ASK.messages))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(main())


class Refusing:
    async def count_tokens(self, prompt, *, model="", tools=None) -> int:
        raise rl.BackendFailure(500, {"set-cookie": "secret"}, b'{"error": "cannot read: Hello, the secret"}')


@pytest.mark.parametrize("action", ["default", "error"])
async def test_a_tokenizer_that_fails_is_given_up_with_a_warning(action) -> None:
    """Once, without what the backend quoted; where warnings are errors the call goes on all the same."""
    remote = RemoteCount(Refusing())
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter(action)
        for _ in range(5):
            assert await remote.tokens(ASK, ASK.messages) is None
    said = [str(warning.message) for warning in seen]
    assert len(said) == (action == "default")
    assert all("BackendFailure(500)" in text and "secret" not in text for text in said)


async def test_the_memory_is_bounded() -> None:
    """The prompt counted first is forgotten first, and asked for again."""
    slow = Slow(0)
    remote = RemoteCount(slow)
    for number in range(REMEMBERED + 1):
        assert await remote.tokens(ASK, [{"role": "user", "content": str(number)}]) == 7
    assert await remote.tokens(ASK, [{"role": "user", "content": "1"}]) == 7
    assert slow.asked == REMEMBERED + 1
    await remote.tokens(ASK, [{"role": "user", "content": "0"}])
    assert slow.asked == REMEMBERED + 2


async def test_half_a_surrogate_pair_is_a_prompt_like_any_other() -> None:
    """As JSON can carry one."""
    assert await RemoteCount(Slow(0)).tokens(ASK, [{"role": "user", "content": "\ud83d"}]) == 7
