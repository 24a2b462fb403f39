"""Wrapping the SDKs that one generator makes: openai's, anthropic's, and all of their build.

They are known by their shape: an HTTP client in `_client`, `with_options`, `max_retries`, and one function that makes
an exception of an answer.
"""

from __future__ import annotations

import copy
import sys
from typing import TYPE_CHECKING, Any

from . import httpx_clients
from .client_stack import has_fallback, with_targets
from .refusals import TIMEOUTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_llm.errors import LLMError
    from resilient_llm.pipeline import Middleware
    from resilient_llm.stages import StackOptions

    from .httpx_family import HTTPRequest, HTTPResponse

SHAPE = ("_client", "with_options", "max_retries", "base_url", "_make_status_error_from_response")
STRICT = "_strict_response_validation"


class SDKExceptions:
    """The exceptions of an SDK.

    Args:
        client: One of its clients.

    Raises:
        TypeError: Its package has none of the usual names.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._package = package_of(client)
        base = sys.modules.get(f"{self._package.__name__}._base_client")
        self.raised_below = hasattr(base, "httpx2")
        """Older ones put every exception from below into one of their own, and retry it."""

    def status(self, response: HTTPResponse) -> Exception:
        """The typed error of a status of 400 and above."""
        made: Exception = self._client._make_status_error_from_response(response)  # noqa: SLF001 - as it does
        return made

    def failure(self, request: HTTPRequest, error: LLMError) -> Exception:
        """No usable answer came, or none in time."""
        package = self._package
        kind = package.APITimeoutError if error.code in TIMEOUTS else package.APIConnectionError
        made: Exception = kind(request=request)
        return made


def package_of(client: object) -> Any:
    """The SDK that a client belongs to.

    Raises:
        TypeError: Its package has none of the usual names.
    """
    for kind in type(client).__mro__:
        name = kind.__module__
        while name:
            package = sys.modules.get(name)
            if hasattr(package, "__path__") and hasattr(package, "APIConnectionError"):
                return package
            name = name.rpartition(".")[0]
    msg = (
        f"{type(client).__name__} has the shape of a generated SDK, but its package has no APIConnectionError"
    )
    raise TypeError(msg)


def recognises(client: object) -> bool:
    """Is this one for this module?"""
    return (
        not isinstance(client, type)
        and all(hasattr(client, name) for name in SHAPE)
        and httpx_clients.is_client(client._client)  # type: ignore[attr-defined] # noqa: SLF001
    )


def is_wrapped(client: Any) -> bool:
    """Is our transport below this client?"""
    return httpx_clients.is_wrapped(client._client)  # noqa: SLF001


def wrap(client: Any, middleware: Sequence[Middleware] | None, options: StackOptions) -> Any:
    """A copy of the client, without retries, on a copy of its HTTP client that sends through stages.

    Raises:
        TypeError: Something to fall back to is no client of the same SDK.
    """
    others: list[Any] = []
    if has_fallback(middleware, options):
        from .sdk_targets import SDKTargets  # noqa: PLC0415 - many have a single backend

        targets = SDKTargets(client)
        middleware, options = with_targets(middleware, options, targets)
        others = targets.http
    http = httpx_clients.around(
        client._client,  # noqa: SLF001 - the SDK has no other way to it
        middleware,
        options,
        name=label_of(client),
        exceptions=SDKExceptions(client),
        others=others,
    )
    return _on(client, http)


def _on(client: Any, http: Any) -> Any:
    """A copy of the client on another HTTP client, without retries.

    A class of somebody's own may be made with other arguments than the SDK's, and know more than it was made with: it
    is copied as it is, but for what refers to it, which are the parts of its API.
    """
    if type(client).__module__.partition(".")[0] == package_of(client).__name__.partition(".")[0]:
        twin = client.with_options(http_client=http, max_retries=0)
        twin._strict_response_validation = getattr(client, STRICT, False)  # noqa: SLF001 - which it forgets
        return twin
    twin = copy.copy(client)
    twin._client, twin.max_retries = http, 0  # noqa: SLF001 - no argument of its own takes it
    for name, value in vars(client).items():
        if getattr(value, "_client", None) is client:
            setattr(twin, name, type(value)(twin))
    return twin


def label_of(client: Any) -> str:
    """The backend's name: whose words its errors are in."""
    package = package_of(client).__name__
    if package == "openai" and "openai" not in str(client.base_url):
        return "openai-compatible"
    return str(package).partition(".")[0]
