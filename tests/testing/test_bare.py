"""The client that people write by hand, and what it does not notice."""

from __future__ import annotations

import aiohttp
import pytest

from resilient_llm.testing import Answer, Cut, FaultServer, Stall, Status
from resilient_llm.testing.bare import BareClient

BODY = {"messages": [{"role": "user", "content": "Hello"}]}


@pytest.mark.parametrize("stream", [True, False])
async def test_it_reads_sound_answers(stream):
    """Whole or streamed, a sound answer's text is the same."""
    async with FaultServer(Answer()) as server, BareClient(server.base_url, timeout=5) as client:
        text = await client.ask({**BODY, "stream": stream})
    assert text == "A sound backend writes this whole sentence as its answer to: Hello"


async def test_it_takes_half_a_stream_for_a_whole_one():
    """Without an eye on the finish reason, a stream that ends early looks like any other."""
    async with (
        FaultServer(Cut(after=2, clean=True)) as server,
        BareClient(server.base_url, timeout=5) as client,
    ):
        assert await client.ask({**BODY, "stream": True}) == "A sound"


async def test_it_asks_once_and_gives_up_in_time():
    """A refusal is raised, a stall ends with the time limit, and nothing is sent twice."""
    async with (
        FaultServer([Status.rate_limited(), Stall()]) as server,
        BareClient(server.base_url, timeout=0.1) as client,
    ):
        with pytest.raises(aiohttp.ClientResponseError):
            await client.ask(BODY)
        with pytest.raises(TimeoutError):
            await client.ask(BODY)
        assert len(server.requests) == 2
