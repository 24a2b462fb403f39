"""A server for all tests of the state that need one, with a namespace for each."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

_numbers = itertools.count()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def namespace() -> str:
    return f"test-{next(_numbers)}"
