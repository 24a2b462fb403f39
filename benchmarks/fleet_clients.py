"""A fleet of clients as a discrete-event simulation: the project's own policies, driven from a heap of events.

A call through the stages takes about a third of a millisecond of CPU, a million of them six minutes. Here the stages'
policies are driven directly: `Circuit`, `RetryBudget`, the cool-down of `Pace`, `Schedule`; what is left out is what
asyncio does. The order of the steps is that of the standard stack: peek, rate limit, circuit, attempt. That both do the
same, call by call, is shown on a small fleet by `tests/benchmarks/test_fleet.py`, whose clients have `stack_options`.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable

from capacity import ANSWER, LIMITED, OVERLOADED, UNAVAILABLE, Backend, Incident
from protections import PATIENCE, TIMEOUT, Protection

import resilient_llm as rl
from resilient_llm.policy.backoff import GiveUp, RetryPolicy, Schedule
from resilient_llm.policy.buckets import one_call
from resilient_llm.policy.circuit import Circuit
from resilient_llm.policy.circuit_options import CircuitOptions
from resilient_llm.policy.circuit_states import State, Transition
from resilient_llm.policy.cooldown import sleep_for
from resilient_llm.policy.outcomes import Verdict, breaker_verdict
from resilient_llm.policy.rate_limit import STRANGER, Pace, Ticket
from resilient_llm.policy.retry_budget import RetryBudget

CALLS, APART = 10, 5.0
"""A run: how many calls, and the seconds between two of them, on average."""
ONE = one_call()


def errors(incident: Incident) -> dict[str, rl.LLMError]:
    """What each kind of failure is for the policies."""
    return {
        OVERLOADED: rl.ModelOverloadedError("overloaded"),
        UNAVAILABLE: rl.ModelUnavailableError("connection refused"),
        LIMITED: rl.ModelRateLimitedError("slow down", retry_after=incident.asks),
        "timeout": rl.ModelTimeoutError("no answer came"),
    }


class Client:
    """One process: its circuit, its budget, its cool-down, its chances."""

    __slots__ = ("budget", "circuit", "number", "pace", "uniform")

    def __init__(self, number: int, fleet: Fleet, rng: random.Random) -> None:
        protection = fleet.protection
        self.number = number
        self.uniform = rng.uniform
        self.budget = RetryBudget() if protection.budget else None
        self.pace: Pace | None = None
        self.circuit = (
            Circuit(fleet.circuit_options, draw=rng.random, on_transition=fleet.moved)
            if protection.circuit
            else None
        )


class Fleet:
    """Clients, a backend, and the calls between them.

    Args:
        incident: What happens to the backend.
        protection: What the clients do.
        clients: How many.
        seed: Where their chances come from.
        done: Told how each call ended.
        sent: Told of each request, at an instant.
        turned: Told how many circuits are open, at an instant, when that changes.
    """

    def __init__(
        self,
        incident: Incident,
        protection: Protection,
        clients: int,
        seed: int,
        *,
        done: Callable[[int, float, float, str], None],
        sent: Callable[[float], None] = lambda _: None,
        turned: Callable[[float, int], None] = lambda _now, _count: None,
    ) -> None:
        self.protection = protection
        self.backend = Backend(incident)
        self.errors = errors(incident)
        self.verdicts = {kind: breaker_verdict(error) for kind, error in self.errors.items()}
        self.retry = RetryPolicy(
            max_retries=protection.retries,
            wait=protection.wait,
            jitter=protection.jitter,
            max_server_delay=PATIENCE,
        )
        self.circuit_options = CircuitOptions(lease=TIMEOUT + 5.0)
        self.done, self.sent = done, sent
        self._turned, self._open, self._now = turned, 0, 0.0
        self.clients = [Client(number, self, chances(seed, number)) for number in range(clients)]
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()

    def later(self, at: float, step: Callable[[float], None]) -> None:
        """Let something happen at an instant."""
        heapq.heappush(self._events, (at, next(self._order), step))

    def run(self, arrivals: Iterable[tuple[float, int]]) -> None:
        """Play all calls to their ends."""
        for at, number in arrivals:
            self._until(at)
            self._now = at
            Call(self, self.clients[number], at).attempt(at)
        self._until(float("inf"))

    def _until(self, end: float) -> None:
        events = self._events
        while events and events[0][0] <= end:
            self._now, _, step = heapq.heappop(events)
            step(self._now)

    def moved(self, _circuit: Circuit, transition: Transition) -> None:
        """A circuit has changed its state."""
        closed = (transition.old is State.CLOSED) - (transition.new is State.CLOSED)
        if closed:
            self._open += closed
            self._turned(self._now, self._open)


class Call:
    """One call, from its caller's view: attempts until there is an answer or no hope."""

    __slots__ = ("_began", "_client", "_fleet", "_kind", "_last", "_lease", "_paid", "_schedule", "_ticket")

    def __init__(self, fleet: Fleet, client: Client, now: float) -> None:
        self._fleet, self._client, self._began = fleet, client, now
        self._schedule: Schedule | None = None
        self._paid: int | None = None
        self._last: rl.LLMError | None = None
        self._ticket = STRANGER

    def attempt(self, now: float) -> None:
        """Look at the circuit, then go to the limit."""
        circuit = self._client.circuit
        if circuit is not None:
            try:
                circuit.peek(now)
            except rl.CircuitOpenError as error:
                self._rejected(error, now)
                return
        self._admit(now)

    def _admit(self, now: float) -> None:
        pace = self._client.pace
        if pace is not None:
            entered = pace.enter(ONE, now)
            if not isinstance(entered, Ticket):
                if entered.seconds > PATIENCE:
                    self._rejected(rl.LimitExceededError("the cool-down"), now)
                else:
                    self._fleet.later(now + sleep_for(entered.seconds, self._client.uniform), self._admit)
                return
            self._ticket = entered
        self._send(now)

    def _send(self, now: float) -> None:
        fleet, circuit = self._fleet, self._client.circuit
        if circuit is not None:
            try:
                self._lease = circuit.enter(now)
            except rl.CircuitOpenError as error:
                self._rejected(error, now)
                return
        fleet.sent(now)
        kind, at = fleet.backend.arrive(now)
        if at > now + TIMEOUT:
            kind, at = "timeout", now + TIMEOUT
        self._kind = kind
        fleet.later(at, self._replied)

    def _replied(self, now: float) -> None:
        client, kind = self._client, self._kind
        if kind == ANSWER:
            self._answered(now)
            return
        error = self._last = self._fleet.errors[kind]
        if client.circuit is not None:
            client.circuit.settle(self._lease, self._fleet.verdicts[kind], now, error)
        if kind == LIMITED and self._fleet.protection.cooldown:
            client.pace = client.pace or Pace((), 300.0)
            client.pace.limited(error.retry_after, now)
        self._again(error, now)

    def _again(self, error: rl.LLMError, now: float) -> None:
        client = self._client
        if self._schedule is None:
            self._schedule = Schedule(
                self._fleet.retry, started=self._began, deadline=None, uniform=client.uniform
            )
        wait = self._schedule.after(error, now)
        if isinstance(wait, GiveUp):
            self._end(error.code, now)
            return
        if client.budget is not None:
            self._paid = client.budget.withdraw("m", error)
            if self._paid is None:
                self._end(error.code, now)
                return
        self._fleet.later(now + wait, self.attempt)

    def _answered(self, now: float) -> None:
        client = self._client
        if client.circuit is not None:
            client.circuit.settle(self._lease, Verdict.SUCCESS, now)
        if client.pace is not None:
            client.pace.answered(self._ticket, rl.Usage(), now)
        if client.budget is not None:
            client.budget.deposit("m", 1 if self._paid is None else self._paid)
        self._end("", now)

    def _rejected(self, error: rl.LLMError, now: float) -> None:
        """Nothing was sent: the last real error, if there was one, is the caller's."""
        self._end((self._last or error).code, now)

    def _end(self, code: str, now: float) -> None:
        self._fleet.done(self._client.number, self._began, now, code)


def chances(seed: int, number: int) -> random.Random:
    """A client's own chances."""
    return random.Random(f"{seed} {number}")


def arrivals(clients: int, every: float, length: float, seed: int) -> list[tuple[float, int]]:
    """When calls come, and whose: runs of them, as of an agent at work, whether or not the last ones were answered.

    Args:
        clients: How many.
        every: Seconds between two runs of a client, on average.
        length: Seconds in all.
        seed: Where the chances come from.
    """
    draws = random.Random(f"{seed} arrivals")
    calls, now = [], -CALLS * APART
    while (now := now + draws.expovariate(clients / every)) < length:
        at, client = now, draws.randrange(clients)
        for _ in range(CALLS):
            if 0 <= at < length:
                calls.append((at, client))
            at += draws.expovariate(1 / APART)
    return sorted(calls)
