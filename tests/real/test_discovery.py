"""`auto` against a real llama.cpp server."""

from __future__ import annotations

import pytest
from real.llama import WINDOW

import resilient_llm as rl
from resilient_llm.transports import AutomaticTransport, LlamaCppTransport
from resilient_llm.transports.discovery import Nobody, Place, Server, discover

pytestmark = pytest.mark.real


@pytest.mark.parametrize("kind", ["lmstudio", "ollama", "llamacpp", "openai-compatible"])
async def test_it_is_recognised_wherever_it_listens(server, kind):
    """By its properties, or by who owns its models; with its window and tokenizer."""
    transport = AutomaticTransport(places=[Place(kind, server.url)])
    async with rl.AsyncClient(transport=transport) as llm:
        done = await llm.complete("Hello", max_tokens=3)
        assert (done.backend, done.usage.completion_tokens) == ("llamacpp", 3)
        assert transport.context_window("") == WINDOW
        assert await llm.count_tokens("Hello") == 1


async def test_it_is_there_while_it_loads(mortal):
    """Before it listens nobody is there; then it is llama.cpp, though it refuses everything."""
    seen = []
    transport = LlamaCppTransport(mortal.url)

    def make(_kind, _name, _url):
        return transport

    mortal.start()
    while not (seen and isinstance(seen[-1], Server) and seen[-1].models):
        (finding,) = await discover([Place("llamacpp")], make)
        seen.append(finding)
    states = [type(finding) if isinstance(finding, Nobody) else bool(finding.models) for finding in seen]
    assert states == sorted(states, key=[Nobody, False, True].index)
    await transport.aclose()
