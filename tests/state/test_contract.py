"""What every state promises: the same tests for the one in memory and the one on Redis."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from resilient_llm.sharing import News, State, Wanted
from resilient_llm.state import MemoryState
from resilient_llm.state.redis import RedisState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis_server import RedisServer

CIRCUIT, COOL, SPENT = "circuit|s|m", "cool|s|m", "spent|s|m"


class Ear:
    def __init__(self) -> None:
        self.heard: list[News] = []
        self.recalled = 0

    def hear(self, news: News) -> None:
        self.heard.append(news)

    def recall(self) -> None:
        self.recalled += 1


@pytest.fixture(params=["memory", "redis"])
async def state(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[State]:
    if request.param == "memory":
        made: State = MemoryState()
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        made = RedisState(server.url, namespace)
    await made.ready()
    for _ in range(1000):
        if made.alone:
            await asyncio.sleep(0.01)
    assert not made.alone
    yield made
    await made.aclose()


def nobody(_: object) -> None:
    pytest.fail("nothing was late")


async def ask(state: State, operation: str, field: str, *args: float | str) -> News:
    news = await state.ask(operation, field, *args, late=nobody)
    assert news is not None
    return news


async def eventually(check: object) -> None:
    for _ in range(200):
        if check():  # type: ignore[operator]
            return
        await asyncio.sleep(0.005)
    pytest.fail("it did not come")


async def test_one_probe_is_granted_until_it_reports(state: State) -> None:
    """Of many claims one is granted; the others hear how long its lease still lasts."""
    claims = await asyncio.gather(*(ask(state, "claim", CIRCUIT, 30.0) for _ in range(20)))
    assert sorted(news.word for news in claims) == ["granted"] + ["held"] * 19
    assert all(29 < news.value <= 30 for news in claims)


async def test_a_lease_ends(state: State) -> None:
    """After its lease another probe goes, and the first one's report is late."""
    first = await ask(state, "claim", CIRCUIT, 0.02)
    await asyncio.sleep(0.05)
    second = await ask(state, "claim", CIRCUIT, 30.0)
    assert second.word == "granted"
    assert second.epoch > first.epoch
    assert (await ask(state, "close", CIRCUIT, first.epoch)).word == "held"
    assert (await ask(state, "open", CIRCUIT, 9.0, 9.0, first.epoch, "late")).word == "held"
    assert (await ask(state, "return", CIRCUIT, first.epoch)).word == "held"
    assert (await ask(state, "close", CIRCUIT, second.epoch)).word == "closed"


async def test_a_circuit_opens_once_and_its_probe_decides(state: State) -> None:
    """Who trips first opens it for all; a claim is refused while it is open, and a failed probe opens it anew."""
    opened = await ask(state, "open", CIRCUIT, 0.05, 30.0, 0, "5 failures")
    assert (opened.word, opened.duration, opened.why) == ("open", 30.0, "5 failures")
    again = await ask(state, "open", CIRCUIT, 60.0, 60.0, 0, "mine")
    assert again.why == "5 failures"
    assert again.value <= 0.05
    assert (await ask(state, "claim", CIRCUIT, 5.0)).word == "open"
    await asyncio.sleep(0.07)
    probe = await ask(state, "claim", CIRCUIT, 5.0)
    assert (probe.word, probe.duration) == ("granted", 30.0)
    failed = await ask(state, "open", CIRCUIT, 60.0, 60.0, probe.epoch, "probe failed")
    assert failed.word == "open"
    assert 59 < failed.value <= 60


async def test_a_returned_probe_goes_to_the_next(state: State) -> None:
    """A probe that said nothing gives its place back at once."""
    probe = await ask(state, "claim", CIRCUIT, 30.0)
    await ask(state, "return", CIRCUIT, probe.epoch)
    assert (await ask(state, "claim", CIRCUIT, 30.0)).word == "granted"


async def test_a_report_without_a_record_is_welcome(state: State) -> None:
    """Where everything was lost meanwhile, a probe's success closes the circuit."""
    assert (await ask(state, "close", CIRCUIT, 17)).word == "closed"
    assert (await ask(state, "claim", CIRCUIT, 30.0)).word == "closed"


async def test_a_cool_down_is_prolonged_never_shortened(state: State) -> None:
    """The longest counts."""
    await ask(state, "cool", COOL, 10.0)
    assert (await ask(state, "cool", COOL, 1.0)).value > 9
    assert (await ask(state, "cool", COOL, 20.0)).value > 19


async def test_a_retry_budget_is_a_sum_within_bounds(state: State) -> None:
    """What is spent adds up, up to the capacity; what is earned is taken off, down to nothing."""
    await ask(state, "spend", SPENT, 14, 20)
    assert (await ask(state, "spend", SPENT, 14, 20)).value == 20
    assert (await ask(state, "spend", SPENT, -30, 20)).value == 0


async def test_news_reach_those_who_listen(state: State) -> None:
    """What is told is heard under its prefix, and nowhere else."""
    ear, deaf = Ear(), Ear()
    state.listen("cool|s|", ear.hear, ear.recall)
    state.listen("cool|t|", deaf.hear, deaf.recall)
    state.tell("cool", COOL, 10.0)
    await eventually(lambda: ear.heard)
    assert (ear.heard[0].field, ear.heard[0].word) == (COOL, "cool")
    assert 9 < ear.heard[0].value <= 10
    assert not deaf.heard


async def test_a_limit_gives_what_is_there_and_then_nothing(state: State) -> None:
    """Portions add up to the allowance exactly; who needs more hears when there will be some."""
    given = 0.0
    for _ in range(5):
        portions = await state.lease([Wanted("l", 10.0, 0.5, 1.0, 1.5)], nobody)
        assert portions is not None
        given += sum(portions.given)
    assert given == 10
    refused = await state.lease([Wanted("l", 10.0, 0.5, 1.0)], nobody)
    assert refused is not None
    assert refused.given == ()
    assert 59 < refused.wait <= 61


async def test_of_two_limits_both_or_none(state: State) -> None:
    """Where one limit has nothing left, nothing is taken of the other."""
    both = [Wanted("a", 5.0, 0.5, 1.0), Wanted("b", 1.0, 0.5, 1.0)]
    first = await state.lease(both, nobody)
    assert first is not None
    assert first.given == (1.0, 1.0)
    second = await state.lease(both, nobody)
    assert second is not None
    assert second.wait > 0
    rest = await state.lease([Wanted("a", 5.0, 0.5, 4.0)], nobody)
    assert rest is not None
    assert rest.given == (4.0,)


async def test_what_was_not_used_can_be_taken_again(state: State) -> None:
    """Unused portions go back into their slot; more than was taken cannot."""
    await state.lease([Wanted("l", 10.0, 0.5, 10.0)], nobody)
    back = await state.lease([Wanted("l", 10.0, 0.5, 4.0, 0.0, ((4.0, 0.0),))], nobody)
    assert back is not None
    assert back.given == (4.0,)
    none = await state.lease([Wanted("l", 10.0, 0.5, 1.0, 0.0, ((50.0, 30.0),))], nobody)
    assert none is not None
    assert none.given == ()


async def test_a_window_slides(state: State) -> None:
    """What was taken comes free when the window has passed, not before."""
    await state.lease([Wanted("l", 2.0, 0.002, 2.0)], nobody)
    early = await state.lease([Wanted("l", 2.0, 0.002, 2.0)], nobody)
    assert early is not None
    assert 0.1 < early.wait <= 0.244
    await asyncio.sleep(early.wait + 0.01)
    later = await state.lease([Wanted("l", 2.0, 0.002, 2.0)], nobody)
    assert later is not None
    assert later.given == (2.0,)
