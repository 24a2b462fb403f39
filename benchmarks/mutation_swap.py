"""Mistakes inside functions: their code is swapped in forks of a process that has collected all tests.

One run of all tests under coverage tells which of them reach which line. A mistake is then tried in a fork that need
neither import nor collect anything: with the tests that reach its line, the quickest first, then with others that reach
its module (what a cache has kept is reached by the first test alone).
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import TypeAlias

import attrs
import pytest
from _pytest.runner import runtestprotocol
from mutants import Mutant, mutated, statement_lines
from tables import progress

WORKERS = 2
Functions: TypeAlias = "defaultdict[tuple[str, str, int], list[FunctionType]]"

MOST_SECONDS = 20.0
"""A mistake is tried with no more tests than take this long without it."""


@attrs.frozen
class Known:
    """What the clean run told: the tests that reach a line, and how many seconds of CPU each takes."""

    reaching: dict[str, dict[int, set[int]]]
    seconds: list[float]


@attrs.define
class Hunter:
    """A pytest plugin that tries mistakes instead of running the tests once.

    Args:
        chosen: The mistakes; all inside functions.
        package: The package's folder.
        out: Where the results go, as JSON: for each place in `chosen` whether the mistake was noticed. Those that no
            test reaches are left out: they are in functions that run at import, or in none that runs.
    """

    chosen: Sequence[Mutant]
    package: Path
    out: Path

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = session.items
        progress(f"clean run of {len(items)} tests, for what they reach")
        modules = sorted({mutant.module for mutant in self.chosen})
        for module in modules:
            name = ".".join([self.package.name, *Path(module).with_suffix("").parts])
            importlib.import_module(name)  # some are imported only when they are needed
        known = _learn(items, [self.package / module for module in modules])
        gc.collect()
        functions = _functions({str(self.package / module) for module in modules})
        gc.freeze()  # a collection in a fork would copy every page
        noticed = dict(_race(self._attempts(items, known, functions)))
        progress("")
        self.out.write_text(json.dumps(noticed))
        return True

    def _attempts(
        self, items: list[pytest.Item], known: Known, functions: Functions
    ) -> Iterator[tuple[int, Callable[[], int], float]]:
        for place, mutant in enumerate(self.chosen):
            path = self.package / mutant.module
            reach = known.reaching.get(str(path), {})
            lines = set(statement_lines(mutant, path.read_text()))
            near = {test for line in lines for test in reach.get(line, ())}
            if not near:
                continue
            own = "test_" + path.stem

            def order(test: int, near: set[int] = near, own: str = own) -> tuple[bool, bool, float]:
                return test not in near, own not in str(items[test].path), known.seconds[test]

            ordered = sorted({test for tests in reach.values() for test in tests}, key=order)
            picked, total = [], 0.0
            for test in ordered:
                total += known.seconds[test]
                if picked and total > MOST_SECONDS:
                    break
                picked.append(items[test])
            progress(f"{place}/{len(self.chosen)} mistakes")
            yield place, partial(_try, mutant, path, functions, picked), total


def _learn(items: list[pytest.Item], paths: Sequence[Path]) -> Known:
    """Run all tests in a fork, under coverage."""
    import coverage

    with tempfile.TemporaryDirectory() as folder:
        data, told = Path(folder, "data"), Path(folder, "told")

        def run() -> int:
            watch = coverage.Coverage(
                data_file=str(data), include=[str(path) for path in paths], config_file=False
            )
            watch.start()
            seconds, failed = [], []
            for place, item in enumerate(items):
                watch.switch_context(str(place))
                begun = time.process_time()
                if not _passes(item, items[place + 1] if place + 1 < len(items) else None):
                    failed.append(item.nodeid)
                seconds.append(time.process_time() - begun)
            watch.stop()
            watch.save()
            told.write_text(json.dumps([seconds, failed]))
            return 0

        pid = _fork(run)
        _, status = os.waitpid(pid, 0)
        if status or not told.exists():
            raise pytest.UsageError("the clean run broke off")
        seconds, failed = json.loads(told.read_text())
        if failed:
            raise pytest.UsageError(f"these tests fail as they are: {' '.join(failed)}")
        found = coverage.CoverageData(str(data))
        found.read()
        reaching: dict[str, dict[int, set[int]]] = defaultdict(dict)
        for name in found.measured_files():
            for line, contexts in found.contexts_by_lineno(name).items():
                reaching[name][line] = {int(context) for context in contexts if context}
        return Known(reaching, seconds)


def _passes(item: pytest.Item, following: pytest.Item | None) -> bool:
    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=following))


def _try(mutant: Mutant, path: Path, functions: Functions, items: Sequence[pytest.Item]) -> int:
    """In a fork: 1 if a test notices the mistake."""
    swapped = 0
    for inner in _codes(compile(mutated(mutant, path.read_text()), str(path), "exec")):
        for function in functions[_identity(inner)]:
            function.__code__ = inner
            swapped += 1
    if not swapped:
        return 3
    for place, item in enumerate(items):
        if not _passes(item, items[place + 1] if place + 1 < len(items) else None):
            return 1
    return 0


def _functions(paths: set[str]) -> Functions:
    """The functions of some files, by what their code is called."""
    found: Functions = defaultdict(list)
    gc.unfreeze()  # what is frozen is not among the objects
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename in paths:
            found[_identity(thing.__code__)].append(thing)
    return found


def _identity(code: CodeType) -> tuple[str, str, int]:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


# Forks ...


def _fork(work: Callable[[], int]) -> int:
    """Do something in a process of its own, without a word; its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        code = work()
    finally:
        os._exit(code)


def _race(attempts: Iterator[tuple[int, Callable[[], int], float]]) -> Iterator[tuple[int, bool]]:
    """Make the attempts, a few at a time; gives each one's number, and whether a test noticed (or it hung)."""
    running: dict[int, tuple[int, float]] = {}
    try:
        while True:
            while len(running) < WORKERS and (attempt := next(attempts, None)) is not None:
                number, work, seconds = attempt
                running[_fork(work)] = number, time.monotonic() + 30.0 + 5 * seconds
            if not running:
                return
            time.sleep(0.005)
            for pid, (number, until) in list(running.items()):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    del running[pid]
                    code = os.waitstatus_to_exitcode(status)
                    if code == 3:
                        raise pytest.UsageError(f"mistake {number} is in no function that is there")
                    yield number, code != 0
                elif time.monotonic() > until:
                    _kill(pid)
                    del running[pid]
                    yield number, True
    finally:
        for pid in running:
            _kill(pid)


def _kill(pid: int) -> None:
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
