"""Every transport passes the same rows; what one cannot is listed with its reason, and fails as soon as it can."""

from __future__ import annotations

import pytest
from conformance.rows import ROWS, Row
from conformance.simulated import BACKENDS, OFFLINE, Backend, offline, played

import resilient_llm as rl


def cases() -> list[object]:
    return [
        pytest.param(
            backend,
            row,
            id=f"{backend}-{row.__name__}",
            marks=[pytest.mark.xfail(strict=True, reason=reason, raises=rl.LLMError)]
            if (reason := backend.lacks.get(row.__name__))
            else [],
        )
        for backend in BACKENDS
        for row in ROWS
    ]


@pytest.mark.parametrize(("backend", "row"), cases())
async def test_the_transport_conforms(backend: Backend, row: Row):
    """The row holds over a real socket, in the backend's own dialect."""
    async with played(backend) as subject:
        await row(subject)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.__name__ not in OFFLINE], ids=lambda row: row.__name__
)
async def test_the_offline_backend_conforms(row: Row):
    """The same without any server; `OFFLINE` lists what it has no part in."""
    async with offline() as subject:
        await row(subject)


def test_the_exceptions_name_rows():
    """No exception outlives its row."""
    names = {row.__name__ for row in ROWS}
    assert names > {*OFFLINE, *(lack for backend in BACKENDS for lack in backend.lacks)}
