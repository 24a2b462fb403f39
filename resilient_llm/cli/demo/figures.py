"""The figures: what a tally comes to, as plain data for scripts and for the tables."""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import TYPE_CHECKING, Any

import attrs

from .phases import place_of

if TYPE_CHECKING:
    from .tally import Lane, Tally


def figures(tally: Tally, *, interrupted: bool) -> dict[str, Any]:
    """All figures, ready for JSON. Times in seconds."""
    plan = tally.plan
    return {
        "seed": plan.seed,
        "calls": len(plan.calls),
        "seconds": round(tally.elapsed, 2),
        "interrupted": interrupted,
        "options": attrs.asdict(plan.limits),
        "bare": _lane(tally.bare),
        "stack": {**_lane(tally.stack), "stages": _stages(tally)},
        "phases": _phases(tally),
    }


def _lane(lane: Lane) -> dict[str, Any]:
    times = [result.ended - result.call.at for result in lane.results]
    return {
        "started": lane.started,
        "finished": len(lane.results),
        "succeeded": lane.succeeded,
        "success_rate": round(lane.succeeded / max(1, len(lane.results)), 4),
        "errors": dict(lane.errors),
        "requests": len(lane.requests),
        "requests_per_call": round(len(lane.requests) / max(1, lane.started), 3),
        "median_seconds": round(median(times), 3) if times else None,
        "slowest_seconds": round(max(times), 3) if times else None,
    }


def _stages(tally: Tally) -> dict[str, Any]:
    stages = tally.stages
    return {
        "retries": stages.retries,
        "retries_after_server_delay": stages.told_to_wait,
        "waited_seconds": round(stages.waited, 2),
        "calls_held_back": stages.held,
        "held_back_seconds": round(stages.held_for, 2),
        "calls_saved_by_retry": tally.healed,
        "calls_rejected_by_open_circuit": tally.rejected,
        "circuit": [{"at": round(at, 2), "state": state} for at, state in tally.circuit],
        "conversations_pruned": stages.pruned_calls,
        "tokens_pruned": stages.pruned_tokens,
        "failed_attempts": dict(stages.failures.most_common()),
    }


def _phases(tally: Tally) -> list[dict[str, Any]]:
    plan = tally.plan
    lanes = {"bare": tally.bare, "stack": tally.stack}
    calls = Counter(call.phase for call in plan.calls[: tally.bare.started])
    succeeded = {
        name: Counter(result.call.phase for result in lane.results if result.error is None)
        for name, lane in lanes.items()
    }
    requests = {
        name: Counter(place_of(plan.stretches, seen.at) for seen in lane.requests)
        for name, lane in lanes.items()
    }
    return [
        {
            "name": part.phase.name,
            "what": part.what,
            "seconds": round(part.phase.seconds, 3),
            "calls": calls[place],
            **{
                name: {"succeeded": succeeded[name][place], "requests": requests[name][place]}
                for name in lanes
            },
        }
        for place, part in enumerate(plan.stretches)
    ]
