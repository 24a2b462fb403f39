"""Mutation testing: does a test fail when a line is wrong?

    python benchmarks/mutation.py [--sample 600 | --all] [--only policy/circuit] [--seed 0] [--json FILE]

Small mistakes are put into the modules of `policy/`, `response.py` and `pipeline.py`, one at a time. Those inside
functions are tried with the tests that reach them (`mutation_swap.py`); those that matter at import, with the tests
that are about the module, each in a fork of a process that has imported everything but the package. Modules with
mistakes are compiled in memory, no file is changed. A mistake that no test notices has survived; those that cannot be
noticed are listed with the reason in `mutation_survivors.toml` and count apart. Exit code 1 below 95 %.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.abc
import importlib.util
import json
import os
import random
import signal
import sys
import tempfile
import time
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
from mutants import Mutant, mutants, mutated
from mutation_swap import WORKERS, Hunter
from tables import progress, table

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "resilient_llm"
ACCEPTED = Path(__file__).with_name("mutation_survivors.toml")
GOAL = 0.95
TESTS = {
    "policy/classify": "tests/policy/test_classify*.py tests/policy/test_retry_after.py",
    "policy/retry_after": "tests/policy/test_retry_after.py tests/policy/test_classify*.py",
    "policy/context_size": "tests/policy/test_context_size.py tests/policy/test_classify*.py",
    "policy/circuit": "tests/policy/test_*circuit*.py tests/middleware/test_circuit_breaker.py",
    "policy/window": "tests/policy/test_window.py tests/policy/test_circuit*.py",
    "policy/aiobreaker": "tests/policy/test_aiobreaker_terms.py tests/middleware/test_circuit_breaker.py",
    "policy/backoff": "tests/policy/test_backoff.py tests/middleware/test_retry.py",
    "policy/outcomes": "tests/policy/test_outcomes.py tests/middleware/test_retry.py",
    "policy/batches": "tests/test_embedding.py",
    "policy/fleet": "tests/policy/test_fleet*.py tests/state/test_*.py",
    "policy/shared_circuit": "tests/policy/test_shared_circuit.py tests/middleware/test_circuit_breaker.py",
    "policy/leased": "tests/policy/test_leased.py tests/state/test_*.py",
    "policy/buckets": "tests/policy/test_buckets.py tests/policy/test_rate_limit.py tests/middleware/test_rate*.py",
    "policy/release": "tests/policy/test_release.py tests/middleware/test_release.py",
    "policy/pictures": "tests/policy/test_rate_limit.py tests/middleware/test_rate_limit.py",
    "policy/cooldown": "tests/policy/test_cooldown.py tests/middleware/test_rate*.py tests/test_limits.py",
    "policy/rate": "tests/policy/test_rate*.py tests/middleware/test_rate_limit.py tests/test_limits.py",
    "policy/lessons": "tests/policy/test_lessons.py tests/middleware/test_token_budget*.py",
    "policy/fault_plan": "tests/policy/test_fault_plan.py tests/testing/test_fault_injection.py",
    "response": "tests/test_response.py tests/test_pipeline.py tests/test_cancellation.py tests/middleware/test_*.py",
    "pipeline": "tests/test_pipeline.py tests/test_composition.py tests/test_client.py tests/test_fallback.py",
}
"""The tests that are about a module, by the beginning of its path; others: those of its name, then its users'."""


SUITE = """
tests/policy tests/middleware tests/state tests/testing/test_fault_injection.py tests/test_cancellation.py
tests/test_client.py tests/test_composition.py tests/test_embedding.py tests/test_errors.py tests/test_fallback.py
tests/test_options.py tests/test_pipeline.py tests/test_recovery_and_fallback.py tests/test_response.py
tests/test_stream_endings.py tests/test_targets.py tests/test_timeout.py
""".split()  # noqa: SIM905 - as one would type it
"""The tests that mistakes inside functions are tried with."""

OPTIONS = (
    *("-W", "ignore::pytest.PytestAssertRewriteWarning", "-x", "-q", "--no-header"),
    *("-p", "no:cacheprovider", "--hypothesis-profile=mutation"),
)


def tests_of(module: str) -> list[str]:
    """The test files to run for a module, its own first."""
    stem = module.removesuffix(".py")
    patterns = [names for start, names in TESTS.items() if stem.startswith(start)]
    own = [f"tests/policy/test_{Path(stem).name}*.py", "tests/middleware/test_*.py", "tests/test_fallback.py"]
    found = [
        str(path.relative_to(ROOT))
        for name in " ".join(patterns or own).split()
        for path in sorted(ROOT.glob(name))
    ]
    return list(dict.fromkeys(found))


# One run ...


class _Planted(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a tree instead of its file."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self._name, self._path, self._tree = name, path, tree

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(name, self._path, loader=self)

    def exec_module(self, module: object) -> None:
        exec(compile(self._tree, str(self._path), "exec"), module.__dict__)  # noqa: S102 - our own code


def run_tests(files: Sequence[str], mutant: Mutant | None) -> int:
    """In a fork: plant the mistake and run the tests; pytest's exit code."""
    import pytest

    if mutant is not None:
        path = PACKAGE / mutant.module
        name = ".".join(["resilient_llm", *Path(mutant.module).with_suffix("").parts])
        sys.meta_path.insert(0, _Planted(name, path, mutated(mutant, path.read_text())))
        try:
            importlib.import_module(name)  # now: pytest would import it past what was planted
        except Exception:  # noqa: BLE001 - whatever it is, everybody would notice
            return 1
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    return int(pytest.main([*OPTIONS, *files]))


def warm() -> None:
    """Import what tests need, but nothing of the package."""
    import aiobreaker  # noqa: F401
    import aiohttp  # noqa: F401
    import backoff  # noqa: F401
    import hypothesis.stateful
    import msgspec  # noqa: F401
    import structlog  # noqa: F401
    import tiktoken  # noqa: F401

    hypothesis.settings.register_profile(
        "mutation",
        deadline=None,
        max_examples=30,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


@attrs.define
class Run:
    """A fork at work."""

    mutant: Mutant | None
    pid: int
    begun: float
    limit: float


def start(files: Sequence[str], mutant: Mutant | None, limit: float) -> Run:
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.setpgid(0, 0)
            code = run_tests(files, mutant)
        finally:
            os._exit(code)
    return Run(mutant, pid, time.monotonic(), limit)


def finished(run: Run) -> bool | None:
    """True: a test noticed. False: none did. None: still running. Out of time is noticed, too."""
    pid, status = os.waitpid(run.pid, os.WNOHANG)
    if pid:
        return os.waitstatus_to_exitcode(status) != 0
    if time.monotonic() - run.begun < run.limit:
        return None
    os.killpg(run.pid, signal.SIGKILL)
    os.waitpid(run.pid, 0)
    return True


# All of them ...


def clean_seconds(files: Sequence[str]) -> float:
    """How long the tests take without a mistake; they must pass."""
    run = start(files, None, 300.0)
    try:
        while (noticed := finished(run)) is None:
            time.sleep(0.02)
    except KeyboardInterrupt:
        os.killpg(run.pid, signal.SIGKILL)
        raise
    if noticed:
        raise SystemExit(f"the tests fail as they are: pytest {' '.join(files)}")
    return time.monotonic() - run.begun


def hunt_inside(chosen: Sequence[Mutant], tests: Sequence[str]) -> dict[Mutant, bool]:
    """Which mistakes in functions were noticed; without those that no test reaches."""
    if not chosen:
        return {}
    import pytest

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "noticed.json")
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                code = int(pytest.main([*OPTIONS, "-s", *tests], plugins=[Hunter(chosen, PACKAGE, out)]))
            finally:
                os._exit(code)
        os.waitpid(pid, 0)
        if not out.exists():
            raise SystemExit("the tests could not be run")
        noticed = json.loads(out.read_text())
    return {chosen[int(place)]: seen for place, seen in noticed.items()}


def hunt(chosen: Sequence[Mutant]) -> dict[Mutant, bool]:
    """Which mistakes that matter at import were noticed."""
    files = {module: tests_of(module) for module in {mutant.module for mutant in chosen}}
    limits: dict[tuple[str, ...], float] = {}
    for number, module in enumerate(sorted(files), 1):
        progress(f"clean run {number}/{len(files)}: {module}")
        key = tuple(files[module])
        if key not in limits:
            limits[key] = max(60.0, 10 * clean_seconds(key))
    results: dict[Mutant, bool] = {}
    running: list[Run] = []
    try:
        _work(list(reversed(chosen)), running, results, files, limits)
    except KeyboardInterrupt:
        print(f"interrupted after {len(results)}", file=sys.stderr)
    finally:
        for run in running:
            os.killpg(run.pid, signal.SIGKILL)
            os.waitpid(run.pid, 0)
    progress("")
    return results


def _work(
    waiting: list[Mutant],
    running: list[Run],
    results: dict[Mutant, bool],
    files: Mapping[str, Sequence[str]],
    limits: Mapping[tuple[str, ...], float],
) -> None:
    """Run what waits, a few at a time."""
    total = len(waiting)
    while waiting or running:
        while waiting and len(running) < WORKERS:
            mutant = waiting.pop()
            tests = files[mutant.module]
            running.append(start(tests, mutant, limits[tuple(tests)]))
        time.sleep(0.02)
        for run in list(running):
            noticed = finished(run)
            if noticed is not None:
                running.remove(run)
                results[run.mutant] = noticed
                alive = sum(not noticed for noticed in results.values())
                progress(f"{len(results)}/{total} mutants, {alive} alive")


def reasons() -> dict[tuple[str, str, str, str], str]:
    """The survivors that cannot be noticed, and why."""
    if not ACCEPTED.exists():
        return {}
    entries = tomllib.loads(ACCEPTED.read_text())["survivor"]
    return {
        (entry["module"], entry["function"], entry["before"], entry["after"]): entry["why"]
        for entry in entries
    }


def report(results: dict[Mutant, bool]) -> tuple[float, list[Mutant]]:
    """Print the table; the share that was killed of those that can be, and the survivors without a reason."""
    accepted = reasons()
    rows: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    alive = []
    for mutant, noticed in results.items():
        row = rows[mutant.module]
        if noticed:
            row[0] += 1
        elif mutant.key in accepted:
            row[2] += 1
        else:
            row[1] += 1
            alive.append(mutant)
    sums = [sum(row[place] for row in rows.values()) for place in range(3)]
    body = [[module, *map(str, row), _share(row)] for module, row in sorted(rows.items())]
    print(
        table(
            ["module", "killed", "survived", "equivalent", "share"],
            [*body, ["all", *map(str, sums), _share(sums)]],
        )
    )
    for mutant in sorted(alive, key=lambda mutant: (mutant.module, mutant.line)):
        print(f"survived: {mutant}")
    for mutant, noticed in results.items():
        if not noticed and mutant.key in accepted:
            print(f"equivalent: {mutant} ({accepted[mutant.key]})")
    return sums[0] / max(1, sums[0] + sums[1]), alive


def _share(row: Sequence[int]) -> str:
    return f"{row[0] / max(1, row[0] + row[1]):.1%}"


def all_mutants(only: str) -> list[Mutant]:
    paths = [*sorted((PACKAGE / "policy").glob("*.py")), PACKAGE / "response.py", PACKAGE / "pipeline.py"]
    modules = [(str(path.relative_to(PACKAGE)), path) for path in paths]
    return [
        mutant for module, path in modules if only in module for mutant in mutants(module, path.read_text())
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sample", type=int, default=600, help="how many mistakes to try")
    parser.add_argument("--all", action="store_true", help="try all of them")
    parser.add_argument(
        "--only", default="", help="modules whose path contains this, and the tests about them alone"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the survivors to a file")
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    warm()
    found = all_mutants(options.only)
    chosen = (
        found if options.all else random.Random(options.seed).sample(found, min(options.sample, len(found)))
    )
    chosen.sort(key=lambda mutant: (mutant.module, mutant.line))
    print(f"{len(chosen)} of {len(found)} mutants, seed {options.seed}")
    inside = [mutant for mutant in chosen if mutant.runs]
    tests = SUITE
    if options.only:
        tests = sorted({file for mutant in inside for file in tests_of(mutant.module)})
    results = hunt_inside(inside, tests)
    results |= hunt([mutant for mutant in chosen if mutant not in results])
    share, alive = report(results)
    print(f"{share:.1%} killed (goal {GOAL:.0%})")
    if options.json:
        options.json.write_text(json.dumps([attrs.asdict(mutant) for mutant in alive], indent=2) + "\n")
    return 0 if share >= GOAL else 1


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:
        raise SystemExit(130) from None
