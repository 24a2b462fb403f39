"""The Lua scripts and the Python that says the same: any story ends the same way."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from resilient_llm.sharing import News, State, Wanted
from resilient_llm.state import MemoryState
from resilient_llm.state.redis import RedisState

if TYPE_CHECKING:
    from redis_server import RedisServer


def nothing(_: object) -> None:
    """What was late."""


async def play(state: State, seed: int) -> list[object]:
    """A story by chance: fields, claims with and without their epochs, limits; durations too long to end meanwhile."""
    draw, told, claims = random.Random(seed), [], [0, 7]
    for _ in range(60):
        key = draw.choice("ab")
        field, epoch = f"circuit|s|{key}", draw.choice(claims)
        news: News | None = None
        match draw.choice(["claim", "open", "close", "return", "cool", "spend", "lease"]):
            case "claim":
                news = await state.ask("claim", field, draw.choice([0.0, 100.0]), late=nothing)
            case "open":
                seconds = draw.choice([0.0, 100.0])
                news = await state.ask("open", field, seconds, 30.0, epoch, "why", late=nothing)
            case "close":
                news = await state.ask("close", field, epoch, late=nothing)
            case "return":
                news = await state.ask("return", field, epoch, late=nothing)
            case "cool":
                news = await state.ask("cool", f"cool|s|{key}", draw.choice([50.0, 100.0]), late=nothing)
            case "spend":
                news = await state.ask("spend", f"spent|s|{key}", draw.randint(-9, 9), 20, late=nothing)
            case _:
                wanted = [
                    Wanted(
                        name, 40.0, 30.0, draw.randint(1, 5), draw.randint(0, 3), ((draw.randint(0, 2), 0.0),)
                    )
                    for name in draw.sample("xy", draw.randint(1, 2))
                ]
                portions = await state.lease(wanted, nothing)
                assert portions is not None
                told.append((portions.given, portions.wait > 0))
        if news is not None:
            told.append((news.word, round(news.value), news.duration, news.why, news.epoch > 0))
            if news.word == "granted":
                claims.append(news.epoch)
        await asyncio.sleep(0.002)  # so that an instant is over when the next begins
    return told


@pytest.mark.parametrize("seed", range(6))
async def test_both_tell_the_same(redis_server: RedisServer, namespace: str, seed: int) -> None:
    """Step by step, whatever happens in whatever order."""
    redis = RedisState(redis_server.url, namespace)
    await redis.ready()
    while redis.alone:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.01)
    try:
        there = await play(redis, seed)
    finally:
        await redis.aclose()
    assert there == await play(MemoryState(), seed)
