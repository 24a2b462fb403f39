"""A backend that goes down and comes back under fifty callers, with another one behind it."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import resilient_llm as rl
from resilient_llm.commit import commit
from resilient_llm.response import ResponseInfo
from resilient_llm.testing import Answer, FakeClock, FaultServer, Status, run_virtual

CALLERS = 50


class Outage:
    """A schedule with a switch: down or not."""

    def __init__(self) -> None:
        self.down = False

    def fault(self, _number: int, _elapsed: float):
        return Status.overloaded(latency=0.05) if self.down else Answer(latency=0.05)


async def one(llm: rl.AsyncClient, *, stream: bool) -> str:
    """Make a call; gives who answered."""
    if not stream:
        return (await llm.complete("Hello")).backend
    async with llm.stream("Hello") as response:
        return (await response.completion()).backend


async def wave(llm: rl.AsyncClient) -> dict[str, int]:
    """Fifty calls at once, half of them streamed; gives how many each backend answered."""
    answered = await asyncio.gather(*(one(llm, stream=bool(number % 2)) for number in range(CALLERS)))
    return {name: answered.count(name) for name in sorted(set(answered))}


async def test_fifty_callers_survive_an_outage() -> None:
    """Nobody fails: the circuit opens, the fallback serves, one probe at a time looks, and all go back."""
    outage, clock = Outage(), FakeClock()
    async with FaultServer(outage) as first, FaultServer() as second:
        spare = rl.OpenAICompatibleTransport(second.base_url, model="spare", name="spare")
        first_one = rl.OpenAICompatibleTransport(first.base_url, name="first")
        breaker = rl.CircuitBreaker(jitter=0.0, clock=clock)
        async with rl.AsyncClient(transport=first_one, model="m", breaker=breaker, fallback=[spare]) as llm:
            assert await wave(llm) == {"first": CALLERS}

            outage.down = True
            first.begin()
            assert await wave(llm) == {"spare": CALLERS}
            assert 5 <= len(first.requests) <= CALLERS  # those that were under way when the circuit opened
            assert breaker.circuit("m").state == "open"

            first.begin()
            assert await wave(llm) == {"spare": CALLERS}
            assert first.requests == []

            clock.advance(31.0)
            assert await wave(llm) == {"spare": CALLERS}
            assert [seen.status for seen in first.requests] == [
                503
            ]  # one probe, and its caller was served, too

            outage.down = False
            clock.advance(31.0)
            assert await wave(llm) == {"spare": CALLERS}
            assert len(first.requests) == 1  # it is open for twice as long

            clock.advance(31.0)
            first.begin()
            assert await wave(llm) == {"first": 1, "spare": CALLERS - 1}
            assert [seen.status for seen in first.requests] == [200]
            assert await wave(llm) == {"first": CALLERS}
        assert len(second.requests) == 5 * CALLERS - 1


class Backend:
    """A transport that is down for a while; takes note of when it is asked, and by how many at a time."""

    def __init__(self, name: str, *, down: tuple[float, float] = (0.0, 0.0)) -> None:
        self.name = name
        self.asked: list[tuple[float, int]] = []
        self._down = down
        self._busy = 0

    async def __call__(self, request: rl.Request) -> rl.Response:
        now = asyncio.get_running_loop().time
        self._busy += 1
        self.asked.append((now(), self._busy))
        try:
            await asyncio.sleep(2.0)
            begin, end = self._down
            if begin <= now() < end:
                msg = "down"
                raise rl.ModelUnavailableError(msg, backend=self.name)
            return await commit(_Said(ResponseInfo(self.name)), request)
        finally:
            self._busy -= 1

    async def aclose(self) -> None:
        """Nothing to close."""


class _Said:
    def __init__(self, info: ResponseInfo) -> None:
        self.info = info

    async def receive(self):
        return [rl.TextDelta("Hello"), rl.Finish("stop")]

    def close(self) -> None:
        """Nothing is open."""


def test_an_outage_under_steady_load() -> None:
    """No call fails; while the backend is down, probes come one at a time and ever more rarely; then all return."""
    begin, end = 60.0, 960.0

    async def scenario() -> None:
        loop, answers = asyncio.get_running_loop(), []
        first, second = Backend("first", down=(begin, end)), Backend("second")
        breaker = rl.CircuitBreaker(clock=FakeClock(), jitter=0.0, max_timeout_duration=120.0)
        options = {"clock": FakeClock(), "breaker": breaker, "max_retries": 0}
        llm = rl.AsyncClient(transport=first, model="m", fallback=[second], **options)

        async def caller(number: int) -> None:
            await asyncio.sleep(number * 0.4)
            while loop.time() < end + 180:
                answers.append((loop.time(), await one(llm, stream=bool(number % 2))))
                await asyncio.sleep(18.0)

        await asyncio.gather(*(caller(number) for number in range(CALLERS)))
        probes = [(at, busy) for at, busy in first.asked if begin + 5 <= at < end]
        assert {busy for _, busy in probes} == {1}
        assert 8 <= len(probes) <= 12
        assert all(later - at >= 120.0 for (at, _), (later, _) in pairwise(probes[3:]))
        assert {name for at, name in answers if begin + 5 < at < end - 2} == {"second"}
        assert {name for at, name in answers if at > end + 130} == {"first"}
        await llm.aclose()

    run_virtual(scenario())
