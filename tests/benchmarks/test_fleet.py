"""The simulated fleet does what clients with the whole stack do, and the same each time."""

from __future__ import annotations

import asyncio

import attrs
import fleet
import pytest
from capacity import ANSWER, Backend, Incident, Reply, Spell
from fleet_clients import Fleet, arrivals, chances, errors
from protections import PROTECTIONS, Protection, stack_options

import resilient_llm as rl
from resilient_llm.commit import commit
from resilient_llm.response import ResponseInfo
from resilient_llm.testing import FakeClock, run_virtual

CLIENTS, SEED = 12, 3
INCIDENT = Incident(
    name="all at once",
    text="Slow, then limited, then down.",
    spells=(
        Spell(60.0, 150.0, speed=0.3),
        Spell(260.0, 400.0, limit=0.2),
        Spell(500.0, 560.0, speed=0.0),
    ),
    capacity=0.7,
    length=800.0,
    thrash=0.25,
    refusal=0.2,
    asks=20.0,
    hiccups=0.05,
)
COME = arrivals(CLIENTS, 240.0, INCIDENT.length, SEED)
Ended = list[tuple[int, float, float, str]]


class Simulated:
    """The same backend as a transport."""

    name = "simulated"

    def __init__(self, incident: Incident) -> None:
        self.incident = incident
        self.backend = Backend(incident)

    async def __call__(self, request: rl.Request) -> rl.Response:
        now = asyncio.get_running_loop().time()
        reply = self.backend.arrive(now)
        await asyncio.sleep(reply.at - now)
        if reply.kind != ANSWER:
            raise errors(self.incident)[reply.kind]
        return await commit(Body(), request)

    async def aclose(self) -> None:
        pass


class Body:
    """An answer of one word."""

    def __init__(self) -> None:
        self.info = ResponseInfo(backend="simulated", model="m")
        self.events = [[rl.TextDelta("yes")], [rl.Finish("stop")]]

    async def receive(self) -> list[rl.Event]:
        return self.events.pop(0)

    def close(self) -> None:
        pass


async def by_the_stack(protection: Protection, incident: Incident = INCIDENT) -> tuple[Ended, int]:
    """How all calls end with real clients."""
    ended: Ended = []
    transport = Simulated(incident)
    clients = [
        rl.AsyncClient(
            transport=transport,
            model="m",
            rng=chances(SEED, number),
            clock=FakeClock(),
            **stack_options(protection),
        )
        for number in range(CLIENTS)
    ]

    async def call(at: float, number: int) -> None:
        await asyncio.sleep(at)
        try:
            await clients[number].complete("hello")
        except rl.LLMError as error:
            code = error.code
        else:
            code = ""
        ended.append((number, at, asyncio.get_running_loop().time(), str(code)))

    await asyncio.gather(*(call(at, number) for at, number in COME))
    return ended, transport.backend.requests


def by_the_heap(protection: Protection, incident: Incident = INCIDENT) -> tuple[Ended, int]:
    """How they end in the simulation."""
    ended: Ended = []
    simulated = Fleet(incident, protection, CLIENTS, SEED, done=lambda *how: ended.append(how))
    simulated.run(COME)
    return ended, simulated.backend.requests


@pytest.mark.parametrize("protection", PROTECTIONS, ids=lambda protection: protection.name)
def test_the_simulation_and_the_stack_agree_on_every_call(protection: Protection) -> None:
    """Each call ends in the same way at the same time, after the same number of requests."""
    theirs, sent = run_virtual(by_the_stack(protection))
    ours, simulated = by_the_heap(protection)
    assert simulated == sent
    assert len(ours) == len(COME)
    assert len({code for *_, code in ours}) >= 3  # the incident is of interest
    for one, other in zip(sorted(ours), sorted(theirs), strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_they_agree_where_the_backend_does_not_say_how_long_to_wait() -> None:
    """A cool-down that is guessed grows with each refusal, and begins anew after a success, in both."""
    protection = next(protection for protection in PROTECTIONS if protection.name == "+ cool-down")
    incident = attrs.evolve(INCIDENT, asks=None, spells=(Spell(50.0, 700.0, limit=0.1),))
    theirs, sent = run_virtual(by_the_stack(protection, incident))
    ours, simulated = by_the_heap(protection, incident)
    assert simulated == sent
    for one, other in zip(sorted(ours), sorted(theirs), strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_the_same_seed_gives_the_same_table() -> None:
    """Byte for byte; another seed gives another one."""

    def told(seed: int) -> str:
        incident = attrs.evolve(fleet.incidents(40)[0], length=3000.0)
        come = arrivals(40, 600.0, incident.length, seed)
        return repr(fleet.play(incident, PROTECTIONS[-1], 40, seed, come))

    assert told(1) == told(1)
    assert told(1) != told(2)


def test_what_was_given_up_is_still_worked_on() -> None:
    """A backend under a long queue is as late for the next request, whether or not anybody waits for the last ones."""
    backend = Backend(Incident(name="", text="", spells=(), capacity=1.0, length=100.0, latency=0.0))
    assert [backend.arrive(0.0) for _ in range(3)] == [
        Reply("answer", 1.0),
        Reply("answer", 2.0),
        Reply("answer", 3.0),
    ]
    for _ in range(28):
        backend.arrive(0.0)
    assert backend.arrive(0.0) == Reply("overloaded", 0.0)
    assert backend.arrive(20.0).at == pytest.approx(32.05)  # the refusal has cost a twentieth


def test_an_outage_takes_what_is_under_way_with_it() -> None:
    """Who waits for an answer when the backend goes down hears of it then; afterwards there is no queue."""
    spells = (Spell(2.0, 10.0, speed=0.0),)
    backend = Backend(Incident(name="", text="", spells=spells, capacity=1.0, length=100.0, latency=0.0))
    assert backend.arrive(1.5) == Reply("unavailable", 2.0)
    assert backend.arrive(5.0) == Reply("unavailable", 5.0)
    assert backend.arrive(10.0) == Reply("answer", pytest.approx(11.0, abs=0.51))


def test_a_limit_below_one_a_second_lets_some_in() -> None:
    """One request each five seconds, where a fifth of a request is let in each second."""
    incident = Incident(name="", text="", spells=(Spell(0.0, 100.0, limit=0.2),), capacity=1.0, length=100.0)
    backend = Backend(incident)
    assert sum(backend.arrive(float(now)).kind == "answer" for now in range(100)) in {19, 20}


def test_recovery_is_the_end_of_the_effect_not_of_the_cause() -> None:
    """The first of three good minutes in a row after the cause; a lucky minute is none."""
    incident = Incident(name="", text="", spells=(Spell(60.0, 120.0),), capacity=1.0, length=600.0)
    tally = fleet.Tally(incident)
    tally.calls = [100] * 10
    tally.good = [100, 0, 0, 100, 0, 100, 100, 97, 100, 100]
    assert fleet.recovered(tally, incident) == 180.0
    tally.good = [0] * 10
    assert fleet.recovered(tally, incident) is None
