"""Load under failure, over real sockets: calls keep coming while the backend slows down, limits, lags, or is gone.

    python benchmarks/storms.py [--only TEXT] [--rates 0.4,0.7,0.9] [--seed 0]

Every client meets the same arrivals, and a backend of its own of the same kind. Time is virtual (`socket_time.py`): it
stands still while anybody works. Exit code 1 if in any storm a client that protects itself answers more calls than ours
by over five points; where one without any protection does, that is said, too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import platform
import random
import time
from collections import Counter
from collections.abc import Sequence

import attrs
import results
from capacity import Incident, Spell
from socket_time import run_with_sockets
from storm_clients import ABLATIONS, BARE, OURS, PATIENCE, PEERS, Asked, Policy, States, present
from storm_server import Place, answer_to
from tables import progress, table

CAPACITY = 5.0
LENGTH = 90.0
BIN = 3.0
MARGIN = 0.05
RATES = (0.4, 0.7, 0.9)
MIDDLE = 0.7
WHY = (
    "By more than five points. What took the calls can be read from the table of the storm: ours without the stage "
    "that costs them answers more. A circuit rejects for half a minute, and twice as long after each failed probe, "
    "what a backend that serves some calls would have answered."
)
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


async def one(ask: object, prompt: str) -> str:
    """Why a call failed, or nothing. A caller leaves when the patience is at its end."""
    try:
        async with asyncio.timeout(PATIENCE):
            text = await ask(prompt)
    except TimeoutError:
        return "left"
    except Exception as exc:  # noqa: BLE001 - each client has its own
        return type(exc).__name__
    return "" if text == answer_to(prompt) else "wrong"


async def lane(ask: object, come: Sequence[float], began: float) -> list[Call]:
    """All calls of one client."""
    now = asyncio.get_running_loop().time
    calls: list[Call] = []

    async def call(at: float, number: int) -> None:
        await asyncio.sleep(began + at - now())
        started, prompt = now(), f"call {number}"
        failed = await one(ask, prompt)
        tokens = 0 if failed else len(answer_to(prompt).split())
        calls.append(Call(started - began, now() - began, failed, tokens))

    await asyncio.gather(*(call(at, number) for number, at in enumerate(come)))
    return sorted(calls, key=lambda call: call.began)


async def storm(incident: Incident, policies: Sequence[Policy], rate: float, seed: int) -> dict[str, dict]:
    """All clients in one storm, each with backends of its own; what came of each."""
    random.seed(f"{seed} {incident.name} {rate}")  # where clients take chances that they let nobody give them
    come, now = arrivals(rate * CAPACITY, seed), asyncio.get_running_loop().time
    async with contextlib.AsyncExitStack() as stack:
        places = [await stack.enter_async_context(Place(incident)) for _ in policies]
        states = [States() for _ in policies]
        asks = [
            await stack.enter_async_context(
                policy.opened(Asked(url=place.urls[0], spare=place.urls[1], seed=seed, states=seen))
            )
            for policy, place, seen in zip(policies, places, states, strict=True)
        ]
        await asyncio.gather(*(one(ask, "warm up") for ask in asks))
        for place in places:
            place.begin()
        began = now()
        lanes = await asyncio.gather(*(lane(ask, come, began) for ask in asks))
        return {
            policy.name: {
                **measured(calls, incident, place),
                "states": [(round(at - began, 2), state) for at, state in seen.seen],
            }
            for policy, calls, place, seen in zip(policies, lanes, places, states, strict=True)
        }


def measured(calls: Sequence[Call], incident: Incident, place: Place) -> dict[str, object]:
    """What is told of one client in one storm."""
    good = [call for call in calls if not call.failed]
    requests, tokens = place.requests, place.tokens
    used = sum(call.tokens for call in good)
    times = sorted(call.ended - call.began for call in good) or [0.0]
    bad = [call.began for call in calls if call.failed and call.began >= incident.ends]
    goodput = Counter(int(call.ended // BIN) for call in good)
    sent = Counter(int(at // BIN) for at in requests)
    bins = range(int(LENGTH // BIN))
    return {
        "calls": len(calls),
        "success": len(good) / len(calls),
        "goodput": [goodput[place] / BIN for place in bins],
        "sent": [sent[place] / BIN for place in bins],
        "p50": times[len(times) // 2],
        "p99": times[len(times) * 99 // 100],
        "times": [round(seconds, 2) for seconds in times],
        "recovery": max(bad, default=incident.ends) - incident.ends,
        "recovered": not bad or max(bad) < LENGTH - BIN,
        "amplification": len(requests) / len(calls),
        "wasted": 1 - used / tokens if tokens else 0.0,
        "failures": dict(Counter(call.failed for call in calls if call.failed)),
    }


HEAD = [
    "client",
    "answered",
    "goodput",
    "p50",
    "p99",
    "well again after",
    "requests per call",
    "tokens wasted",
]


def shown(result: dict) -> list[str]:
    return [
        f"{result['success']:.1%}",
        f"{result['success'] * result['calls'] / LENGTH:.2f}/s",
        f"{result['p50']:.1f} s",
        f"{result['p99']:.1f} s",
        f"{result['recovery']:.0f} s" if result["recovered"] else "not in time",
        f"{result['amplification']:.2f}",
        f"{result['wasted']:.1%}",
    ]


def tables(found: dict[str, dict[str, dict[str, dict]]]) -> list[results.Table]:
    """A table for each storm: clients and rates, then what each stage buys."""
    texts = {incident.name: incident.text for incident in STORMS}
    written = []
    for name, rates in found.items():
        rows = [
            [f"{policy}, {rate}", *shown(result)]
            for rate, runs in rates.items()
            for policy, result in runs.items()
        ]
        note = f"{texts[name]} The number behind a client is the load, as a share of the capacity."
        written.append(results.Table(title=name, head=HEAD, rows=rows, note=note))
    better = beaten(found, [policy.name for policy in PEERS if policy.name != OURS])
    title = "Where another client answers more"
    if better:
        rows = [line.split(": ", 1) for line in better]
        written.append(results.Table(title=title, head=["storm", "shares of the calls"], rows=rows, note=WHY))
    return written


def beaten(found: dict[str, dict[str, dict[str, dict]]], peers: Sequence[str]) -> list[str]:
    """Where one of these clients is better than ours."""
    return [
        f"{name} at {rate}: {policy} answers {result['success']:.1%}, {OURS} {runs[OURS]['success']:.1%}"
        for name, rates in found.items()
        for rate, runs in rates.items()
        if OURS in runs
        for policy, result in runs.items()
        if policy in peers and result["success"] > runs[OURS]["success"] + MARGIN
    ]


def play(options: argparse.Namespace, peers: Sequence[Policy]) -> dict[str, dict[str, dict[str, dict]]]:
    """All storms."""
    chosen = [incident for incident in STORMS if options.only in incident.name]
    found: dict[str, dict[str, dict[str, dict]]] = {}
    for number, incident in enumerate(chosen, 1):
        rates = found[incident.name] = {}
        for rate in options.rates:
            group = [*peers, *ABLATIONS] if rate == MIDDLE else peers
            progress(f"{number}/{len(chosen)} {incident.name} at {rate:g}: {len(group)} clients")
            rates[f"{rate:g}"] = run_with_sockets(storm(incident, group, rate, options.seed))
    progress("")
    return found


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
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    if not any(options.only in incident.name for incident in STORMS):
        parser.error("no such storm")
    peers, missing = present(PEERS)
    told = {policy.name: policy.versions() for policy in peers}
    print(f"Python {platform.python_version()}, seed {options.seed}")
    print("\n".join(f"{policy.name}: {policy.versions()}; {policy.configuration}" for policy in peers))
    print("".join(f"{name} is left out: {reason}\n" for name, reason in missing.items()))
    begun = time.monotonic()
    found = play(options, peers)
    written = tables(found)
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
    print("\n".join(beaten(found, [BARE])))
    failed = beaten(found, [policy.name for policy in peers if policy.name not in {OURS, BARE}])
    print("\n".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
