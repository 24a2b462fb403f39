"""aiohttp's protocol for answers, made to tell at once what it would keep to itself.

Two things are added. With the parser written in C a body whose framing breaks ends the connection, but not the wait
of whoever reads the body (aiohttp 3.14): the reader is told. And a server may send answers with a status of 1xx
before the real one, without an end: there is a bound.

`BaseConnector._factory` is no public name. A connector that has none, or one of its own, is left as it is: then only
time limits bound such a wait.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import ClientPayloadError
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

if TYPE_CHECKING:
    from aiohttp import BaseConnector

MAX_INFORMATIONAL: Final = 100


class _Handler(ResponseHandler):
    _informational = 0

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        body = self._payload
        super().set_exception(exc, exc if exc_cause is None else exc_cause)
        if isinstance(exc, HttpProcessingError) and body is not None and not body.is_eof():
            body.set_exception(ClientPayloadError("the framing of the body is broken"))

    def feed_data(self, data: Any, size: int = 0) -> None:
        if 100 <= data[0].code < 200:
            self._informational += 1
            if self._informational > MAX_INFORMATIONAL:
                self._give_up()
                return
        else:
            self._informational = 0
        super().feed_data(data, size)

    def _give_up(self) -> None:
        if self.transport is not None:
            self.transport.abort()
            self.set_exception(HttpProcessingError(code=400, message="too many informational answers"))


def harden(connector: BaseConnector) -> BaseConnector:
    """Have a connector's connections tell what is wrong with them."""
    factory = getattr(connector, "_factory", None)
    if isinstance(factory, partial) and factory.func is ResponseHandler:
        hardened = partial(_Handler, *factory.args, **factory.keywords)
        connector._factory = cast("partial[ResponseHandler]", hardened)  # noqa: SLF001 - see above
    return connector
