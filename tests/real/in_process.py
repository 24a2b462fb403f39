"""The conformance suite over a model in this process; what both kinds of engines share of it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
from conformance.rows import ROWS
from conformance.subject import Subject

import resilient_llm as rl

if TYPE_CHECKING:
    from conformance.rows import Row

CALLS: Final = (
    "tools_called",
    "tools_called_in_a_stream",
    "fragments_of_calls",
    "results_sent_back",
    "functions_of_the_old_kind",
)
"""The rows that a model has no part in whose chat template knows no tools."""


def each_row_but(*lacking: str) -> pytest.MarkDecorator:
    """Parametrizes a test with the rows that a model can pass."""
    rows = [row for row in ROWS if row.__name__ not in lacking]
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.__name__)


async def passes(row: Row, local: rl.AsyncClient, kept: Any, window: int) -> None:
    """A row holds for the model that `kept` holds in memory."""

    async def until(working: bool) -> None:
        async with asyncio.timeout(15):
            while kept._shared._working is not working:  # noqa: ASYNC110 - a thread tells no event
                await asyncio.sleep(0.002)

    async with rl.AsyncClient(transport=local.transport, token_budget=None) as llm:
        name, busy, idle = llm.transport.model, partial(until, True), partial(until, False)
        await row(Subject(llm, name, window=window, busy=busy, idle=idle))
