"""RedisState: what stages share between processes."""

from __future__ import annotations

import asyncio
import json
import os
from threading import Lock
from typing import TYPE_CHECKING, Any

from resilient_llm.sharing import News, Portions

from .ears import Ears
from .link import BREAK, Link
from .posts import Names, Post, read
from .redis_store import RedisStore, forget_closed
from .scripts import BOOK, LEASE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis.asyncio import Redis

    from resilient_llm.sharing import Listener, Wanted


class RedisState:
    """Circuits, cool-downs, retry budgets and limits, shared by all processes that use the same namespace.

    No call fails because of Redis, and none waits longer than 40 ms for it: where Redis is slow, gone or broken, each
    process goes by what it knows itself, a warning says so once, and it returns by itself. See
    `docs/explanation/shared-state.md`.

    Thread-safe; clients on several event loops, and processes forked from this one, get connections of their own.

    Args:
        url: Where Redis is: `redis://`, `rediss://` or `unix://`, with user, password and database.
        namespace: What tells this fleet from others in the same Redis; all names there begin with it.

    Raises:
        ModuleNotFoundError: The extra `redis` is not installed.
        ValueError: The URL is none, or the namespace is empty.
    """

    def __init__(self, url: str, namespace: str = "resilient-llm") -> None:
        if not namespace or "{" in namespace or "}" in namespace:
            msg = f"namespace must be a text without braces, such as 'my-service', not {namespace!r}"
            raise ValueError(msg)
        self._redis = _connector(url)
        self.namespace = namespace
        self._names = Names(namespace)
        self._ears = Ears()
        self._lock = Lock()
        self._process = os.getpid()
        self._links: dict[asyncio.AbstractEventLoop, Link] = {}
        self._last: Link | None = None

    def __repr__(self) -> str:
        """The namespace; never the URL, which may hold a password."""
        return f"<RedisState {self.namespace!r}>"

    @property
    def peers(self) -> int:
        """How many processes shared it when it was last heard of, at least 1."""
        link = self._current()
        return 1 if link is None else link.peers

    @property
    def alone(self) -> bool:
        """Is Redis out of reach?"""
        link = self._current()
        return link is None or link.alone

    @property
    def gone(self) -> bool:
        """Has Redis been out of reach for two seconds?"""
        link = self._current()
        return link is None or link.gone

    def cache_store(self) -> RedisStore:
        """A store for `Cache(store=...)`, under the same namespace."""
        return RedisStore(self._redis, self.namespace)

    async def ready(self) -> None:
        """Wait for the first connection of the running loop, 40 ms at most; at once ever after."""
        await self._link().ready()

    async def ask(self, operation: str, field: str, *args: float | str, late: Listener) -> News | None:
        """Do something and hear what came of it; None: alone, or not in time."""
        answer = await self._link().ask(
            BOOK, *self._call(operation, field, args), lambda told: late(read(told))
        )
        return None if answer is None else read(answer)

    async def lease(self, wanted: Sequence[Wanted], late: Callable[[Portions], None]) -> Portions | None:
        """Take a portion of each limit, or of none; None: alone, or not in time."""
        limits = [
            {"a": want.allowance, "s": want.slot, "n": want.need, "m": want.more, "u": want.unused}
            for want in wanted
        ]
        keys = tuple(self._names.limit(want.name) for want in wanted)
        answer = await self._link().ask(
            LEASE, keys, (json.dumps(limits),), lambda told: late(_portions(told))
        )
        return None if answer is None else _portions(answer)

    def tell(self, operation: str, field: str, *args: float | str) -> None:
        """Have something done soon; returns at once."""
        link = self._current()
        if link is not None:
            link.post(Post(BOOK, *self._call(operation, field, args)))

    def listen(self, prefix: str, hear: Listener, recall: Callable[[], None]) -> None:
        """Be told of all fields that begin so, and be asked to tell what one knows when Redis is back."""
        self._ears.add(prefix, hear, recall)

    async def aclose(self) -> None:
        """Send what is to be sent, and let go of the running loop's connections; a later use connects again."""
        with self._lock:
            link = self._links.pop(asyncio.get_running_loop(), None)
            if self._last is link:
                self._last = next(iter(self._links.values()), None)
        if link is not None:
            await link.aclose()

    def _call(
        self, operation: str, field: str, args: tuple[float | str, ...]
    ) -> tuple[tuple[str, ...], tuple[float | str, ...]]:
        return (self._names.book,), (self._names.news, operation, field, *args)

    def _link(self) -> Link:
        """The running loop's link, made at the first use."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if (
                self._process != os.getpid()
            ):  # the links are those of the process that this one was forked from
                self._process, self._last = os.getpid(), None
                self._links = {}
            link = self._links.get(loop)
            if link is None:
                forget_closed(self._links)
                link = self._links[loop] = Link(self._redis, self._names, self._ears)
            self._last = link
        return link

    def _current(self) -> Link | None:
        """The running loop's link, or whichever there is."""
        if self._process != os.getpid():
            return None
        loop = asyncio._get_running_loop()  # noqa: SLF001 - documented for this use; the public one raises
        return (self._links.get(loop) if loop is not None else None) or self._last


def _portions(told: dict[str, Any]) -> Portions:
    return Portions(tuple(map(float, told.get("g", ()))), float(told["w"]))


def _connector(url: str) -> Callable[[], Redis]:
    """Makes clients; a wrong URL is refused now."""
    try:
        from redis.asyncio import Redis  # noqa: PLC0415 - an extra
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        msg = "shared state on Redis needs the extra: pip install 'resilient-llm[redis]'"
        raise ModuleNotFoundError(msg, name="redis") from exc

    def connect() -> Redis:
        return Redis.from_url(
            url,
            protocol=2,
            socket_timeout=None,
            socket_connect_timeout=BREAK,
            retry=Retry(NoBackoff(), 0),
        )

    connect()
    return connect
