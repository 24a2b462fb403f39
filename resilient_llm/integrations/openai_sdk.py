"""What wrapping knows of OpenAI's SDK: where its HTTP client is, and which exceptions it raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import httpx2
import openai
from openai import AsyncOpenAI

from resilient_llm.composition import role_of
from resilient_llm.presets import standard_stack

from .httpx2_transport import ResilientTransport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_llm.pipeline import Middleware
    from resilient_llm.stages import StackOptions

__all__ = ["AsyncOpenAI", "OpenAIExceptions", "is_wrapped", "wrap_openai"]


@attrs.frozen
class OpenAIExceptions:
    """The SDK's own exceptions. It passes them on as they are, neither retried nor wrapped again."""

    _client: AsyncOpenAI

    def status(self, response: httpx2.Response) -> Exception:
        """The typed error of a status of 400 and above."""
        return self._client._make_status_error_from_response(response)  # noqa: SLF001 - as the SDK makes it

    def connection(self, request: httpx2.Request) -> Exception:
        """No usable answer came."""
        return openai.APIConnectionError(request=request)

    def timeout(self, request: httpx2.Request) -> Exception:
        """None came in time."""
        return openai.APITimeoutError(request)


def is_wrapped(client: AsyncOpenAI) -> bool:
    """Is our transport below this client?"""
    return isinstance(getattr(client._client, "_transport", None), ResilientTransport)  # noqa: SLF001


def wrap_openai(
    client: AsyncOpenAI, middleware: Sequence[Middleware] | None, options: StackOptions
) -> AsyncOpenAI:
    """A copy of the client on an HTTP client of ours, which sends by the transports of the client's own."""
    http: object = client._client  # noqa: SLF001 - the SDK has no other way to it
    if not isinstance(http, httpx2.AsyncClient):
        msg = f"the client sends by {type(http).__module__}: only clients on httpx2 can be wrapped yet"
        raise TypeError(msg)
    if http.is_closed:
        msg = f"the {type(client).__name__} is closed: wrap one that is open"
        raise RuntimeError(msg)
    name = "openai" if "openai" in client.base_url.host else "openai-compatible"
    if middleware is None:
        middleware = standard_stack(backend=name, **options)
    elif options:
        msg = f"{min(options)} is an option of the standard stack: set it on the stages in `middleware`"
        raise TypeError(msg)
    if any(role_of(stage) == "fallback" for stage in middleware):
        msg = "a wrapped client speaks to its own backend only: for fallback targets use AsyncClient(fallback=...)"
        raise TypeError(msg)
    transport = ResilientTransport(http, middleware, name=name, exceptions=OpenAIExceptions(client))
    return client.with_options(http_client=_around(http, transport), max_retries=0)


def _around(http: httpx2.AsyncClient, transport: httpx2.AsyncBaseTransport) -> httpx2.AsyncClient:
    """An HTTP client with everything that the original was given but its transports, which ours looks up in it."""
    return httpx2.AsyncClient(
        transport=transport,
        auth=http.auth,
        params=http.params,
        headers=http.headers,
        cookies=http.cookies,
        timeout=http.timeout,
        follow_redirects=http.follow_redirects,
        max_redirects=http.max_redirects,
        event_hooks=http.event_hooks,
        base_url=http.base_url,
        trust_env=http.trust_env,
    )
