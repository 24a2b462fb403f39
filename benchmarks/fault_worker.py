"""Plays one client's part in the fault matrix, in whatever Python has that client: a worker of `faults.py`.

    python fault_worker.py ADAPTER

`ADAPTER` is a module of `adapters`, or the path of a file that is none of them. The first line that is written tells
who it is, or why it cannot be; then jobs are read and results written, one JSON object a line.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import logging
import os
import random
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import TextIO

import adapters
import attrs
from adapters import Ask, Got, Place, Question
from lateness import Lateness

THREADS = 32
"""For clients that block."""
TOLD = 200
"""Characters of an exception's text that are told."""


def load(name: str) -> ModuleType:
    """An adapter by its name, or by its path."""
    if not name.endswith(".py"):
        return importlib.import_module(f"adapters.{name}")
    spec = importlib.util.spec_from_file_location(f"adapters.{Path(name).stem}", name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def introduced(adapter: ModuleType) -> dict[str, object]:
    """Who a client is."""
    return {
        "name": adapter.NAME,
        "abilities": sorted(adapter.ABILITIES),
        "versions": adapters.versions(adapter),
        "configuration": " ".join((adapter.__doc__ or "").split()),
    }


async def one(
    ask: Ask, question: Question, patience: float, own: tuple[type, ...]
) -> tuple[str, Got | BaseException | None]:
    """Ask once; the outcome before the answer is looked at."""
    try:
        async with asyncio.timeout(patience) as limit:
            return "answer", await ask(question)
    except TimeoutError as exc:
        return ("hang", None) if limit.expired() else ("error" if isinstance(exc, own) else "foreign", exc)
    except Exception as exc:  # noqa: BLE001 - that is what is judged
        return ("error" if isinstance(exc, own) else "foreign"), exc


async def cancelled(
    asking: asyncio.Task, after: float, grace: float = 1.0
) -> tuple[str, Got | BaseException | None]:
    """Cancel a call; its outcome, or that it did end, within a second."""
    done, _ = await asyncio.wait([asking], timeout=after)
    if done:
        return asking.result()
    asking.cancel()
    await asyncio.wait([asking], timeout=grace)
    if asking.cancelled():
        return "cancelled", None
    return asking.result() if asking.done() else ("hang", None)


async def play(adapter: ModuleType, job: dict, jobs: TextIO, results: TextIO, lateness: Lateness) -> None:
    """All calls of a scenario, with a client made for it.

    It is closed when a line says so: until then the backends' side is looked at.
    """
    place, question = Place(**job["place"]), Question(**job["question"])

    async def call(number: int) -> tuple[str, Got | BaseException | None]:
        await asyncio.sleep(job["later"] if number else 0.0)
        asking = one(ask, question, job["patience"], adapter.ERRORS)
        if job["cancel_after"] is None:
            return await asking
        return await cancelled(asyncio.create_task(asking), job["cancel_after"])

    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    async with adapter.opened(place) as ask:
        begun = time.monotonic()
        if job["in_turn"]:
            came = [await call(0) for _ in range(job["calls"])]
        else:
            came = await asyncio.gather(*map(call, range(job["calls"])))
        seconds = time.monotonic() - begun
        await asyncio.sleep(job["settle"])
        calls = [told(outcome, value) for outcome, value in came]
        write(results, seconds=seconds, late=lateness.worst(begun), calls=calls)
        jobs.readline()


def told(outcome: str, value: object) -> dict[str, object]:
    """How a call went, for JSON."""
    got = attrs.asdict(value) if isinstance(value, Got) else None
    raised = ""
    if isinstance(value, BaseException):
        text = " ".join(str(value).split())[:TOLD]
        raised = f"{type(value).__module__}.{type(value).__name__}: {text}"
    return {"outcome": outcome, "got": got, "raised": raised}


def serve(adapter: ModuleType, jobs: TextIO, results: TextIO) -> None:
    """One job after the other, each on an event loop of its own."""
    lateness = Lateness(own=False)
    while line := jobs.readline():
        job = json.loads(line)
        random.seed(job["chance"])  # where clients take chances that they let nobody give them
        asyncio.run(play(adapter, job, jobs, results, lateness))
        write(results, closed=True)


def write(results: TextIO, **fields: object) -> None:
    print(json.dumps(fields), file=results, flush=True)


def main() -> None:
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # clients print, too
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    try:
        adapter = load(sys.argv[1])
    except ImportError as exc:
        write(results, missing=str(exc))
        return
    write(results, **introduced(adapter))
    serve(adapter, sys.stdin, results)


if __name__ == "__main__":
    main()
