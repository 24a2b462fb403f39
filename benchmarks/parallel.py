"""Jobs that do not depend on each other, on all processors; results in the order of the jobs."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

from tables import progress

T = TypeVar("T")


def run(
    work: Callable[..., T], jobs: Sequence[tuple], told: Callable[..., str], workers: int | None = None
) -> list[T]:
    """What `work(*job)` gives for each job; `told(*job)` is shown when one is done.

    Functions, jobs and results are pickled. The largest jobs should come first, or a processor waits for the last.
    As many run at once as there are processors; where they wait for most of the time, more can (`workers`).
    """
    spawning = multiprocessing.get_context("spawn")  # as everywhere, and nothing of this process is copied
    with ProcessPoolExecutor(workers, mp_context=spawning, initializer=_quiet) as pool:
        running = {pool.submit(work, *job): job for job in jobs}
        try:
            for number, done in enumerate(as_completed(running), 1):
                done.result()
                progress(f"{number}/{len(jobs)} {told(*running[done])}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    progress("")
    return [done.result() for done in running]


def _quiet() -> None:
    logging.disable(logging.CRITICAL)
