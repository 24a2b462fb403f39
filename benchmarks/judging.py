"""How a scenario is judged: what the caller got, and what the backend saw.

The rules:

- *What the caller got.* `answer`: the client said that the answer is complete, and it is (the text to the last letter,
  tool calls' arguments as the JSON objects that they are). `wrong`: it said so, and it is not. `error`: an exception
  of the client's own hierarchy. `foreign`: any other exception (a JSON decoder's, an HTTP library's, a timeout without
  a name). `hang`: nothing after the scenario's patience. `cancelled`: the call was cancelled and did end. A scenario
  expects an answer where a wait or another attempt gives one, and an error where nothing can: then anything but an
  error of the client's own fails. Where the caller cancels, an error of the client's own before that is as good.
- *What the backend saw.* The number of requests, the gaps between them, the connections, and that the client hung up
  when it was told to. A scenario names only the checks that matter in it.

Both must hold. A scenario that a client cannot take part in (it has no fallback, say) is shown as such and counts
neither way.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

import attrs
from adapters import Question

from resilient_llm.testing import FaultServer, Reply, SeenRequest

GOOD = {"answer": {"answer"}, "error": {"error"}, "cancelled": {"cancelled", "error"}}
TIMER = 0.02
"""Seconds that a timer may be early."""


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
    fallback_requests: tuple[float, float] | None = None
    gap: float | None = None
    spread: float | None = None
    connections: int | None = None
    left: bool = False


@attrs.frozen(kw_only=True)
class Verdict:
    """How one client did in one scenario.

    Args:
        takes_part: Can it?
        outcome: What the callers got.
        caller: What is wrong with that.
        backend: What is wrong with what the backends saw.
        requests: How many the primary saw.
        connections: By how many connections.
        gaps: The seconds between its requests' arrivals.
        seconds: How long all calls took.
        raised: The exceptions.
        late: For how many seconds the machine kept the client or the backends from running, at the worst.
        again: How often it was played again because of that.
    """

    takes_part: bool = True
    outcome: str = ""
    caller: tuple[str, ...] = ()
    backend: tuple[str, ...] = ()
    requests: int = 0
    connections: int = 0
    gaps: tuple[float, ...] = ()
    seconds: float = 0.0
    raised: tuple[str, ...] = ()
    late: float = 0.0
    again: int = 0

    @property
    def passed(self) -> bool | None:
        """None: it does not take part."""
        return not self.reasons if self.takes_part else None

    @property
    def reasons(self) -> tuple[str, ...]:
        """What is wrong, on both sides."""
        return (*self.caller, *self.backend)

    @property
    def short(self) -> str:
        """For a narrow table."""
        if not self.takes_part:
            return "-"
        if self.passed:
            return "pass"
        return f"FAIL {self.outcome}" if self.caller else "FAIL backend"

    @property
    def got(self) -> str:
        """What the caller got."""
        return f"{'FAIL ' if self.caller else ''}{self.outcome}" if self.takes_part else "-"

    @property
    def seen(self) -> str:
        """What the backend saw."""
        if not self.takes_part:
            return "-"
        told = f"{self.requests}r {self.connections}c"
        return f"FAIL {told}: {'; '.join(self.backend)}" if self.backend else told


def complete(got: Mapping, expected: Reply, question: Question) -> bool:
    """Is what the client calls an answer the whole one?"""
    text = got["text"]
    if question.leave_after is not None:
        return bool(text) and expected.text.startswith(text)
    arguments = [decoded(each) for each in got["tool_arguments"]]
    ended = got["finish_reason"] is not None
    return ended and text == expected.text and arguments == [call.value for call in expected.calls]


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
        if soonest < wire.gap - TIMER:
            complaints.append(f"came back after {soonest:.1f} s, asked for {wire.gap:.1f} s")
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
    least, most = (f"{bound * calls:g}" for bound in bounds)
    return [f"{found} {what}, expected {least if least == most else f'{least} to {most}'}"]


def _after(request: SeenRequest, requests: Sequence[SeenRequest]) -> bool:
    first = requests[0].ended
    return first is not None and request.at >= first


def judge_calls(
    calls: Sequence[Mapping], expects: str, expected: Reply, question: Question
) -> tuple[str, list[str]]:
    """What the callers got, in words, and what is wrong with it."""
    outcomes = Counter(
        "wrong"
        if call["outcome"] == "answer" and not (call["got"] and complete(call["got"], expected, question))
        else call["outcome"]
        for call in calls
    )
    wrong = [
        f"{number} x {outcome}, expected {expects}"
        for outcome, number in sorted(outcomes.items())
        if outcome not in GOOD[expects]
    ]
    return "/".join(sorted(outcomes)), wrong
