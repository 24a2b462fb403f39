"""One process of a fleet: does what it is told, and prints what happened, by the machine's monotonic clock."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import sys
import time
from typing import Any

import resilient_llm as rl
from resilient_llm.commit import whole
from resilient_llm.events import Finish, TextDelta
from resilient_llm.response import ResponseInfo


class Backend:
    """Answers, or fails as the plan says; notes when it was called."""

    name = "backend"

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.calls: list[float] = []

    async def __call__(self, request: rl.Request) -> rl.Response:
        now = time.monotonic()
        self.calls.append(now)
        since = now - self.plan.get("begin", now)
        if since < self.plan.get("down_for", 0):
            msg = "down"
            raise rl.ModelUnavailableError(msg, backend="backend")
        if since >= self.plan.get("refused_after", math.inf):
            del self.plan["refused_after"]
            msg = "slow down"
            raise rl.ModelRateLimitedError(msg, backend="backend", retry_after=2.0)
        if self.plan.get("takes"):
            await asyncio.sleep(self.plan["takes"])
        return whole([TextDelta("yes"), Finish("stop")], ResponseInfo(backend="backend"), request)

    async def aclose(self) -> None:
        pass


async def warm_up(state: rl.RedisState) -> None:
    """Import what a first call imports, and connect."""
    async with rl.AsyncClient(transport=Backend({}), rate_limit=rl.RateLimit(tokens_per_minute=10**6)) as llm:
        await llm.complete("Hello")
    await state.ready()
    while state.alone:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.01)


async def main(plan: dict[str, Any]) -> dict[str, Any]:
    log: list[tuple[float, str]] = []

    class Log(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.msg.startswith("llm.state"):
                log.append((time.monotonic(), record.msg.split("redis=")[1].split(" ")[0]))

    logger = logging.getLogger("resilient_llm")
    logger.addHandler(Log())
    logger.setLevel(logging.INFO)
    state = rl.RedisState(plan["url"], plan["namespace"])
    backend = Backend(plan)
    took: list[tuple[float, float]] = []
    failed: list[str] = []
    rejected = 0
    limit = plan.get("limit")
    async with rl.AsyncClient(
        transport=backend,
        model="m",
        state=state,
        max_retries=0,
        breaker=rl.CircuitBreaker(fail_max=3, timeout_duration=0.6, jitter=0, max_timeout_duration=0.6),
        rate_limit=rl.RateLimit(**limit) if limit else rl.RateLimit(),
    ) as llm:
        await warm_up(state)
        print("ready", flush=True)
        plan.update(json.loads(await asyncio.to_thread(sys.stdin.readline)))
        await asyncio.sleep(plan["begin"] - time.monotonic())

        async def caller() -> None:
            nonlocal rejected
            while time.monotonic() < plan["end"]:
                begun = time.monotonic()
                try:
                    await llm.complete("Hello")
                    took.append((begun, time.monotonic() - begun))
                except rl.CircuitOpenError:
                    rejected += 1
                except (rl.LimitExceededError, rl.ModelRateLimitedError, rl.ModelUnavailableError):
                    pass
                except Exception as exc:  # noqa: BLE001 - reported
                    failed.append(repr(exc))
                await asyncio.sleep(plan["pause"])

        callers = [asyncio.create_task(caller()) for _ in range(plan.get("callers", 1))]
        await asyncio.wait(callers, timeout=plan["end"] - time.monotonic() + 0.5)
        for task in callers:
            task.cancel()
        await asyncio.wait(callers)
        alone, peers = state.alone, state.peers
    return {
        "calls": backend.calls,
        "took": took,
        "failed": failed,
        "rejected": rejected,
        "alone": alone,
        "peers": peers,
        "log": log,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
