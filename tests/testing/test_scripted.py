"""The scripted transport."""

from __future__ import annotations

import asyncio
import math

import pytest

import resilient_llm as rl
from resilient_llm.testing import FakeClock, ScriptedTransport, clock, run_virtual

ASK = rl.Request(messages=[{"role": "user", "content": "Hello"}])
STREAM = rl.Request(messages=[{"role": "user", "content": "Hello"}], stream=True)


async def test_each_call_gets_its_script_and_the_last_one_repeats() -> None:
    """An error first, then a text, and that text from then on."""
    transport = ScriptedTransport(rl.ModelOverloadedError("busy"), "Hello")
    with pytest.raises(rl.ModelOverloadedError):
        await transport(ASK)
    for _ in range(2):
        assert (await (await transport(ASK)).completion()).text == "Hello"
    assert transport.requests == [ASK] * 3
    await transport.aclose()


async def test_steps_are_played_in_order() -> None:
    """Events arrive, then the error; what is not closed is counted."""
    transport = ScriptedTransport([rl.TextDelta("a"), rl.ModelUnavailableError("reset")])
    response = await transport(STREAM)
    assert transport.open_bodies == 1
    assert await anext(response) == rl.TextDelta("a")
    with pytest.raises(rl.ModelUnavailableError):
        await anext(response)
    assert transport.open_bodies == 0


async def test_a_script_without_an_end_is_a_truncated_stream() -> None:
    """Forgetting `Finish` is what a cut stream looks like."""
    with pytest.raises(rl.ModelResponseInvalidError):
        await ScriptedTransport([rl.TextDelta("a")])(ASK)


def test_endless_seconds_are_a_stall() -> None:
    """Nothing comes any more, and the idle limit is what ends it."""

    async def main() -> rl.LLMError:
        transport = ScriptedTransport([rl.TextDelta("a"), math.inf, rl.Finish("stop")])
        async with rl.AsyncClient(transport=transport, clock=FakeClock(), idle_timeout=30) as llm:
            with pytest.raises(rl.ModelTimeoutError, match="stalled") as caught:
                async with llm.stream("Hello") as response:
                    await response.completion()
        assert asyncio.get_running_loop().time() == 30
        assert transport.open_bodies == 0
        return caught.value

    assert run_virtual(main()).partial.text == "a"


def test_a_stall_without_any_limit_is_told(monkeypatch) -> None:
    """Virtual time says that nothing will ever happen, instead of running on for ever."""
    monkeypatch.setattr(clock, "STALLED", 0.01)
    with pytest.raises(RuntimeError, match="nothing is scheduled"):
        run_virtual(ScriptedTransport([math.inf])(STREAM))


def test_a_transport_without_scripts_is_refused() -> None:
    """There is nothing to answer with."""
    with pytest.raises(ValueError, match="at least one script"):
        ScriptedTransport()
