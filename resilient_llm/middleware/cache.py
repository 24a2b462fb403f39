"""Cache: an answer that was given once need not be bought again.

The rules of this file:

- The store is asked under a time limit and written to beside the call: whatever it does, no call fails or waits for it.
- What was stored a moment ago is found here, however slow the store: the answer that a caller has read to its end is
  there for its next call.
- An answer is stored when its reader receives `Finish`, by which the response has completed; never a part of one.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

import attrs

from resilient_llm.clock import SYSTEM_CLOCK, Clock
from resilient_llm.commit import whole
from resilient_llm.events import Event, Finish
from resilient_llm.logs import log
from resilient_llm.policy.cache_entries import CacheEntries
from resilient_llm.policy.request_key import answer_key, repeatable
from resilient_llm.response import Response, ResponseInfo
from resilient_llm.timeout import Timeout
from resilient_llm.validators import positive
from resilient_llm.wire.stored import StoredAnswer, dump, load

from .cache_store import CacheStore, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resilient_llm.models import Request
    from resilient_llm.pipeline import Handler

T = TypeVar("T")

REST: Final = 10.0
"""Seconds for which a store that failed is left alone."""

MOST_WRITES: Final = 100
"""How many answers may be on their way to the store; more than that are not stored."""


def _is_store(_instance: object, attribute: attrs.Attribute[CacheStore], value: object) -> None:
    if isinstance(value, type) or not isinstance(value, CacheStore):
        msg = (
            f"{attribute.name} must be an object with async get and set, such as MemoryStore(), not {value!r}"
        )
        raise TypeError(msg)


def _recent() -> CacheEntries:
    return CacheEntries(max_entries=MOST_WRITES, max_bytes=8 * 1024 * 1024)


@attrs.define(kw_only=True, eq=False)
class Cache:
    """Give the answer that an equal request got before: no attempt, no cost, `Completion.cached`, `attempts` 0.

    Equal are chats with the same model, messages and parameters (`extra_body` and `extra_query` included), and requests
    for embeddings with the same input. A stream may be answered by what a whole call got, and the other way round;
    its text comes in one piece. Headers do not count, so one cache is for callers who may see each other's
    answers. Stored are answers that the model ended by itself, by a stop or by tool calls; not those that failed, were
    cut by a limit or a filter, left early, pruned to fit a window, restarted or resumed.

    Belongs before `Coalesce`, `TokenBudget` and `Retry`. One cache is for one backend, and so is a store, unless
    `namespace` tells them apart. Wrapped clients pass it untouched.

    Args:
        store: Where answers are kept; default: a `MemoryStore` of its own. It is not closed, but told by
            `await store.release()`, if it has that, when a client that uses it is.
        max_age: Seconds for which an answer is given again.
        when: Which requests it is for. Default: chats at temperature 0, and embeddings. A call's own `cache=True` or
            `cache=False` wins.
        namespace: What else tells answers apart, such as the backend's address.
        store_timeout: Seconds that a call waits for the store. One that takes longer, or raises, is left alone for
            10 s; that is logged.
        clock: Time.
    """

    role = "cache"

    store: CacheStore = attrs.field(factory=MemoryStore, validator=_is_store)
    max_age: float = attrs.field(default=3600.0, validator=positive)
    when: Callable[[Request], bool] = attrs.field(
        default=repeatable, validator=attrs.validators.is_callable()
    )
    namespace: str = ""
    store_timeout: float = attrs.field(default=0.25, validator=positive)
    clock: Clock = attrs.field(default=SYSTEM_CLOCK, repr=False)
    _recent: CacheEntries = attrs.field(factory=_recent, init=False, repr=False)
    _writes: set[asyncio.Task[None]] = attrs.field(factory=set, init=False, repr=False)
    _rests_until: float | None = attrs.field(default=None, init=False, repr=False)

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Look, and call if there is nothing."""
        wanted = request.extensions.get("cache")
        if not (self.when(request) if wanted is None else wanted):
            return await call_next(request)
        key = answer_key(request, self.namespace)
        if key is None:
            return await call_next(request)
        found = await self._find(key)
        if found is not None:
            return _replayed(*found, request)
        response = await call_next(request)
        if response.pruned is None and not response.info.cached:
            response.on_event(_Recording(self, key, response))
        return response

    async def aclose(self) -> None:
        """Wait for what is on its way to the store, `store_timeout` at most; then it may let go of its connections."""
        loop = asyncio.get_running_loop()
        if own := [task for task in tuple(self._writes) if task.get_loop() is loop]:
            await asyncio.wait(own)
        release = getattr(self.store, "release", None)
        if release is not None:
            with suppress(Exception), Timeout(self.store_timeout):  # as for all that a store does
                await release()

    async def _find(self, key: str) -> tuple[StoredAnswer, list[Event]] | None:
        data = self._recent.get(key, self.clock.monotonic())
        if data is None and not self._rests():
            data = await self._ask(self.store.get, key)
        return None if data is None else load(data)

    def keep(self, key: str, data: bytes) -> None:
        """Have the store keep an answer; returns at once."""
        now = self.clock.monotonic()
        if self._recent.get(key, now) is not None:
            return  # others asked for the same, and one of them has stored it
        self._recent.put(key, data, now + min(self.max_age, self.store_timeout))
        if len(self._writes) < MOST_WRITES and not self._rests():
            writing = self._ask(self.store.set, key, data, self.max_age)
            task = asyncio.get_running_loop().create_task(writing)
            self._writes.add(task)
            task.add_done_callback(self._writes.discard)

    # The store, which may be slow or broken ...

    def _rests(self) -> bool:
        return self._rests_until is not None and self.clock.monotonic() < self._rests_until

    async def _ask(self, ask: Callable[..., Awaitable[T]], *what: object) -> T | None:
        try:
            with Timeout(self.store_timeout):
                result = await ask(*what)
        except Exception as exc:  # noqa: BLE001 - a cache is no reason to fail
            if self._rests_until is None:
                log(logging.WARNING, "llm.cache", store="failed", error=type(exc).__name__)
            self._rests_until = self.clock.monotonic() + REST
            return None
        if self._rests_until is not None:
            self._rests_until = None
            log(logging.INFO, "llm.cache", store="back")
        return result


class _Recording:
    """The events of an answer on their way to its reader; the last one stores them."""

    __slots__ = ("_cache", "_events", "_key", "_response")

    def __init__(self, cache: Cache, key: str, response: Response) -> None:
        self._cache = cache
        self._key = key
        self._response = response
        self._events: list[Event] = []

    def __call__(self, event: Event) -> Event:
        self._events.append(event)
        if type(event) is Finish:
            info = self._response.info
            data = dump(
                self._events,
                model=info.model,
                backend=info.backend,
                request_id=info.request_id,
                body=info.body,
                extra=dict(info.extra),
            )
            if data is not None:
                self._cache.keep(self._key, data)
        return event


def _replayed(stored: StoredAnswer, events: list[Event], request: Request) -> Response:
    info = ResponseInfo(
        backend=stored.backend,
        model=stored.model,
        request_id=stored.request_id,
        body=None if request.stream else stored.body,
        extra=stored.extra,
        cached=True,
    )
    return whole(events, info, request)
