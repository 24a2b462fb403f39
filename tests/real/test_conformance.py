"""The rows that every transport passes against the fault server, asked of a real llama.cpp server with a real model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from conformance.rows import ROWS
from conformance.subject import Subject
from real.in_process import CALLS
from real.llama import WINDOW

import resilient_llm as rl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from conformance.rows import Row
    from real.llama import LlamaServer

pytestmark = pytest.mark.real

NO_CALLS = dict.fromkeys(CALLS, "the model's chat template knows no tools")
CHAT_MODEL = NO_CALLS | {"embeddings": "the server was started for chats"}
LACKS = {
    "llamacpp": CHAT_MODEL,
    "openai-compatible": CHAT_MODEL,
    "anthropic": CHAT_MODEL | {"a_json_schema": "llama.cpp's route for Anthropic's dialect knows no schemas"},
}


@pytest.fixture(params=LACKS)
async def subject(request: pytest.FixtureRequest, server: LlamaServer) -> AsyncIterator[Subject]:
    """The server through each transport that speaks one of its two dialects."""
    async with rl.AsyncClient(request.param, base_url=server.url, api_key="any", token_budget=None) as llm:

        async def idle() -> None:
            await server.until_busy(busy=False, pause=1.5)

        yield Subject(llm, "smollm2", window=WINDOW, busy=server.until_busy, idle=idle)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
async def test_the_real_server_conforms(subject: Subject, row: Row):
    """The row holds for a real server."""
    if reason := LACKS[subject.llm.transport.name].get(row.__name__):
        pytest.skip(reason)
    await row(subject)
