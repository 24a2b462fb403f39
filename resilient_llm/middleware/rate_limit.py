"""RateLimit: send no faster than one's own limits and the backend's allow, and wait together after a 429."""

from __future__ import annotations

import random
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

import attrs

from resilient_llm.clock import SYSTEM_CLOCK, Clock
from resilient_llm.errors import ErrorCode, LimitExceededError, LLMError, ModelQuotaExceededError
from resilient_llm.outcome import Outcome, OutcomeKind
from resilient_llm.policy.buckets import Count, allowance, one_call
from resilient_llm.policy.leased import leased
from resilient_llm.policy.quota import Quota
from resilient_llm.policy.rate_headers import read_limits, tell_limits
from resilient_llm.policy.rate_limit import STRANGER, Pace, Ticket
from resilient_llm.validators import non_negative, optional_positive, positive, ratio

from .call_size import CallSizes, answer_limit
from .gates import Gate, Gates
from .shared_limits import SharedLimits
from .turn import Turn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Mapping

    from resilient_llm.models import Request
    from resilient_llm.pipeline import Handler
    from resilient_llm.policy.buckets import Amounts
    from resilient_llm.response import Response
    from resilient_llm.sharing import State

    from .turn import Obtain


def _rng(rng: random.Random | None) -> random.Random:
    return rng or random.Random()  # noqa: S311 - spreads load, guards nothing


class _HeldBackError(LimitExceededError):
    """Raised by `recheck` for the stage's own ear: not now, after all."""


@attrs.frozen(kw_only=True, eq=False)
class RateLimit:
    """Keep to limits on requests and tokens, learn the backend's from its headers, and wait together after a 429.

    Without arguments it only learns from answers (`x-ratelimit-*`, `anthropic-ratelimit-*`) how much the backend still
    allows, and holds calls back before they would be refused. After a refusal calls of the same key wait until the
    backend's `Retry-After` and a little longer by chance, then go at the pace at which it answered before, which grows
    and halves as TCP's does (Jacobson, 1988); a backend that does not say how long is left alone for half a second,
    then twice as long each time. A spent quota is answered here for `max_cooldown` seconds.

    Calls wait in order of arrival. One whose wait would end after its deadline, or be longer than its `max_wait`, is
    rejected at once, and `retry_after` says how long it would have been.

    Thread-safe: one object may serve clients on several event loops. It belongs to one backend and one API key;
    share it between all clients that use them, inside the retry and outside the breaker.

    Args:
        requests_per_minute: How many calls each key may make; None: no such limit.
        tokens_per_minute: How many tokens they may take, prompts and answers together. A call reserves what its
            prompt counts and its `max_tokens` (without it, a typical answer's); the backend's `usage` corrects that.
        burst: The share of a minute's allowance that may be used at once, above 0 and at most 1. Less of it spreads
            the calls for a backend that counts in shorter spans than a minute.
        max_server_delay: Seconds; a call is not held back by a longer cool-down but rejected at once.
        max_cooldown: Seconds; no cool-down is longer, whatever the backend asks for. Also for how long a spent quota
            is not asked again, and what headers taught is believed.
        key: Which limits a request belongs to. Default: its model, as backends limit each model by itself.
        clock: Time; wall time is read for dates in headers only.
        rng: Where the spread of the wake-ups comes from.

    Raises:
        LimitExceededError: Nothing was sent: the wait would be too long, or the call needs more tokens than a
            minute's allowance holds.
        ModelQuotaExceededError: Nothing was sent (`local`): the quota was spent a while ago.
    """

    role = "rate_limit"

    requests_per_minute: float | None = attrs.field(default=None, validator=optional_positive)
    tokens_per_minute: float | None = attrs.field(default=None, validator=optional_positive)
    burst: float = attrs.field(default=1.0, validator=ratio)
    max_server_delay: float = attrs.field(default=60.0, validator=non_negative)
    max_cooldown: float = attrs.field(default=300.0, validator=positive)
    key: Callable[[Request], Hashable] = attrs.field(default=attrgetter("model"), repr=False)
    clock: Clock = attrs.field(default=SYSTEM_CLOCK, repr=False)
    rng: random.Random = attrs.field(default=None, converter=_rng, repr=False)
    _gates: Gates = attrs.field(init=False, repr=False)
    _shared: SharedLimits | None = attrs.field(default=None, init=False, repr=False)
    _sizes: CallSizes = attrs.field(factory=CallSizes, init=False, repr=False)
    _quota: Quota = attrs.field(factory=Quota, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """Gates are made as they are needed."""
        object.__setattr__(self, "_gates", Gates(self._pace))

    def share(self, state: State, scope: str) -> None:
        """Share cool-downs and limits of one's own with all who use the same scope of the state; before any call."""
        if self._shared is not None and self._shared.place == (state, scope):
            return
        object.__setattr__(self, "_gates", Gates(self._pace))
        object.__setattr__(self, "_shared", SharedLimits(self._gates, state, scope, self.clock))

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Wait for the call's turn, send it, and learn from what comes back."""
        if self._quota.until:
            self._quota.check(request.model, self.clock.monotonic())
        key = self.key(request)
        gate = self._gates.find(key)
        if gate is None and self._limits_itself:
            gate = self._gate(request)
        while True:
            ticket = STRANGER if gate is None else await self._admit(gate, request)
            try:
                response = await call_next(request)
            except _HeldBackError:
                self._unsent(request, ticket)
                gate = self._gate(request)
            except LLMError as error:
                if error.local:
                    self._unsent(request, ticket)
                else:
                    self._failed(request, ticket, error)
                raise
            else:
                break
        self._gates.answered(key, gate, ticket, self.clock.monotonic())
        headers = response.info.headers
        if headers and tell_limits(headers):
            self._learn(request, ticket, headers)
        if gate is not None or response.outcome is None:
            response.on_settle(self._settled, request, response, ticket)
        return response

    def recheck(self, request: Request, call_next: Handler) -> Awaitable[Response]:
        """The look-only stage for after a queue, such as `ConcurrencyLimit`'s.

        A cool-down that began meanwhile sends the call back to where it waits without holding anything.
        """
        gate = self._gates.find(self.key(request))
        if gate is not None and (left := gate.pace.cooling(self.clock.monotonic())):
            msg = "a cool-down began while the call waited in a queue"
            raise _HeldBackError(msg, retry_after=left, model=request.model or None)
        return call_next(request)

    # Before the call ...

    @property
    def _limits_itself(self) -> bool:
        return bool(self.requests_per_minute or self.tokens_per_minute)

    def _gate(self, request: Request) -> Gate:
        return self._gates.get(self.key(request), self.clock.monotonic())

    def _pace(self, now: float) -> Pace:
        limits = (
            ("requests_per_minute", Count.REQUESTS, self.requests_per_minute),
            ("tokens_per_minute", Count.TOKENS, self.tokens_per_minute),
        )
        make = allowance if self._shared is None else leased
        own = [make(name, counts, most, self.burst, now) for name, counts, most in limits if most is not None]
        return Pace(own, self.max_cooldown)

    async def _admit(self, gate: Gate, request: Request) -> Ticket:
        amounts = await self._amounts(gate, request)
        obtain: Obtain | None = None
        if self._shared is not None and self._limits_itself:
            obtain = partial(self._shared.obtain, gate, self.key(request), amounts)
        if not len(gate.line):
            if obtain is not None:
                await obtain()
            entered = gate.pace.enter(amounts, self.clock.monotonic())
            if isinstance(entered, Ticket):
                return entered
        turn = Turn(
            gate,
            request,
            amounts,
            clock=self.clock,
            uniform=self.rng.uniform,
            patience=self.max_server_delay,
            obtain=obtain,
        )
        ticket = await turn.come()
        try:
            self._quota.check(request.model, self.clock.monotonic())
        except ModelQuotaExceededError:
            self._unsent(request, ticket)
            raise
        return ticket

    async def _amounts(self, gate: Gate, request: Request) -> Amounts:
        """What the call will take; tokens only where anybody limits them."""
        allowance = self.tokens_per_minute
        if allowance is not None:
            prompt = await self._sizes.counted(request)
        elif gate.pace.counts_tokens:
            prompt = self._sizes.roughly(request)
        else:
            return one_call()
        answer = answer_limit(request) if request.operation == "chat" else 0
        if answer is None:
            answer = round(gate.pace.answer)
            if allowance is not None:
                answer = min(answer, max(0, int(allowance) - prompt))
        if allowance is not None and prompt + answer > allowance:
            msg = f"the call takes {prompt + answer} tokens, more than tokens_per_minute={allowance:g} ever allows"
            raise LimitExceededError(msg, model=request.model or None)
        return one_call(prompt, answer)

    # After it ...

    def _unsent(self, request: Request, ticket: Ticket) -> None:
        gate = self._gates.find(self.key(request))
        if gate is not None:
            gate.pace.unsent(ticket, self.clock.monotonic())
            gate.changed()

    def _failed(self, request: Request, ticket: Ticket, error: LLMError) -> None:
        now, answer = self.clock.monotonic(), error.answer
        if answer is not None and tell_limits(answer.headers):
            self._learn(request, ticket, answer.headers)
        if error.code is ErrorCode.MODEL_RATE_LIMITED and error.retryable:
            limited = self._gates.limited(self.key(request), error.retry_after, now, ticket.at)
            if self._shared is not None:
                self._shared.cooling(self.key(request), limited.pace.cooling(now))
        elif error.code is ErrorCode.MODEL_QUOTA_EXCEEDED:
            self._quota.spent(error, now + self.max_cooldown)
        gate = self._gates.find(self.key(request))
        if gate is not None:
            if answer is not None and answer.status >= 400:
                gate.pace.refused(ticket, now)
            gate.changed()

    def _learn(self, request: Request, ticket: Ticket, headers: Mapping[str, str]) -> None:
        if told := read_limits(headers, self.clock.time()):
            gate = self._gate(request)
            gate.pace.learn(ticket, told, self.clock.monotonic())
            gate.changed()

    def _settled(self, request: Request, response: Response, ticket: Ticket, outcome: Outcome) -> None:
        if isinstance(outcome.error, LLMError):
            self._failed(request, ticket, outcome.error)
        elif outcome.kind is OutcomeKind.COMPLETED and (gate := self._gates.find(self.key(request))):
            gate.pace.answered(ticket, response.usage, self.clock.monotonic())
            gate.changed()
