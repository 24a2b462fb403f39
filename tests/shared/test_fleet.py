"""Eight processes, one Redis: one probe, one limit, one cool-down, and what happens to Redis in the meantime."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from redis_server import RedisServer

import resilient_llm as rl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.shared

WORKER = Path(__file__).with_name("worker.py")
PROCESSES = 8
SLACK = 0.1
"""Seconds that a machine adds on whose two cores eight processes run."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as made:
        yield made


_namespaces = itertools.count()


def run(
    plans: list[dict[str, Any]],
    seconds: float,
    url: str,
    meanwhile: Callable[[float], None] | None = None,
) -> tuple[list[dict[str, Any]], float]:
    """Run a process for each plan, all at the same time; what they say, and when they began."""
    place = {"url": url, "namespace": f"fleet-{next(_namespaces)}"}
    started = [_start({**place, **plan}) for plan in plans]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        begin = time.monotonic() + 0.3
        for process in started:
            assert process.stdin is not None
            process.stdin.write(json.dumps({"begin": begin, "end": begin + seconds}) + "\n")
            process.stdin.flush()
        if meanwhile is not None:
            meanwhile(begin)
        told = [process.communicate(timeout=seconds + 30)[0] for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    return [json.loads(text) for text in told], begin


def _start(plan: dict[str, Any]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(WORKER), json.dumps(plan)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(rl.__file__).parents[1])},
    )


def calls_of(told: list[dict[str, Any]]) -> list[float]:
    return sorted(call for one in told for call in one["calls"])


def test_one_probe_over_all_processes(server: RedisServer) -> None:
    """While a backend is down, each time the circuit is half-open exactly one call reaches it; then all go."""
    told, begin = run([{"pause": 0.01, "down_for": 4.0}] * PROCESSES, 6.0, server.url)
    assert not [error for one in told for error in one["failed"]]
    calls = [call for call in calls_of(told) if call < begin + 4.0]
    opened = min(
        one["calls"][2] for one in told if len(one["calls"]) > 2
    )  # the first third failure of a process
    probes = [call for call in calls if call > opened + 0.3]
    assert 4 <= len(probes) <= 7, [round(call - begin, 3) for call in calls]
    assert all(later - call > 0.55 for call, later in itertools.pairwise(probes)), probes
    assert all(one["calls"][-1] > begin + 5.5 for one in told)
    assert all(one["peers"] == PROCESSES for one in told)


def test_a_shared_limit_is_never_exceeded_and_nearly_all_used(server: RedisServer) -> None:
    """600 a minute, in windows of 6 s: no such span holds more than 60 calls, and on average at least 57."""
    limit = {"requests_per_minute": 600, "burst": 0.1}
    plans = [{"pause": 0, "callers": 5, "limit": limit} for _ in range(PROCESSES)]
    told, begin = run(plans, 18.5, server.url)
    calls = calls_of(told)
    most = max(sum(1 for call in calls if first <= call < first + 6.0) for first in calls)
    used = sum(1 for call in calls if call < begin + 18.0)
    print(f"most in 6 s: {most} of 60; in 18 s: {used} of 180")
    assert most <= 60
    assert used >= 0.95 * 180
    assert sum(1 for one in told if one["calls"]) >= PROCESSES // 2


def test_a_429_seen_by_one_holds_back_all(server: RedisServer) -> None:
    """50 ms after one process was refused, no other sends anything, for as long as the backend asked."""
    plans: list[dict[str, Any]] = [{"pause": 0.02} for _ in range(PROCESSES)]
    plans[3]["refused_after"] = 1.0
    told, begin = run(plans, 4.5, server.url)
    calls = calls_of(told)
    refusal = next(call for call in told[3]["calls"] if call >= begin + 1.0)
    late = [round(call - refusal, 3) for call in calls if refusal + 0.05 < call < refusal + 2.0]
    last = max(call for call in calls if call < refusal + 1.0)
    print(f"the last call came {1000 * (last - refusal):.1f} ms after the refusal")
    assert not late
    assert all(one["calls"][-1] > refusal + 2.0 for one in told)


def test_redis_frozen_killed_restarted_empty_and_slow_under_load(server: RedisServer) -> None:
    """No call fails, none is delayed by more than 50 ms, and the fleet agrees again within 2 s of each mishap."""
    marks: dict[str, float] = {}

    def mishaps(begin: float) -> None:
        for name, at, act in (
            ("frozen", 1.0, server.stop),
            ("going", 2.5, server.go),
            ("killed", 5.0, server.kill),
            ("restarted", 6.5, server.start),
        ):
            time.sleep(max(0.0, begin + at - time.monotonic()))
            act()
            marks[name] = time.monotonic()

    limit = {"requests_per_minute": 60_000}
    plans = [{"pause": 0.1, "limit": limit} for _ in range(PROCESSES)]
    told, begin = run(plans, 9.5, server.url, mishaps)
    took = sorted((seconds, at - begin) for one in told for at, seconds in one["took"])
    alone = [[(round(at - begin, 2), word) for at, word in one["log"]] for one in told]
    print(f"{len(took)} calls, the longest {1000 * took[-1][0]:.0f} ms; {alone[0]}")
    assert not [error for one in told for error in one["failed"]]
    assert len(took) > PROCESSES * 50
    assert took[-1][0] < 0.05 + SLACK, took[-5:]
    for one in told:
        backs = [at for at, word in one["log"] if word == "back"]
        for mended in ("going", "restarted"):
            assert any(marks[mended] < at < marks[mended] + 2.0 + SLACK for at in backs), alone
        assert not one["alone"]
