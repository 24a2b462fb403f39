"""After a cool-down calls go at the pace that the backend was seen to bear; in virtual time."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import TYPE_CHECKING

import attrs
import pytest

import resilient_llm as rl
from resilient_llm.body import ResponseInfo
from resilient_llm.commit import whole
from resilient_llm.events import Finish, TextDelta
from resilient_llm.models import Request
from resilient_llm.policy.release import AnswerRates
from resilient_llm.testing import FakeClock, run_virtual

if TYPE_CHECKING:
    from resilient_llm.response import Response

ASK = Request(messages=({"role": "user", "content": "Hello"},), model="m")


class Backend:
    """Serves five requests a second, one after the other; lets in only `limit` a second between two instants.

    A refusal says Retry-After: 4 and costs a fifth of an answer; what was begun is done, whoever waits for it.
    """

    name = "backend"

    def __init__(
        self, clock: FakeClock, limit: float = 2.0, begins: float = 15.0, ends: float = 35.0
    ) -> None:
        self.clock = clock
        self.limit, self.begins, self.ends = limit, begins, ends
        self.asked: list[float] = []
        self.refused: list[float] = []
        self.names: list[str] = []
        self._free = 0.0
        self._allowed, self._at = 0.0, begins

    async def __call__(self, request: Request) -> Response:
        now = self.clock.monotonic()
        self.asked.append(now)
        self.names.append(str(request.messages[0]["content"]))
        if self.begins <= now < self.ends:
            self._allowed = min(max(1.0, self.limit), self._allowed + (now - self._at) * self.limit)
            self._at = now
            if self._allowed < 1:
                self._free = max(self._free, now) + 0.04
                self.refused.append(now)
                msg = "slow down"
                raise rl.ModelRateLimitedError(msg, retry_after=4.0)
            self._allowed -= 1
        self._free = max(self._free, now) + 0.2
        await self.clock.sleep(self._free + 0.5 - now)
        return whole([TextDelta("Hi"), Finish("stop")], ResponseInfo(self.name, "m"), request)


@attrs.define
class Storm:
    """What became of the calls."""

    backend: Backend
    good: int = 0
    errors: list[rl.LLMError] = attrs.field(factory=list)
    ended: dict[str, float] = attrs.field(factory=dict)


def play(load: float, length: float, seed: int, **options) -> Storm:
    """Calls come by chance; those that fail are counted."""

    async def scenario() -> Storm:
        clock, rng = FakeClock(), random.Random(seed)
        here = Storm(Backend(clock, **options))
        stack = rl.standard_stack(deadline=30.0, attempt_timeout=10.0, clock=clock, rng=rng)
        pipeline = rl.Pipeline(stack, here.backend, clock=clock)

        async def call() -> None:
            try:
                await pipeline(ASK)
                here.good += 1
            except rl.LLMError as error:
                here.errors.append(error)

        async with asyncio.TaskGroup() as group:
            while clock.monotonic() < length:
                await clock.sleep(rng.expovariate(load))
                group.create_task(call())
        return here

    return run_virtual(scenario())


@pytest.mark.parametrize("load", [3.5, 4.5])
def test_a_rate_limit_makes_no_overload(load: float) -> None:
    """At 70 and 90 % of the capacity nearly all are answered, at hardly more than one request each."""
    found = play(load, 120.0, seed=3)
    calls = found.good + len(found.errors)
    assert calls > 100 * load
    assert found.good >= 0.98 * calls
    assert len(found.backend.asked) <= 1.03 * calls
    assert 1 < len(found.backend.refused) <= 12


def test_the_storm_is_one_indeed(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no rate is known, the herd that is let go overloads the backend."""
    monkeypatch.setattr(AnswerRates, "per_second", lambda *_: 0.0)
    found = play(3.5, 120.0, seed=3)
    assert found.good < 0.9 * (found.good + len(found.errors))


def refused(number: int, **fields) -> Storm:
    """Three calls a second, one that is refused for four seconds, and then so many at once, numbered."""

    async def scenario() -> Storm:
        clock = FakeClock()
        here = Storm(Backend(clock, limit=0.0, begins=15.0, ends=15.2))
        limit = rl.RateLimit(clock=clock, rng=random.Random(1))
        pipeline = rl.Pipeline([limit], here.backend, clock=clock)

        async def call(name: str, **fields) -> None:
            request = attrs.evolve(ASK, messages=({"role": "user", "content": name},), **fields)
            try:
                await pipeline(request)
            except rl.LLMError as error:
                here.errors.append(error)
            here.ended[name] = clock.monotonic()

        async with asyncio.TaskGroup() as group:
            for _ in range(44):
                await clock.sleep(1 / 3)
                group.create_task(call("before"))
            await clock.sleep(15.1 - clock.monotonic())
            await call("refused")
            for place in range(number):
                await clock.sleep(0.01)
                group.create_task(call(f"{place}", **fields))
        return here

    return run_virtual(scenario())


def test_held_back_in_order_and_let_go_at_the_pace() -> None:
    """Not before the server's delay; three a second at first, then faster with each answer; in order of arrival."""
    found = refused(40)
    again = found.backend.refused[0] + 4.0
    start = found.backend.names.index("0")
    at = found.backend.asked[start:]
    assert found.backend.names[start:] == [str(place) for place in range(40)]
    assert again + 0.01 < at[0] <= again + 0.4  # by chance, for other processes
    assert 3 <= sum(1 for when in at if when < at[0] + 1.0) <= 5
    gaps = [late - early for early, late in itertools.pairwise(at)]
    assert max(gaps) <= 0.4
    assert at[-1] - at[0] < 10.0
    assert not found.errors[1:]


def test_who_cannot_be_served_in_time_hears_so_at_once() -> None:
    """Beyond the deadline or `max_wait` even if all went well; others before them wait."""
    found = refused(40, deadline=22.0)
    late = [error for error in found.errors if isinstance(error, rl.LimitExceededError)]
    assert 10 < len(late) < 40
    assert all("the pace after a rate limit" in error.message for error in late)
    assert found.ended["39"] < 16.0
    assert found.ended["0"] > 19.0
    assert not [name for name, ended in found.ended.items() if name.isdigit() and 16.0 < ended < 19.0]
    assert max(found.ended.values()) < 23.0  # sent in time
    found = refused(40, extensions={"max_wait": 1.0})
    assert len(found.errors) == 41
    assert max(found.ended.values()) < 16.0


def test_a_longer_cool_down_is_heard_by_all_in_the_line() -> None:
    """Who cannot wait for so long is rejected when it begins, wherever in the line."""

    async def scenario() -> None:
        clock = FakeClock()
        limit = rl.RateLimit(clock=clock, rng=random.Random(1))
        waits = iter([None] * 20 + [1.0, 20.0])
        asked: list[float] = []

        async def backend(request: Request, _call_next: object = None) -> Response:
            asked.append(clock.monotonic())
            if wait := next(waits, None):
                msg = "slow down"
                raise rl.ModelRateLimitedError(msg, retry_after=wait)
            return whole([TextDelta("Hi"), Finish("stop")], ResponseInfo("backend", "m"), request)

        async def call(deadline: float | None = None) -> tuple[str, float]:
            try:
                await limit(attrs.evolve(ASK, deadline=deadline), backend)
            except rl.LLMError as error:
                return error.code, clock.monotonic()
            return "", clock.monotonic()

        for _ in range(20):
            await clock.sleep(0.2)
            await call()
        assert (await call())[0] == "MODEL_RATE_LIMITED"
        ended = await asyncio.gather(call(15.0), call(), *(call(15.0) for _ in range(9)))
        refused = asked[21]
        assert 5.0 <= refused <= 5.3
        assert ended[0] == ("MODEL_RATE_LIMITED", refused)
        assert set(ended[2:]) == {("LIMIT_EXCEEDED", refused)}
        assert ended[1][0] == ""
        assert refused + 20.0 <= ended[1][1] <= refused + 22.1

    run_virtual(scenario())
