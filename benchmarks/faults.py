"""The fault matrix: what each client makes of each fault, over real sockets.

    python benchmarks/faults.py [--only TEXT] [--clients ours,openai_sdk] [--seed 0] [--json FILE] [--markdown FILE]

Exit code 1 if resilient_llm fails a scenario. See `judging.py` for the rules, `scenarios.py` for the rows and
`adapters` for the columns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import platform
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import adapters
import results
from adapters import Place
from judging import Verdict, judge
from scenarios import SCENARIOS, Scenario
from servers import Servers
from tables import markdown, progress, table

from resilient_llm.testing import FaultServer, echo

NOTE = (
    "What the caller got (answer, error of the client's own, foreign error, wrong answer, hang) and how many requests "
    "the backend saw; - where a client has no such thing."
)
Rows = Mapping[str, Mapping[str, Verdict]]


async def cell(scenario: Scenario, adapter: ModuleType, servers: list[FaultServer], seed: int) -> Verdict:
    """One client in one scenario: fresh backends, a fresh client."""
    place = Place(urls=tuple(server.base_url for server in servers), deadline=scenario.deadline, seed=seed)
    messages = list(scenario.question.messages)
    async with adapter.opened(place) as ask:
        return await judge(
            adapter,
            ask,
            servers,
            question=scenario.question,
            expects=scenario.expects,
            expected=echo({"messages": messages}),
            wire=scenario.wire,
            calls=scenario.calls,
            patience=scenario.patience,
            later=scenario.later,
        )


def play(scenario: Scenario, adapter: ModuleType, running: Servers, seed: int) -> Verdict:
    """Run one cell on a fresh event loop."""
    needs = ({"tools"} if scenario.question.tools else set()) | ({"fallback"} if scenario.fallback else set())
    if needs - adapter.ABILITIES:
        return Verdict(None, "cannot")
    draws = random.Random(f"{seed} {scenario.name}")
    options = {} if scenario.reply is None else {"reply": scenario.reply}
    backends = [
        FaultServer(scenario.faults(draws), window=scenario.window, backend=scenario.backend, **options)
    ]
    if scenario.fallback is not None:
        backends.append(FaultServer(scenario.fallback))
    with running.running(backends) as servers:
        return asyncio.run(cell(scenario, adapter, servers, seed))


def compare(clients: Sequence[ModuleType], scenarios: Sequence[Scenario], seed: int) -> Rows:
    """The whole matrix."""
    rows: dict[str, dict[str, Verdict]] = {}
    with Servers() as running:
        for number, scenario in enumerate(scenarios, 1):
            row = rows[scenario.name] = {}
            for adapter in clients:
                progress(f"{number}/{len(scenarios)} {scenario.name}: {adapter.NAME}")
                row[adapter.NAME] = play(scenario, adapter, running, seed)
    progress("")
    return rows


def cells(rows: Rows, clients: Sequence[ModuleType]) -> tuple[list[str], list[list[str]]]:
    """The matrix as texts, and a last line of sums."""
    names = [adapter.NAME for adapter in clients]
    body = [[scenario, *(str(row[name]) for name in names)] for scenario, row in rows.items()]
    sums = [
        f"{sum(row[name].passed is True for row in rows.values())} of "
        f"{sum(row[name].passed is not None for row in rows.values())}"
        for name in names
    ]
    return ["scenario", *names], [*body, ["passed", *sums]]


def why(rows: Rows) -> str:
    """What was wrong in each failed cell."""
    return "\n".join(
        f"{name}, {scenario}: {'; '.join(verdict.reasons)}"
        for scenario, row in rows.items()
        for name, verdict in row.items()
        if verdict.passed is False
    )


def findings(rows: Rows) -> dict[str, dict[str, dict[str, object]]]:
    """The matrix for machines."""
    return {
        scenario: {
            name: {
                "passed": verdict.passed,
                "outcome": verdict.outcome,
                "requests": verdict.requests,
                "seconds": round(verdict.seconds, 3),
                "reasons": verdict.reasons,
            }
            for name, verdict in row.items()
        }
        for scenario, row in rows.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    parser.add_argument(
        "--clients", help="adapters, by module name and separated by commas; default: all there are"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write everything to a file")
    parser.add_argument("--markdown", type=Path, help="write the table to a file")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    clients, missing = adapters.find(options.clients.split(",") if options.clients else None)
    scenarios = [scenario for scenario in SCENARIOS if options.only in scenario.name]
    if not clients or not scenarios:
        parser.error("no such client" if not clients else "no such scenario")
    told = {adapter.NAME: adapters.versions(adapter) for adapter in clients}
    print(f"Python {platform.python_version()}, seed {options.seed}")
    print("\n".join(f"{name}: {version}" for name, version in told.items()))
    print("".join(f"{name} is left out: {reason}\n" for name, reason in missing.items()))
    rows = compare(clients, scenarios, options.seed)
    head, body = cells(rows, clients)
    print(table(head, body), end="\n\n")
    print(why(rows))
    if options.json:
        found = {"seed": options.seed, "versions": told, "missing": missing, "scenarios": findings(rows)}
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(head, body))
    results.save(
        "faults",
        told=told,
        tables=[results.Table(title="What each client makes of each fault", head=head, rows=body, note=NOTE)],
        data={"clients": list(told), "rows": findings(rows)},
        options=vars(options),
        configurations={adapter.NAME: (adapter.__doc__ or "").strip() for adapter in clients},
        missing=missing,
    )
    failed = [
        scenario
        for scenario, row in rows.items()
        for name, verdict in row.items()
        if "resilient_llm" in name and verdict.passed is False
    ]
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
