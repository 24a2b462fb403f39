"""The shell that every HTTP backend shares: addresses, headers, keys, sending, and what counts as a failure.

It sends bytes and hands back either aiohttp's response with a status of 2xx or an exception. What the bytes
mean is the business of the transports, which take it from the codecs in `wire/`.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar, Final, TypedDict, TypeVar

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict, istr

from resilient_llm.errors import BackendFailure, ModelUnavailableError
from resilient_llm.response import ResponseInfo

from .address import environment_proxy, parse_address
from .credentials import ApiKey, Credential
from .reading import lower_case, raise_clean, read_some, read_whole
from .request import send
from .sessions import MAX_ANSWER_BYTES, Pool, Sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from yarl import URL

    from resilient_llm.models import Extensions

Value = TypeVar("Value")

USER_AGENT: Final = "resilient-llm"
OWN_HEADERS: Final = frozenset({"headers", "sending"})
"""Extensions that give a request headers of its own."""
LOCAL_KEEPALIVE: Final = 4.0
"""Seconds. Uvicorn, Node and cpp-httplib close idle connections after 5."""


class HTTPOptions(TypedDict, total=False):
    """The options that every HTTP transport takes beside its own; see `HTTPTransport`."""

    headers: Mapping[str, str] | None
    query: Mapping[str, str] | None
    connector: aiohttp.BaseConnector | None
    session: aiohttp.ClientSession | None
    sessions: Sessions | None
    max_answer_bytes: int


class HTTPTransport:
    """Sends to one backend over aiohttp.

    The session is opened when first needed, one for each event loop, and reused. Redirects are not followed,
    so that a key never travels to another host. Proxies come from the environment, but this machine is always
    reached directly.

    Args:
        base_url: The backend's address, as its own users write it.
        model: The model of requests that name none.
        api_key: The key, or a function (sync or async) that is asked for it before each attempt.
        headers: Sent with every request.
        query: Appended to every URL.
        connector: aiohttp's connector; owned, and closed by `aclose()`.
        session: aiohttp's session; used as it is, timeouts and proxies included, and never closed.
        sessions: Another transport's sessions, to share; `aclose()` of either closes them.
        max_answer_bytes: The longest answer, whole or streamed, in bytes after decompression.
        name: The backend's name in results, errors and logs.

    Raises:
        ValueError: An option makes no sense; the message says what would be accepted.
    """

    label: ClassVar[str] = "backend"
    """What messages call the server."""
    start_hint: ClassVar[str] = ""
    """What to start if nothing answers."""
    default_path: ClassVar[str] = ""
    keepalive: float = 15.0
    """Seconds for which an idle connection is kept; must be less than the server's."""
    key_header: str = hdrs.AUTHORIZATION
    key_format: str = "Bearer {}"
    id_header: ClassVar[istr] = istr("x-request-id")

    def __init__(
        self,
        base_url: str,
        *,
        name: str,
        model: str = "",
        api_key: ApiKey | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        connector: aiohttp.BaseConnector | None = None,
        session: aiohttp.ClientSession | None = None,
        sessions: Sessions | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self.name = name
        self.model = model
        self._address = parse_address(base_url, default_path=self.default_path).adding(query)
        self._key = Credential(api_key)
        self._headers = self._base_headers(headers or {})
        self._sessions = sessions or Sessions(
            session=session,
            connector=connector,
            keepalive=self.keepalive,
            max_answer_bytes=max_answer_bytes,
        )
        self._proxy = environment_proxy(self._address.base) if session is None else None

    def __repr__(self) -> str:
        """The name and the address; never the key."""
        model = f", model {self.model!r}" if self.model else ""
        return f"<{type(self).__name__} {self.name} at {self._address.base}{model}>"

    @property
    def base_url(self) -> str:
        """The address, without user and password."""
        return str(self._address.base)

    async def aclose(self) -> None:
        """Close the session of the running loop, with all that is left in it."""
        await self._sessions.aclose()

    async def send(
        self, method: str, url: URL, data: bytes | None = None, *, extensions: Extensions | None = None
    ) -> tuple[aiohttp.ClientResponse, Pool]:
        """Send a request; the body of the answer is unread.

        Raises:
            BackendFailure: The status is not 2xx.
            ModelUnavailableError: Nothing listens at the address.
            aiohttp.ClientError: Whatever else went wrong on the way.
        """
        if extensions and (extra := extensions.get("query")):
            url = url.update_query(extra)
        headers = self._headers
        if self._key.changes or (extensions and not OWN_HEADERS.isdisjoint(extensions)):
            headers = await self._own_headers(extensions or {}, url)
        pool = self._sessions.known() or await self._sessions.pool()
        if (drained := pool.drains.next()) is not None:
            await drained
        options = {"headers": headers, "allow_redirects": False, "proxy": self._proxy}
        try:
            response = await send(pool.session, method, url, data, **options)
        except aiohttp.ClientConnectorError as exc:
            self._explain(exc)
            raise
        except aiohttp.ClientResponseError as exc:
            raise_clean(exc, self.name)
        if not 200 <= response.status < 300:
            raise await self._failure(response)
        return response, pool

    async def decoded(self, response: aiohttp.ClientResponse, decode: Callable[[bytes], Value]) -> Value:
        """Read the whole body and decode it. Raises what the codec raises."""
        body = await read_whole(response, self._sessions.max_answer_bytes)
        try:
            return decode(body)
        except BackendFailure as failure:
            self.amend(failure, response)
            raise

    async def fetch(
        self,
        url: URL,
        decode: Callable[[bytes], Value],
        data: bytes | None = None,
        *,
        extensions: Extensions | None = None,
    ) -> Value:
        """GET, or POST if there is data, and decode the answer. Raises what `send` and the codec raise."""
        method = "GET" if data is None else "POST"
        response, _ = await self.send(method, url, data, extensions=extensions)
        return await self.decoded(response, decode)

    def info(self, response: aiohttp.ClientResponse) -> ResponseInfo:
        """What the head of an answer tells."""
        headers = response.headers
        return ResponseInfo(
            backend=self.name,
            request_id=headers.get(self.id_header),
            status=response.status,
            headers=headers,
        )

    def amend(self, failure: Exception, response: aiohttp.ClientResponse) -> Exception:
        """Complete a failure that a codec found in an answer: the head is ours to know, and so is the key."""
        if isinstance(failure, BackendFailure) and not failure.headers:
            failure.headers = lower_case(response.headers)
            if isinstance(failure.body, str):
                failure.body = self._key.scrub(failure.body)
        return failure

    # Headers and keys ...

    def _base_headers(self, extra: Mapping[str, str]) -> CIMultiDict[str]:
        headers = CIMultiDict({hdrs.USER_AGENT: USER_AGENT, hdrs.CONTENT_TYPE: "application/json"})
        if self._address.authorization:
            headers[hdrs.AUTHORIZATION] = self._address.authorization
        if self._key.known:
            headers[self.key_header] = self.key_format.format(self._key.known)
        headers.update(extra)
        return headers

    async def _own_headers(self, extensions: Extensions, url: URL) -> CIMultiDict[str]:
        """The headers of a single request: the key as it is now, and what stages and the caller add."""
        headers = self._headers.copy()
        if self._key.changes and (key := await self._key.reveal()):
            headers[self.key_header] = self.key_format.format(key)
        if (sending := extensions.get("sending")) is not None:
            headers.update(sending(str(url)))
        headers.update(extensions.get("headers") or {})
        return headers

    # Failures ...

    def _explain(self, exc: aiohttp.ClientConnectorError) -> None:
        """Say which server is missing and how to start it."""
        refused = exc.os_error.errno in {errno.ECONNREFUSED, errno.ENOENT}
        if not refused or isinstance(exc, aiohttp.ClientProxyConnectionError):
            return
        hint = f" (start it with: {self.start_hint})" if self.start_hint else ""
        msg = f"no {self.label} server at {self._address.base.origin()}{hint}"
        raise ModelUnavailableError(msg, backend=self.name) from exc

    async def _failure(self, response: aiohttp.ClientResponse) -> BackendFailure:
        """The answer of a backend that refused, with as much of its body as comes."""
        text = (await read_some(response)).decode("utf-8", "replace")
        return BackendFailure(response.status, lower_case(response.headers), self._key.scrub(text))
