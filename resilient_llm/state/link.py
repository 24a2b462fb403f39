"""One event loop's connection to Redis: a task that sends what is posted, and one that hears the news.

The rules of this file:

- Whoever asks waits `PATIENCE` at most. Posts are sent in order, as many at a time as there are.
- Whatever goes wrong, an answer that is late included, makes the link `alone`: nothing is asked any more, until a test
  every `TEST` seconds is answered in time; then all that is known is read, and those who listen tell what they know.
- An error breaks the connection: what was posted is dropped, and answered with None, and another one is made.
- Answers that come late are not lost: whoever asked said who is to hear them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from resilient_llm.clock import SYSTEM_CLOCK
from resilient_llm.logs import log
from resilient_llm.timeout import Timeout

from .posts import Names, Post, close, hand, read
from .scripts import BOOK, LEASE

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

    from .ears import Ears

PATIENCE: Final = 0.04
"""Seconds that anybody waits for an answer."""

TEST: Final = 0.25
MOMENT: Final = 2.0
"""Seconds without an answer in time after which probes go unasked."""

BREAK: Final = 1.0
"""Seconds without any answer after which the connection is given up."""

PASSES: Final = 5
"""Turns of the event loop in which an answer that has arrived gets to whoever asked."""

MOST_POSTS: Final = 1000
BATCH: Final = 100


class Link:
    """See the rules above.

    Args:
        connect: Makes the client.
        names: The names in Redis.
        ears: Who hears.
    """

    def __init__(self, connect: Callable[[], Redis], names: Names, ears: Ears) -> None:
        self.alone = True
        self.peers = 1
        self._connect = connect
        self._names = names
        self._ears = ears
        self._warned = False
        self._heard = asyncio.get_running_loop().time()
        self._posts: deque[Post] = deque()
        self._wake = asyncio.Event()
        self._tried = asyncio.Event()
        self._shas: dict[str, str] = {}
        self.loop = asyncio.get_running_loop()
        self._task = self.loop.create_task(self._run())

    @property
    def gone(self) -> bool:
        """Has it been alone for longer than a moment?"""
        return self.alone and self.loop.time() - self._heard > MOMENT

    async def ready(self) -> None:
        """Wait for the outcome of the first attempt to connect, for as long as for an answer."""
        if not self._tried.is_set():
            try:
                with Timeout(PATIENCE):
                    await self._tried.wait()
            except TimeoutError:
                self._late()

    async def ask(
        self, script: str, keys: tuple[str, ...], args: tuple[str | float, ...], late: Callable[[Any], None]
    ) -> Any:
        """What the script gives; None if it is not there in time. Then `late` is told, should it come."""
        if self.alone:
            return None
        answer: asyncio.Future[Any] = self.loop.create_future()
        self.post(Post(script, keys, args, answer))
        try:
            with Timeout(PATIENCE):
                return await asyncio.shield(answer)
        except TimeoutError:
            for _ in range(PASSES):  # it may be here, and only this process late
                await SYSTEM_CLOCK.sleep(0)
                if answer.done():
                    return answer.result()
            answer.add_done_callback(lambda done: hand(done, late))
            self._late()
            return None
        except BaseException:
            answer.add_done_callback(lambda done: hand(done, late))
            raise

    def post(self, post: Post) -> None:
        """Send it soon; the oldest goes if there are too many. From any thread; nothing is kept while alone."""
        if self.alone:
            self._drop(post)
            return
        if len(self._posts) >= MOST_POSTS:
            with suppress(IndexError):
                self._drop(self._posts.popleft())
        self._posts.append(post)
        if asyncio._get_running_loop() is self.loop:  # noqa: SLF001 - documented for this use; the public one raises
            self._wake.set()
        else:
            with suppress(RuntimeError):  # its loop was closed
                self.loop.call_soon_threadsafe(self._wake.set)

    async def aclose(self) -> None:
        """Send what is posted, if it can be sent at once, and end."""
        deadline = self.loop.time() + PATIENCE
        while self._posts and not self.alone and self.loop.time() < deadline:
            await SYSTEM_CLOCK.sleep(0.001)
        self._task.cancel()
        await asyncio.wait([self._task])

    # The task ...

    async def _run(self) -> None:
        while True:
            redis = self._connect()
            try:
                await self._serve(redis)
            except Exception as exc:  # noqa: BLE001 - whatever is wrong with Redis is no reason to fail
                self._lost(type(exc).__name__)
            finally:
                self.alone = True
                self._clear()
                await close(redis, PATIENCE)
            await SYSTEM_CLOCK.sleep(TEST)

    async def _serve(self, redis: Redis) -> None:
        async with redis.pubsub() as news:
            with Timeout(2 * BREAK):
                await news.subscribe(self._names.news)
                for script in (BOOK, LEASE):
                    self._shas[script] = await redis.script_load(script)
            self._wake.set()  # the first test is at once
            hearing = self.loop.create_task(self._hear(news))
            try:
                while not hearing.done():
                    await self._exchange(redis)
                await hearing
            finally:
                hearing.cancel()
                await asyncio.wait([hearing])

    async def _exchange(self, redis: Redis) -> None:
        """Send what is posted, and a test where nothing was for a while, or nobody may ask."""
        with suppress(TimeoutError), Timeout(TEST):
            await self._wake.wait()
        self._wake.clear()
        posts = [self._posts.popleft() for _ in range(min(BATCH, len(self._posts)))]
        if self._posts:
            self._wake.set()
        begun, was_alone = self.loop.time(), self.alone
        try:
            with Timeout(BREAK):
                test, answers = await self._send(redis, posts)
        except BaseException:
            for post in posts:
                self._drop(post)
            raise
        for post, answer in zip(posts, answers, strict=True):
            if post.answer is not None and not post.answer.done():
                post.answer.set_result(answer)
        self._judge(test, self.loop.time() - begun, was_alone=was_alone)

    async def _send(self, redis: Redis, posts: list[Post]) -> tuple[Any, list[Any]]:
        pipe = redis.pipeline(transaction=False)
        for post in posts:
            pipe.evalsha(self._shas[post.script], len(post.keys), *post.keys, *post.args)
        test = self.alone or not posts
        if test:
            keys = (self._names.book, self._names.alive)
            everything = "all" if self.alone else ""
            pipe.evalsha(self._shas[BOOK], 2, *keys, self._names.news, "read", "", everything)
        answers = await pipe.execute()
        return (answers.pop() if test else None), [json.loads(answer) for answer in answers]

    def _judge(self, test: Any, took: float, *, was_alone: bool) -> None:
        if test is not None:
            self.peers = max(1, int(test[0]))
        if not self.alone:
            self._heard = self.loop.time()
        elif test is not None and took <= PATIENCE and was_alone:  # so that the test has read everything
            self.alone = False
            for told in test[1]:
                self._tell(json.loads(told))
            self._heard = self.loop.time()
            self._ears.recall()
            if self._warned:
                self._warned = False
                log(logging.INFO, "llm.state", redis="back", peers=self.peers)
        self._tried.set()

    async def _hear(self, news: Any) -> None:
        async for message in news.listen():
            if message["type"] == "message":
                self._tell(json.loads(message["data"]))

    def _tell(self, told: dict[str, Any]) -> None:
        self._ears.hear(read(told))

    # What goes wrong ...

    def _late(self) -> None:
        self._lost("late")

    def _lost(self, why: str) -> None:
        self.alone = True
        self._tried.set()
        if not self._warned:
            self._warned = True
            log(
                logging.WARNING, "llm.state", redis="lost", error=why, so="this process goes by what it knows"
            )

    def _clear(self) -> None:
        while self._posts:
            self._drop(self._posts.popleft())

    @staticmethod
    def _drop(post: Post) -> None:
        if post.answer is not None and not post.answer.done():
            post.answer.set_result(None)
