"""Calls of sync clients of httpx and httpx2: the stages run on the loop of a thread, and the caller waits.

The rules of this file:

- What the loop works on does not know the `LoopThread`, so that a transport which is dropped takes its thread along.
- The caller takes bytes from a job, and nothing else; the response belongs to the loop.
- A sync transport blocks: it works in a thread of its own (see `worked_answer`).
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from resilient_llm.errors import LLMError
from resilient_llm.sync_job import Done, Job, outcome
from resilient_llm.sync_loop import LoopThread

from .http_backend import HTTPBackend, call_of
from .httpx_family import family_of
from .httpx_sender import HttpxSender, closed
from .observed_body import wire_info
from .refusals import signed
from .worked_answer import WorkedReceived

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from resilient_llm.http_call import HTTPCall
    from resilient_llm.request import Request

    from .client_stack import Pipelines
    from .httpx_family import Exceptions, Family, HTTPRequest
    from .observed_body import Received, WireInfo


class _Inside:
    """What the loop works on: the stages, and what is below them.

    Args:
        make: Makes the stages around a backend.
        name: The backend's name.
        transport: What sends in the end; None: the library's own.
    """

    def __init__(self, make: Callable[[HTTPBackend], Pipelines], name: str, transport: Any) -> None:
        self.transport = transport
        self._sender = HttpxSender(getattr(transport, "transport_for", self._choose), _through)
        self.backend = HTTPBackend(self._sender.send, name)
        self.pipelines = make(self.backend)

    def _choose(self, request: HTTPRequest) -> Any:
        if self.transport is None:
            self.transport = family_of(request).module.HTTPTransport()
        return self.transport

    def renew(self) -> None:
        """In a forked child: leave alone what the parent has, and never let go of it."""
        self.backend.renew()

    async def aclose(self) -> None:
        """Close the stages, and what stood in for a transport."""
        try:
            await self.pipelines.aclose()
        finally:
            await self._sender.aclose()


async def _through(transport: Any, request: HTTPRequest, call: HTTPCall) -> Received:
    received = WorkedReceived(family_of(request), streamed=call.asked.stream)
    return await received.open(transport, request)


class BlockingCalls:
    """Sends the requests of threads through stages on a loop of its own, which the first call starts.

    Args:
        make: Makes the stages around a backend.
        name: The backend's name.
        transport: What sends in the end; None: the library's own.
    """

    def __init__(self, make: Callable[[HTTPBackend], Pipelines], name: str, transport: Any) -> None:
        self._inside = inside = _Inside(make, name, transport)
        self._thread = LoopThread(inside, inside.renew)

    def send(self, asked: Request, exceptions: Exceptions) -> tuple[WireInfo, Any]:
        """Wait for an answer's head and first content: what is known of it, and its bytes as a client's stream.

        Raises:
            LLMError: What the stages raise.
        """
        job = Job(_sending(self._inside, asked))
        request = call_of(asked).original
        family = family_of(request)
        try:
            self._thread.submit(job)
            begun = job.take()
            if isinstance(begun, Done):
                _ended(begun)
            info, whole = cast("tuple[WireInfo, bytes | None]", begun)
        except BaseException:
            job.abandon()
            raise
        if whole is not None:
            return info, family.module.ByteStream(whole)
        return info, relay_of(family)(request, job, exceptions, self)

    def close(self) -> None:
        """End the calls, the stages and the thread, then close the transport below."""
        inside = self._inside
        try:
            if self._thread.started:  # else there is nothing, or the interpreter ends
                self._thread.close(lambda _: inside.aclose())
        finally:
            if inside.transport is not None:
                inside.transport.close()


def _sending(inside: _Inside, asked: Request) -> Callable[[Job[bool]], Coroutine[Any, Any, bool]]:
    async def send(job: Job[bool]) -> bool:
        """True at the end of the answer; a job that is abandoned gives nothing."""
        response = await inside.pipelines.of(call_of(asked).original.url.netloc)(asked)
        info = wire_info(response)
        if response.outcome is not None:
            job.put((info, b"".join(info.chunks)))
            return True
        job.put((info, None))
        chunks = info.chunks
        try:
            while True:
                while chunks:
                    if job.put(chunks.popleft()):
                        await job.room()
                if response.outcome is not None:
                    return True
                await response.receive(once=True)
        finally:
            response.close()

    return send


def _ended(done: Done) -> Any:
    """The value of a job, or its error; a job that another thread's closing cancelled is a call that was broken off."""
    if isinstance(done.error, asyncio.CancelledError):
        raise closed() from done.error
    return outcome(done)


@cache
def relay_of(family: Family) -> Callable[..., Any]:
    """A stream of a module's kind that hands on the bytes of a job."""
    return type("BlockingRelay", (_Relay, family.module.SyncByteStream), {})


class _Relay:
    """The bytes of a streamed answer, as they come from the loop."""

    def __init__(
        self, request: HTTPRequest, job: Job[bool], exceptions: Exceptions, calls: BlockingCalls
    ) -> None:
        self._request = request
        self._job = job
        self._exceptions = exceptions
        self._calls = calls  # whose thread is to live as long as this

    def __iter__(self) -> Iterator[bytes]:
        """Raises the client's own exception where the stream breaks."""
        job = self._job
        try:
            while not isinstance(item := job.take(), Done):
                yield cast("bytes", item)
            if not _ended(item):
                raise closed()
        except LLMError as error:
            raise signed(self._exceptions.failure(self._request, error), error) from error
        finally:
            job.cancel()

    def close(self) -> None:
        """End the answer; one that was left early is abandoned."""
        self._job.abandon()

    def __del__(self) -> None:
        """Nobody reads it any more."""
        self._job.cancel()
