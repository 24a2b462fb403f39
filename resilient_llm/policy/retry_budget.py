"""The retry budget: retries are paid for by successes, so that a dead backend is not hammered.

The token bucket of the AWS SDKs' standard retry mode, in its 2.1 costs (botocore `retries/quota.py`,
smithy-rs `token_bucket.rs`): capacity 500; 14 for a transient failure, 5 for throttling; the last cost is given
back when the retry succeeds; a success at the first try adds 1.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import attrs

from resilient_llm.errors import ErrorCode, LLMError
from resilient_llm.validators import count

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

MAX_BUCKETS = 1024


@attrs.define(kw_only=True)
class RetryBudget:
    """A bucket of retry tokens per key (a backend's model), safe to share between threads and event loops.

    At 100 % failure a fresh bucket funds 35 retries of transient failures, or 100 of throttling; after that each
    retry must be earned: a retry that succeeds gives its cost back, a success at the first try 1. The token bucket of
    the AWS SDKs' standard retry mode, with the costs of its version 2.1.

    Args:
        capacity: Tokens in a full bucket: 500.
        cost: Tokens for a retry after a transient failure: 14.
        throttle_cost: Tokens for a retry after `MODEL_RATE_LIMITED`: 5.

    Attributes:
        changed: Told the key and what was spent, or earned if negative, after the lock is released; must not raise.
    """

    capacity: int = attrs.field(default=500, validator=count)
    cost: int = attrs.field(default=14, validator=count)
    throttle_cost: int = attrs.field(default=5, validator=count)
    changed: Callable[[Hashable, int], None] | None = attrs.field(
        default=None, init=False, repr=False, eq=False
    )
    _spent: OrderedDict[Hashable, int] = attrs.field(factory=OrderedDict, init=False, repr=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False, repr=False, eq=False)

    def tokens(self, key: Hashable) -> int:
        """What is left for a key."""
        return self.capacity - self._spent.get(key, 0)

    def withdraw(self, key: Hashable, error: LLMError) -> int | None:
        """Pay for a retry after `error`. Gives what it cost, or None if the bucket cannot pay."""
        cost = self.throttle_cost if error.code is ErrorCode.MODEL_RATE_LIMITED else self.cost
        with self._lock:
            spent = self._spent.get(key, 0)
            if spent + cost > self.capacity:
                return None
            self._spent.pop(key, None)  # it becomes the newest
            self._set(key, spent + cost)
        if self.changed is not None:
            self.changed(key, cost)
        return cost

    def deposit(self, key: Hashable, amount: int) -> None:
        """Give back the cost of a retry that succeeded, or 1 for a success at the first try."""
        if key not in self._spent:  # a full bucket, the usual case: nothing to do
            return
        with self._lock:
            self._set(key, self._spent.get(key, 0) - amount)
        if self.changed is not None:
            self.changed(key, -amount)

    def told(self, key: Hashable, spent: int) -> None:
        """Take over what all who share it have spent."""
        with self._lock:
            self._set(key, spent)

    def spent(self) -> dict[Hashable, int]:
        """What is missing, by key."""
        with self._lock:
            return dict(self._spent)

    def _set(self, key: Hashable, spent: int) -> None:
        if spent <= 0:
            self._spent.pop(key, None)
            return
        self._spent[key] = spent
        if len(self._spent) > MAX_BUCKETS:
            self._spent.popitem(last=False)
