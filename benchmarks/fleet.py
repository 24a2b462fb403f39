"""Beyond one machine: ten thousand clients and hours of incidents, simulated; the same seed gives the same table.

    python benchmarks/fleet.py [--clients 10000] [--seed 0] [--only TEXT]

Each client is a process of its own, with a circuit, a budget and a cool-down of its own; nobody coordinates them. Calls
come in runs of ten, whether or not the last ones were answered. Exit code 1 if with all protections an incident
outlasts its cause by more than ten minutes.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections import Counter
from collections.abc import Sequence

import attrs
import parallel
import results
from capacity import Incident, Spell
from fleet_clients import CALLS, Fleet, arrivals
from protections import PROTECTIONS, Protection
from tables import table

EVERY = 2400.0
LOAD = 0.7
BIN = 60.0
STEADY = 3
BOUND = 600.0
PATIENCE = 120.0
"""Seconds; an answer that comes later is none."""
HOUR = 3600.0


def incidents(clients: int) -> tuple[Incident, ...]:
    """Three kinds of trouble for a backend that is seven tenths busy and fails two requests in a hundred anyway."""
    usual = clients * CALLS / EVERY
    capacity = usual / LOAD
    minute = 60.0
    usually = {"capacity": capacity, "thrash": 0.25, "hiccups": 0.02}
    return (
        Incident(
            name="slow for ten minutes",
            text="A third of the capacity for ten minutes; requests that time out still cost work, and "
            "under a full queue each costs a quarter more.",
            spells=(Spell(20 * minute, 30 * minute, speed=0.33),),
            length=2 * HOUR,
            **usually,
        ),
        Incident(
            name="down for fifteen minutes",
            text="Connections are refused for fifteen minutes; then it has half of its capacity for five more.",
            spells=(
                Spell(10 * minute, 25 * minute, speed=0.0),
                Spell(25 * minute, 30 * minute, speed=0.5),
            ),
            length=HOUR,
            **usually,
        ),
        Incident(
            name="limited for fifteen minutes",
            text="For fifteen minutes half of the usual calls are let in; a refusal (429, Retry-After: 20) costs half "
            "of an answer's work.",
            spells=(Spell(10 * minute, 25 * minute, limit=0.5 * usual),),
            length=HOUR,
            **usually,
            refusal=0.5,
            asks=20.0,
        ),
    )


class Tally:
    """What came of a run, by minutes."""

    def __init__(self, incident: Incident) -> None:
        bins = math.ceil(incident.length / BIN)
        self.calls, self.good = [0] * bins, [0] * bins
        self.answered: Counter[int] = Counter()
        self.requests: Counter[int] = Counter()
        self.open: dict[int, int] = {}
        self.codes: Counter[str] = Counter()
        self.times: list[float] = []

    def done(self, _client: int, began: float, ended: float, code: str) -> None:
        place = int(began // BIN)
        self.calls[place] += 1
        if code or ended - began > PATIENCE:
            self.codes[code or "late"] += 1
        else:
            self.good[place] += 1
            self.answered[int(ended // BIN)] += 1
            self.times.append(ended - began)

    def sent(self, now: float) -> None:
        self.requests[int(now // BIN)] += 1

    def turned(self, now: float, count: int) -> None:
        self.open[int(now // BIN)] = count

    def open_circuits(self) -> list[int]:
        """How many there were at the end of each minute."""
        levels, level = [], 0
        for place in range(len(self.calls)):
            level = self.open.get(place, level)
            levels.append(level)
        return levels


def recovered(tally: Tally, incident: Incident) -> float | None:
    """Seconds from the end of the cause to the first of three minutes of whose calls 97 % succeed; None: never."""
    well = [good >= 0.97 * calls for calls, good in zip(tally.calls, tally.good, strict=True)]
    first = math.ceil(incident.ends / BIN)
    for place in range(first, len(well) - STEADY + 1):
        if all(well[place : place + STEADY]):
            return place * BIN - incident.ends
    return None


def play(
    incident: Incident, protection: Protection, clients: int, seed: int, come: Sequence[tuple[float, int]]
) -> dict[str, object]:
    """One fleet in one incident."""
    tally = Tally(incident)
    fleet = Fleet(incident, protection, clients, seed, done=tally.done, sent=tally.sent, turned=tally.turned)
    fleet.run(come)
    calls, good = sum(tally.calls), sum(tally.good)
    cause, end = int(incident.spells[0].begins // BIN), int(incident.ends // BIN)
    times = sorted(tally.times)
    bins = range(len(tally.calls))
    return {
        "calls": calls,
        "requests": fleet.backend.requests,
        "success": good / calls,
        "success during": sum(tally.good[cause:end]) / sum(tally.calls[cause:end]),
        "success after": sum(tally.good[end:]) / sum(tally.calls[end:]),
        "amplification": fleet.backend.requests / calls,
        "peak": max(tally.requests[place] for place in bins) / BIN,
        "recovery": recovered(tally, incident),
        "wasted": 1 - good / fleet.backend.work,
        "p50": times[len(times) // 2],
        "p99": times[len(times) * 99 // 100],
        "codes": dict(sorted(tally.codes.items())),
        "goodput": [round(tally.answered[place] / BIN, 3) for place in bins],
        "sent": [round(tally.requests[place] / BIN, 3) for place in bins],
        "offered": [round(count / BIN, 3) for count in tally.calls],
        "open": tally.open_circuits(),
    }


def job(name: str, protection: str, clients: int, seed: int) -> dict[str, object]:
    """A fleet in an incident by their names."""
    incident = next(incident for incident in incidents(clients) if incident.name == name)
    chosen = next(each for each in PROTECTIONS if each.name == protection)
    return play(incident, chosen, clients, seed, arrivals(clients, EVERY, incident.length, seed))


def shown(result: dict) -> list[str]:
    """A run as cells."""
    recovery = result["recovery"]
    return [
        f"{result['success']:.1%}",
        f"{result['success during']:.1%}",
        f"{result['success after']:.1%}",
        "never" if recovery is None else f"{recovery / 60:.0f} min",
        f"{result['amplification']:.2f}",
        f"{result['peak']:.0f}/s",
        f"{result['wasted']:.1%}",
        f"{result['p50']:.1f} s",
        f"{result['p99']:.1f} s",
    ]


HEAD = [
    "clients with",
    "answered",
    "during",
    "after",
    "well again after",
    "requests per call",
    "peak",
    "work wasted",
    "p50",
    "p99",
]


def tables(found: dict[str, dict[str, dict]], texts: dict[str, str]) -> list[results.Table]:
    return [
        results.Table(
            title=incident,
            head=HEAD,
            rows=[[protection, *shown(result)] for protection, result in runs.items()],
            note=texts[incident],
        )
        for incident, runs in found.items()
    ]


def kept(found: dict[str, dict[str, dict]]) -> list[str]:
    """What is not as it should be."""
    return [
        f"{incident}: with all of them it lasts for longer than {BOUND / 60:.0f} minutes"
        for incident, runs in found.items()
        for recovery in [runs["all of them"]["recovery"]]
        if recovery is None or recovery > BOUND
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="incidents whose name contains this")
    options = parser.parse_args(arguments)
    chosen = [incident for incident in incidents(options.clients) if options.only in incident.name]
    if not chosen:
        parser.error("no such incident")
    told = results.versions(["resilient-llm", "backoff"])
    print(f"Python {platform.python_version()}, {told}, seed {options.seed}, {options.clients:,} clients")
    begun = time.monotonic()
    jobs = [
        (incident.name, protection.name, options.clients, options.seed)
        for incident in chosen
        for protection in PROTECTIONS
    ]
    came = parallel.run(job, jobs, "{}: {}".format)
    found: dict[str, dict[str, dict]] = {}
    for (incident, protection, *_), result in zip(jobs, came, strict=True):
        found.setdefault(incident, {})[protection] = result
    seconds, requests = time.monotonic() - begun, sum(result["requests"] for result in came)
    written = tables(found, {incident.name: incident.text for incident in chosen})
    for one in written:
        print(f"\n{one.title}: {one.note}\n{table(one.head, one.rows)}")
    print(f"\n{requests:,} requests in {seconds:.0f} s ({seconds / requests * 1e6:.0f} s a million)")
    results.save(
        "fleet",
        told=told,
        tables=written,
        data={"bin": BIN, "incidents": {one.name: attrs.asdict(one) for one in chosen}, "runs": found},
        options=vars(options),
        configurations={one.name: configuration(one) for one in PROTECTIONS},
    )
    failed = kept(found)
    print("\n".join(failed))
    return 1 if failed else 0


def configuration(protection: Protection) -> str:
    wait = "1 s apart" if protection.steady else "full jitter, 0.5 s doubled to 30 s"
    parts = [f"{protection.retries} retries, {wait}" if protection.retries else "no retries"]
    parts += [name for name in ("budget", "cooldown", "circuit") if getattr(protection, name)]
    return ", ".join(parts) + "; 10 s an attempt"


if __name__ == "__main__":
    raise SystemExit(main())
