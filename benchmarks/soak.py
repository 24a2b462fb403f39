"""Does anything grow? A million calls through the whole stack, in virtual time, with flat memory.

    python benchmarks/soak.py [--calls 1000000] [--seed 0] [--bound 8] [--json FILE]

The backend answers, fails in every retryable and final way, breaks streams, stalls and loads; callers read whole
answers and streams, leave streams early and are cancelled; models come from a list that is longer than any registry
is allowed to be. No sockets: what is looked for is what the stages keep. After a tenth of the calls everything that is
bounded has reached its bound; from there to the end the process may grow by `--bound` MiB. Exit code 1 if it grows
more, or if a response or a task is left.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from tables import progress

import resilient_llm as rl
from resilient_llm.commit import commit
from resilient_llm.response import ResponseInfo
from resilient_llm.testing import FakeClock, run_virtual

MODELS = [f"model-{number}" for number in range(3000)]
CALLERS = 50
WORDS = ("The ", "Rhine ", "flows ", "north.")


class Backend:
    """A transport that is well most of the time and fails in every way otherwise; counts what it has open."""

    name = "soak"

    def __init__(self, draws: random.Random) -> None:
        self.open = 0
        self.calls = 0
        self._draws = draws

    async def __call__(self, request: rl.Request) -> rl.Response:
        self.calls += 1
        draw = self._draws.random()
        if draw < 0.01:
            raise rl.ModelRateLimitedError("slow down", retry_after=self._draws.choice([None, 0.2, 2.0]))
        if draw < 0.05:
            kinds = [
                rl.ModelOverloadedError,
                rl.ModelUnavailableError,
                rl.ModelTimeoutError,
                rl.ModelAuthError,
            ]
            raise self._draws.choice([*kinds, rl.ModelLoadingError, rl.ModelContextLengthError])("as told")
        return await commit(Body(self, draw, self._draws.random()), request)

    async def aclose(self) -> None:
        """Nothing to close."""


class Body:
    """Four words, or what a broken stream brings of them."""

    def __init__(self, backend: Backend, draw: float, where: float) -> None:
        self.info = ResponseInfo(
            backend="soak", model="soak-1", headers={"x-ratelimit-remaining-requests": "1000"}
        )
        self._backend, self._closed = backend, False
        self._events = self._play(draw, int(where * len(WORDS)))
        backend.open += 1

    async def _play(self, draw: float, where: int) -> AsyncIterator[list[rl.Event]]:
        for place, word in enumerate(WORDS):
            if draw < 0.07 and place == where:
                raise rl.ModelUnavailableError("cut")
            if draw < 0.08 and place == where:
                await asyncio.sleep(1000)
            await asyncio.sleep(0.01)
            yield [rl.TextDelta(word)]
        yield [rl.UsageEvent(rl.Usage(10, 4, 14)), rl.Finish("stop")]

    async def receive(self) -> list[rl.Event]:
        return await anext(self._events)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._backend.open -= 1


async def call(llm: rl.AsyncClient, draws: random.Random) -> str:
    """One call of a caller who is patient, or not."""
    options = {"model": draws.choice(MODELS), "deadline": 60.0}
    prompt = f"prompt {draws.random()}"
    way = draws.random()
    try:
        async with asyncio.timeout(0.02 if way < 0.05 else None):
            if way < 0.5:
                await llm.complete(prompt, **options)
                return "whole"
            async with llm.stream(prompt, recovery="raise", **options) as response:
                async for _ in response:
                    if way < 0.6:
                        return "left"
            return "streamed"
    except TimeoutError:
        return "cancelled"
    except rl.LLMError as error:
        return error.code


def resident() -> float:
    """MiB of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


async def soak(calls: int, seed: int) -> dict[str, object]:
    draws = random.Random(seed)
    backend = Backend(random.Random(seed + 1))
    counted: Counter[str] = Counter()
    sizes: list[tuple[int, float, int]] = []
    left = calls

    async def caller() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            done = calls - left
            counted[await call(llm, draws)] += 1
            if done % max(1, calls // 20) == 0:
                gc.collect()
                sizes.append((done, resident(), len(gc.get_objects())))
                progress(f"{done:,} of {calls:,} calls, {sizes[-1][1]:.1f} MiB, {sizes[-1][2]:,} objects")

    async with rl.AsyncClient(transport=backend, rng=random.Random(seed + 2), clock=FakeClock()) as llm:
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    return {
        "outcomes": dict(counted),
        "sizes": sizes,
        "requests": backend.calls,
        "open": backend.open,
        "tasks": len(others),
    }


def grown(sizes: list[tuple[int, float, int]], calls: int) -> float:
    """MiB between a tenth of the calls and the end."""
    settled = next(size for done, size, _ in sizes if done >= calls // 10)
    return sizes[-1][1] - settled


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--bound", type=float, default=8.0, help="MiB that may be grown after a tenth of the calls"
    )
    parser.add_argument("--json", type=Path, help="write everything to a file")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    begun = time.monotonic()
    result = run_virtual(soak(options.calls, options.seed))
    progress("")
    growth = grown(result["sizes"], options.calls)
    print(f"{options.calls:,} calls, {result['requests']:,} requests in {time.monotonic() - begun:.0f} s")
    for outcome, number in sorted(result["outcomes"].items(), key=lambda pair: -pair[1]):
        print(f"  {outcome:24} {number:9,}")
    for done, size, objects in result["sizes"]:
        print(f"  after {done:9,} calls {size:7.1f} MiB {objects:9,} objects")
    kept = growth <= options.bound and not result["open"] and not result["tasks"]
    print(f"grown by {growth:.1f} MiB after a tenth, bound {options.bound:g}")
    print(f"left open: {result['open']} responses, {result['tasks']} tasks")
    if options.json:
        options.json.write_text(
            json.dumps({"seed": options.seed, "growth_mib": growth, **result}, indent=2) + "\n"
        )
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
