"""The fault matrix: what each client makes of each fault, over real sockets.

    python benchmarks/faults.py [--only TEXT] [--clients ours,openai_sdk,mine.py] [--scenarios mine.py]
                                [--peer ADAPTER=PYTHON ...] [--seed 0] [--json FILE]

Each client runs in a process of its own, all at the same time; one that is not installed is left out, and that is said.
Exit code 1 if resilient_llm fails a scenario. See `judging.py` for the rules, `scenarios.py` for the rows, `adapters`
for the columns.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import platform
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import adapters
import results
from fault_clients import Client
from fault_matrix import AT_ONCE, Rows, compare
from scenario import Scenario
from scenarios import SCENARIOS
from tables import markdown, table

OURS = "resilient_llm"
CALLER = (
    "answer: whole and right. error: an exception of the client's own. foreign: any other exception. wrong: said to be "
    "the answer, and is not. hang: nothing in time. cancelled: as it was told. FAIL: not what the scenario expects. "
    "-: the client has no such thing."
)
BACKEND = "How many requests (r) the primary saw, and by how many connections (c); FAIL, and what is wrong with that."


def sums(rows: Rows, name: str) -> str:
    """How many scenarios a client passes, of those in which it takes part."""
    taken = [row[name].passed for row in rows.values() if row[name].takes_part]
    return f"{sum(map(bool, taken))} of {len(taken)}" if taken else "-"


def cells(rows: Rows, names: Sequence[str], part: str) -> tuple[list[str], list[list[str]]]:
    """The matrix as texts: `short`, what the callers `got`, or what the backends have `seen`."""
    return ["scenario", *names], [
        [scenario, *(getattr(row[name], part) for name in names)] for scenario, row in rows.items()
    ]


def groups(
    rows: Rows, scenarios: Sequence[Scenario], names: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """A line for each client: how many scenarios of each group it passes."""
    kinds = list(dict.fromkeys(scenario.group for scenario in scenarios))
    parts = [{each.name: rows[each.name] for each in scenarios if each.group == kind} for kind in kinds]
    body = [[name, *(sums(part, name) for part in (*parts, rows))] for name in names]
    return ["client", *kinds, "all"], body


def why(rows: Rows) -> str:
    """What was wrong in each failed cell."""
    return "\n".join(
        f"{name}, {scenario}: {'; '.join((*verdict.reasons, *verdict.raised))}"
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
                "caller": verdict.caller,
                "backend": verdict.backend,
                "requests": verdict.requests,
                "connections": verdict.connections,
                "gaps": [round(gap, 1) for gap in verdict.gaps],
                "seconds": round(verdict.seconds, 1),
                "raised": verdict.raised,
            }
            for name, verdict in row.items()
        }
        for scenario, row in rows.items()
    }


def own(path: str) -> Sequence[Scenario]:
    """The `SCENARIOS` of a file."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SCENARIOS


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="scenarios whose name or group contains this")
    parser.add_argument(
        "--clients", help="adapters, by module name or path, separated by commas; default: all"
    )
    parser.add_argument("--scenarios", metavar="FILE", help="a Python file with SCENARIOS of its own")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="ADAPTER=PYTHON", help="who has a client"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write everything to a file")
    parser.add_argument("--markdown", type=Path, help="write the table to a file")
    options = parser.parse_args(arguments)
    options.rows = [
        scenario
        for scenario in (own(options.scenarios) if options.scenarios else SCENARIOS)
        if options.only in scenario.name or options.only in scenario.group
    ]
    if not options.rows:
        parser.error("no such scenario")
    return options


def save(rows: Rows, options: argparse.Namespace, clients: Sequence[Client], missing: dict[str, str]) -> None:
    """Write the results."""
    names = [client.name for client in clients]
    told = {client.name: client.versions for client in clients}
    configurations = {client.name: client.configuration for client in clients}
    if options.json:
        found = {
            "seed": options.seed,
            "versions": told,
            "configurations": configurations,
            "missing": missing,
            "scenarios": findings(rows),
        }
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(*cells(rows, names, "short")))
    written = (
        (
            "How many scenarios each client passes",
            "Both sides must be right.",
            groups(rows, options.rows, names),
        ),
        ("What the callers got", CALLER, cells(rows, names, "got")),
        ("What the backends saw", BACKEND, cells(rows, names, "seen")),
    )
    results.save(
        "faults",
        told=told,
        tables=[
            results.Table(title=title, head=head, rows=body, note=note)
            for title, note, (head, body) in written
        ],
        data={"clients": names, "rows": findings(rows)},
        options={name: value for name, value in vars(options).items() if name != "rows"},
        configurations=configurations,
        missing=missing,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    options = parsed(arguments)
    pythons = dict(peer.split("=", 1) for peer in options.peer)
    wanted = options.clients.split(",") if options.clients else adapters.names()
    begun = time.monotonic()
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(AT_ONCE) as pool:
        every = [Client(name, pythons.get(name, sys.executable)) for name in wanted]
        for client in pool.map(Client.__enter__, every):
            stack.push(client.__exit__)
        clients = [client for client in every if not client.missing]
        missing = {client.adapter: client.missing for client in every if client.missing}
        print(f"Python {platform.python_version()}, seed {options.seed}")
        print("\n".join(f"{client.name}: {client.versions}; {client.configuration}" for client in clients))
        print("".join(f"{name} is left out: {reason}\n" for name, reason in missing.items()), flush=True)
        rows = compare(clients, options.rows, options.seed)
    names = [client.name for client in clients]
    print(table(*cells(rows, names, "short")), end="\n\n")
    print(why(rows), end="\n\n")
    print(table(*groups(rows, options.rows, names)))
    again = sum(row[name].again for row in rows.values() for name in names)
    print(f"\n{time.monotonic() - begun:.0f} s; played again because the machine was late: {again}")
    save(rows, options, clients, missing)
    failed = [row for row in rows.values() for name in names if OURS in name and row[name].passed is False]
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
