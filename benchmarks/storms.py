"""Load under failure, over real sockets: calls keep coming while the backend slows down, limits, lags, or is gone.

    python benchmarks/storms.py [--only TEXT] [--rates 0.4,0.7,0.9] [--seed 0] [--seeds 3]

Every client meets the same arrivals, and a backend of its own of the same kind. Every third call is a stream. Time is
virtual (`socket_time.py`): it stands still while anybody works. Figures are medians of several draws of chance. Exit
code 1 if in any storm a client that protects itself answers more calls than ours by over five points; where one without
any protection does, that is said, too.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import platform
import random
import time
from collections import Counter
from collections.abc import Sequence

import attrs
import parallel
import results
from adapters import Ask, Question
from capacity import Incident, Spell
from socket_time import run_with_sockets
from storm_clients import ABLATIONS, BARE, OURS, PATIENCE, PEERS, Asked, Policy, States, present
from storm_server import Place, answer_to
from storm_tables import beaten, summed, tables
from tables import table

CAPACITY = 5.0
LENGTH = 90.0
BIN = 3.0
RATES = (0.4, 0.7, 0.9)
MIDDLE = 0.7
STREAMED = 3
"""Each call with such a number is a stream."""
USUAL = {"capacity": CAPACITY, "length": LENGTH, "queue": 15.0, "thrash": 0.25, "refusal": 0.2}

STORMS = (
    Incident(
        name="brown-out",
        text="A third of the capacity from 15 to 35 s; what nobody waits for any more is worked on all the same.",
        spells=(Spell(15.0, 35.0, speed=0.33),),
        **USUAL,
    ),
    Incident(
        name="rate limit",
        text="From 15 to 35 s two requests a second are let in, the others refused with Retry-After: 4, at a fifth of "
        "an answer's cost.",
        spells=(Spell(15.0, 35.0, limit=2.0),),
        asks=4.0,
        **USUAL,
    ),
    Incident(
        name="latency tail",
        text="From 15 to 45 s one request in six takes 40 s longer.",
        spells=(Spell(15.0, 45.0, slow=1 / 6),),
        delay=40.0,
        **USUAL,
    ),
    Incident(
        name="outage",
        text="Connections are reset from 15 to 35 s; then half of the capacity for ten seconds.",
        spells=(Spell(15.0, 35.0, speed=0.0), Spell(35.0, 45.0, speed=0.5)),
        **USUAL,
    ),
    Incident(
        name="flapping",
        text="Gone for four seconds, four times: from 12, 22, 32 and 42 s.",
        spells=tuple(Spell(begins, begins + 4.0, speed=0.0) for begins in (12.0, 22.0, 32.0, 42.0)),
        **USUAL,
    ),
)


@attrs.frozen
class Call:
    """How a call went, in seconds since the storm began; `failed`: why, or nothing."""

    began: float
    ended: float
    failed: str
    tokens: int


def arrivals(rate: float, seed: int) -> list[float]:
    """When calls come: at a rate, by chance."""
    draws, now, come = random.Random(f"{seed} {rate}"), 0.0, []
    while (now := now + draws.expovariate(rate)) < LENGTH:
        come.append(now)
    return come


async def one(ask: Ask, prompt: str, *, stream: bool = False) -> str:
    """Why a call failed, or nothing. A caller leaves when the patience is at its end."""
    question = Question(messages=({"role": "user", "content": prompt},), stream=stream)
    try:
        async with asyncio.timeout(PATIENCE):
            got = await ask(question)
    except TimeoutError:
        return "left"
    except Exception as exc:  # noqa: BLE001 - each client has its own
        return type(exc).__name__
    return "" if got.text == answer_to(prompt) else "wrong"


async def lane(ask: Ask, come: Sequence[float], began: float) -> list[Call]:
    """All calls of one client."""
    now = asyncio.get_running_loop().time
    calls: list[Call] = []

    async def call(at: float, number: int) -> None:
        await asyncio.sleep(began + at - now())
        started, prompt = now(), f"call {number}"
        failed = await one(ask, prompt, stream=number % STREAMED == 0)
        tokens = 0 if failed else len(answer_to(prompt).split())
        calls.append(Call(started - began, now() - began, failed, tokens))

    await asyncio.gather(*(call(at, number) for number, at in enumerate(come)))
    return sorted(calls, key=lambda call: call.began)


async def storm(incident: Incident, policy: Policy, rate: float, seed: int) -> dict[str, object]:
    """A client in a storm, with backends of its own; what came of it."""
    random.seed(f"{seed} {incident.name} {rate}")  # where clients take chances that they let nobody give them
    come, now, states = arrivals(rate * CAPACITY, seed), asyncio.get_running_loop().time, States()
    async with Place(incident) as place:
        asked = Asked(url=place.urls[0], spare=place.urls[1], seed=seed, states=states)
        async with policy.opened(asked) as ask:
            await one(ask, "warm up")
            place.begin()
            began = now()
            calls = await lane(ask, come, began)
            seen = [(round(at - began, 2), state) for at, state in states.seen]
            return {**measured(calls, incident, place), "states": seen}


def measured(calls: Sequence[Call], incident: Incident, place: Place) -> dict[str, object]:
    """What is told of one client in one storm."""
    good = [call for call in calls if not call.failed]
    requests, tokens = place.requests, place.tokens
    used = sum(call.tokens for call in good)
    times = sorted(call.ended - call.began for call in good) or [0.0]
    bad = [call.began for call in calls if call.failed and call.began >= incident.ends]
    not_in_time = bool(bad) and max(bad) >= LENGTH - BIN
    goodput = Counter(int(call.ended // BIN) for call in good)
    sent = Counter(int(at // BIN) for at in requests)
    bins = range(int(LENGTH // BIN))
    return {
        "calls": len(calls),
        "success": len(good) / len(calls),
        "answers": len(good) / LENGTH,
        "goodput": [goodput[place] / BIN for place in bins],
        "sent": [sent[place] / BIN for place in bins],
        "p50": times[len(times) // 2],
        "p99": times[len(times) * 99 // 100],
        "times": [round(seconds, 2) for seconds in times],
        "recovery": None if not_in_time else max(bad, default=incident.ends) - incident.ends,
        "amplification": len(requests) / len(calls),
        "wasted": 1 - used / tokens if tokens else 0.0,
        "failures": dict(Counter(call.failed for call in calls if call.failed)),
    }


def play(options: argparse.Namespace, peers: Sequence[Policy]) -> dict[str, dict[str, dict[str, dict]]]:
    """All storms: what came of each client at each rate, over the seeds."""
    places = [
        (incident.name, rate, policy.name)
        for incident in STORMS
        if options.only in incident.name
        for rate in options.rates
        for policy in ([*peers, *ABLATIONS] if rate == MIDDLE else peers)
    ]
    seeds = range(options.seed, options.seed + options.seeds)
    jobs = sorted(((*place, seed) for seed in seeds for place in places), key=lambda job: -job[1])
    came = dict(zip(jobs, parallel.run(job, jobs, "{} at {:g}: {}, seed {}".format), strict=True))
    found: dict[str, dict[str, dict[str, dict]]] = {}
    for name, rate, policy in places:
        runs = [came[name, rate, policy, seed] for seed in seeds]
        found.setdefault(name, {}).setdefault(f"{rate:g}", {})[policy] = summed(runs)
    return found


def job(name: str, rate: float, policy: str, seed: int) -> dict[str, object]:
    """A storm by the names of its parts."""
    incident = next(incident for incident in STORMS if incident.name == name)
    chosen = next(each for each in (*PEERS, *ABLATIONS) if each.name == policy)
    return run_with_sockets(storm(incident, chosen, rate, seed))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="storms whose name contains this")
    parser.add_argument(
        "--rates",
        type=lambda text: [float(rate) for rate in text.split(",")],
        default=list(RATES),
        help="loads, as shares of the capacity; at 0.7 stages are taken away, too",
    )
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--seeds", type=int, default=3, help="how many draws of chance")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    if not any(options.only in incident.name for incident in STORMS):
        parser.error("no such storm")
    peers, missing = present(PEERS)
    told = {policy.name: policy.versions() for policy in peers}
    print(f"Python {platform.python_version()}, seed {options.seed}, {options.seeds} draws")
    print("\n".join(f"{policy.name}: {policy.versions()}; {policy.configuration}" for policy in peers))
    print("".join(f"{name} is left out: {reason}\n" for name, reason in missing.items()))
    begun = time.monotonic()
    found = play(options, peers)
    others = [policy.name for policy in peers if policy.name != OURS]
    written = tables(found, {incident.name: incident.text for incident in STORMS}, others)
    for one_table in written:
        print(f"\n{one_table.title}: {one_table.note}\n{table(one_table.head, one_table.rows)}")
    print(f"\n{time.monotonic() - begun:.0f} s")
    results.save(
        "storms",
        told=told,
        tables=written,
        data={
            "bin": BIN,
            "length": LENGTH,
            "middle": f"{MIDDLE:g}",
            "incidents": {incident.name: attrs.asdict(incident) for incident in STORMS},
            "runs": found,
        },
        options={**vars(options), "rates": ", ".join(f"{rate:g}" for rate in options.rates)},
        configurations={policy.name: policy.configuration for policy in (*peers, *ABLATIONS)},
        missing=missing,
    )
    return 1 if beaten(found, [name for name in others if name != BARE]) else 0


if __name__ == "__main__":
    raise SystemExit(main())
