"""What the tests of frameworks share."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest
from frameworks.cases import made

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(autouse=True)
async def _closed() -> AsyncIterator[None]:
    """Frameworks leave open what is given to them."""
    yield
    while made:
        client = made.pop()
        closing = client.aclose() if hasattr(client, "aclose") else client.close()
        if inspect.isawaitable(closing):
            await closing
