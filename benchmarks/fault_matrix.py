"""The fault matrix is played: clients side by side, each scenario with fresh backends and a fresh client."""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import attrs
from adapters import Place
from fault_clients import Client
from judging import Verdict, judge_calls, judge_wire
from scenario import Scenario, script
from scenarios import LONG, SCENARIOS
from servers import Servers
from tables import progress

from resilient_llm.testing import Answer, FaultServer, Reply, Status, echo

AT_ONCE = 16
"""Clients; they wait most of the time."""
SPARE = 30.0
"""Seconds that a process may need on top of what its calls may take."""
FEW_LEFT = 8
"""Scenarios for which no further process is worth its start."""
AGAIN = 2
"""So often is a scenario played again at most."""
WARMING = {"healthy", "healthy, stream", "tool call, stream", "500, then well"}
WARM_UPS = [
    *(attrs.evolve(scenario, patience=60.0) for scenario in SCENARIOS if scenario.name in WARMING),
    Scenario(
        name="too long, once", faults=script(Status("context_length"), Answer()), question=LONG, patience=60.0
    ),
]
"""Not judged: some clients load more when they first need it, which takes seconds."""
Rows = Mapping[str, Mapping[str, Verdict]]


def job_of(scenario: Scenario, servers: Sequence[FaultServer], seed: int) -> dict:
    """What a worker is told."""
    urls = [server.base_url for server in servers]
    place = Place(urls=tuple(urls), deadline=scenario.deadline, seed=seed)
    told = ("calls", "in_turn", "later", "cancel_after", "patience", "settle")
    return {
        "place": attrs.asdict(place),
        "question": attrs.asdict(scenario.question),
        "chance": f"{seed} {scenario.name}",
        **{name: getattr(scenario, name) for name in told},
    }


def patience(scenario: Scenario) -> float:
    """How long a worker may take."""
    return (
        scenario.patience * (scenario.calls if scenario.in_turn else 1)
        + scenario.later
        + scenario.settle
        + SPARE
    )


def play(scenario: Scenario, client: Client, running: Servers, seed: int) -> Verdict:
    """One client in one scenario: fresh backends, a fresh client."""
    if scenario.needs - client.abilities:
        return Verdict(takes_part=False)
    draws = random.Random(f"{seed} {scenario.name}")
    options = {} if scenario.reply is None else {"reply": scenario.reply}
    backends = [
        FaultServer(scenario.faults(draws), window=scenario.window, backend=scenario.backend, **options)
    ]
    if scenario.fallback is not None:
        backends.append(FaultServer(scenario.fallback))
    begun = time.monotonic()
    with (
        running.running(backends) as servers,
        client.playing(job_of(scenario, servers, seed), patience(scenario)) as result,
    ):
        verdict = judge(scenario, result, servers)
    return attrs.evolve(verdict, late=max(verdict.late, running.lateness.worst(begun)))


def fairly(scenario: Scenario, client: Client, running: Servers, seed: int) -> Verdict:
    """Play it; again, if it fails while the machine is later than the scenario bears."""
    verdict, again = play(scenario, client, running, seed), 0
    while verdict.passed is False and verdict.late >= scenario.margin and again < AGAIN:
        verdict, again = play(scenario, client, running, seed), again + 1
    return attrs.evolve(verdict, again=again)


def judge(scenario: Scenario, result: Mapping | None, servers: Sequence[FaultServer]) -> Verdict:
    """What the callers got and what the backends saw."""
    if result is None:
        result = {
            "seconds": patience(scenario),
            "late": 0.0,
            "calls": [{"outcome": "hang", "got": None, "raised": ""}],
        }
    question, primary = scenario.question, servers[0]
    expected = scenario.reply or Reply(echo({"messages": list(question.messages)}))
    outcome, caller = judge_calls(result["calls"], scenario.expects, expected, question)
    return Verdict(
        outcome=outcome,
        caller=tuple(caller),
        backend=tuple(judge_wire(scenario.wire, servers, scenario.calls)),
        requests=len(primary.requests),
        connections=primary.connections,
        gaps=tuple(later.at - earlier.at for earlier, later in pairwise(primary.requests)),
        seconds=result["seconds"],
        late=result["late"],
        raised=raised(result["calls"]),
    )


def raised(calls: Sequence[Mapping]) -> tuple[str, ...]:
    """The exceptions, one of each class."""
    told = sorted(call["raised"] for call in calls if call["raised"])
    return tuple({text.partition(": ")[0]: text for text in reversed(told)}.values())


def taken(left: deque[Scenario]) -> Iterator[Scenario]:
    """What is left, while others take from it, too."""
    with contextlib.suppress(IndexError):
        while True:
            scenario = left.popleft()
            yield scenario


def compare(clients: Sequence[Client], scenarios: Sequence[Scenario], seed: int) -> Rows:
    """The whole matrix; each client takes the scenarios in turn, and who is done helps the slowest."""
    found: dict[str, dict[str, Verdict]] = {scenario.name: {} for scenario in scenarios}
    left = {client: deque(scenarios) for client in clients}
    begun, total = time.monotonic(), len(clients) * len(scenarios)

    def warm_up(client: Client) -> None:
        for scenario in WARM_UPS:
            play(scenario, client, running, seed)

    def lane(client: Client, played_by: Client) -> None:
        for scenario in taken(left[client]):
            seconds, done = time.monotonic() - begun, sum(map(len, found.values()))
            progress(f"{done}/{total}, {seconds:.0f} s; {client.name}: {scenario.name}")
            found[scenario.name][client.name] = fairly(scenario, played_by, running, seed)

    def work(client: Client) -> None:
        lane(client, client)
        light = [other for other in clients if other.python == sys.executable]
        slowest = max(light or clients, key=lambda other: len(left[other]))
        if len(left[slowest]) > FEW_LEFT:
            with Client(slowest.adapter, slowest.python) as helper:
                if not helper.missing:
                    warm_up(helper)
                    lane(slowest, helper)

    with Servers() as running, ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(warm_up, clients))
        list(pool.map(work, clients))
    progress("")
    names = [client.name for client in clients]
    return {scenario: {name: row[name] for name in names} for scenario, row in found.items()}
