"""How a scenario is judged: what the caller got, and what the backend saw.

The rules:

- *What the caller got.* `answer`: the client said that the answer is complete, and it is (the text to the last letter,
  tool calls' arguments as JSON). `wrong`: it said so, and it is not. `error`: an exception of the client's own
  hierarchy. `foreign`: any other exception (a JSON decoder's, an HTTP library's, a timeout without a name). `hang`:
  nothing after the scenario's patience. A scenario expects an answer where a wait or another attempt gives one, and
  an error where nothing can: then anything but an error of the client's own fails.
- *What the backend saw.* The number of requests, the gaps between them, the connections, and that the client hung up
  when it was told to. A scenario names only the checks that matter in it.

Both must hold. A scenario that a client cannot take part in (it has no fallback, say) is shown as such and counts
neither way.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from types import ModuleType

import attrs
from adapters import Ask, Got, Question

from resilient_llm.testing import FaultServer, SeenRequest


@attrs.frozen(kw_only=True)
class Wire:
    """What the backends may see. Times in seconds.

    Args:
        requests: The least and the most requests to the primary, per call.
        fallback_requests: The same for the first fallback.
        gap: At least so long between the end of the first request's answer and the next request.
        spread: At least so long between the first and the last request after the first refusal.
        connections: At most so many.
        left: The client hung up before the last request's answer was at its end.
    """

    requests: tuple[float, float] | None = None
    fallback_requests: tuple[int, int] | None = None
    gap: float | None = None
    spread: float | None = None
    connections: int | None = None
    left: bool = False


@attrs.frozen
class Verdict:
    """How one client did in one scenario."""

    passed: bool | None  # None: it does not take part
    outcome: str
    requests: int = 0
    seconds: float = 0.0
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        mark = {True: "pass", False: "FAIL", None: "-"}[self.passed]
        return mark if self.passed is None else f"{mark} {self.outcome} {self.requests}r {self.seconds:.1f}s"


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


def complete(got: Got, expected: str, question: Question) -> bool:
    """Is what the client calls an answer the whole one?"""
    if question.leave_after is not None:
        return bool(got.text) and expected.startswith(got.text)
    if question.tools:
        return bool(got.tool_arguments) and all(decoded(text) is not None for text in got.tool_arguments)
    return got.text == expected and got.finish_reason is not None


def decoded(arguments: str) -> dict | None:
    """A tool call's arguments, or None if they are no JSON object."""
    try:
        value = json.loads(arguments)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def judge_wire(wire: Wire, servers: Sequence[FaultServer], calls: int) -> list[str]:
    """What the backends saw that they should not have seen."""
    primary, complaints = servers[0], []
    complaints += _counted("requests", wire.requests, len(primary.requests), calls)
    if wire.fallback_requests is not None:
        complaints += _counted("fallback requests", wire.fallback_requests, len(servers[1].requests), calls)
    if wire.connections is not None and primary.connections > wire.connections:
        complaints.append(f"{primary.connections} connections, at most {wire.connections}")
    later = [request for request in primary.requests if _after(request, primary.requests)]
    if wire.gap is not None and later:
        first = primary.requests[0].ended or 0.0
        soonest = min(request.at for request in later) - first
        if soonest < wire.gap - 0.02:
            complaints.append(f"came back after {soonest:.2f} s, asked for {wire.gap:.2f} s")
    if wire.spread is not None and len(later) > 1:
        spread = max(request.at for request in later) - min(request.at for request in later)
        if spread < wire.spread:
            complaints.append(
                f"came back within {spread:.2f} s of each other, at least {wire.spread:.2f} s is kind"
            )
    if wire.left and (not primary.requests or primary.requests[-1].ending != "left"):
        complaints.append("the client did not hang up")
    return complaints


def _counted(what: str, bounds: tuple[float, float] | None, found: int, calls: int) -> list[str]:
    if bounds is None or bounds[0] * calls <= found <= bounds[1] * calls:
        return []
    return [f"{found} {what}, expected {bounds[0] * calls:g} to {bounds[1] * calls:g}"]


def _after(request: SeenRequest, requests: Sequence[SeenRequest]) -> bool:
    first = requests[0].ended
    return first is not None and request.at >= first


async def judge(
    adapter: ModuleType,
    ask: Ask,
    servers: Sequence[FaultServer],
    *,
    question: Question,
    expects: str,
    expected: str,
    wire: Wire,
    calls: int,
    patience: float,
    later: float = 0.0,
) -> Verdict:
    """Run the calls of a scenario and judge them; all but the first begin `later`, in seconds."""
    begun = time.monotonic()

    async def call(place: int) -> tuple[str, Got | BaseException | None]:
        await asyncio.sleep(later if place else 0.0)
        return await one(ask, question, patience, adapter.ERRORS)

    results = await asyncio.gather(*map(call, range(calls)))
    seconds = time.monotonic() - begun
    outcomes = []
    for outcome, value in results:
        if outcome == "answer" and not (isinstance(value, Got) and complete(value, expected, question)):
            outcomes.append("wrong")
        else:
            outcomes.append(outcome)
    await asyncio.sleep(0.1)  # let the servers notice who has left
    counted = Counter(outcomes)
    reasons = [
        f"{number} x {outcome}, expected {expects}"
        for outcome, number in counted.items()
        if outcome != expects
    ]
    reasons += judge_wire(wire, servers, calls)
    raised = sorted(
        {
            f"{type(value).__module__}.{type(value).__name__}"
            for _, value in results
            if isinstance(value, Exception)
        }
    )
    told = "/".join(sorted(counted))
    return Verdict(not reasons, told, len(servers[0].requests), seconds, tuple(reasons + raised))
