"""Where a backend is, and how its users write it."""

from __future__ import annotations

import ipaddress
from base64 import b64encode
from typing import TYPE_CHECKING, Final
from urllib.request import getproxies, proxy_bypass

import attrs
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMES: Final = ("http", "https")


@attrs.frozen
class Address:
    """A backend's base URL, taken apart.

    Args:
        base: Scheme, host and path, without a slash at the end; never holds a user or a password.
        query: What every request appends.
        authorization: The `Authorization` header for a user and a password that stood in the URL, or None.
    """

    base: URL
    query: tuple[tuple[str, str], ...] = ()
    authorization: str | None = attrs.field(default=None, repr=False)

    @property
    def root(self) -> URL:
        """The base without a `/v1` at its end: where local servers have their own routes."""
        return self.base.with_path(self.base.raw_path.removesuffix("/v1"), encoded=True)

    def adding(self, query: Mapping[str, str] | None) -> Address:
        """The address with more of a query; of the same name, what is added counts."""
        return attrs.evolve(self, query=tuple({**dict(self.query), **query}.items())) if query else self

    def join(self, path: str, *, root: bool = False) -> URL:
        """The URL of a path below the base, with the query."""
        base = self.root if root else self.base
        return base.joinpath(*path.strip("/").split("/")).with_query(self.query)


def parse_address(url: str, *, default_path: str = "") -> Address:
    """Take a base URL apart.

    Args:
        url: What the user wrote.
        default_path: The path meant by a URL that has none, such as `/v1`.

    Raises:
        ValueError: It is no absolute HTTP URL; the message does not repeat what may hold a password.
    """
    try:
        parsed = URL(url.strip())
        port_is_fine = parsed.host is None or parsed.port is not None
    except ValueError as exc:
        msg = f"base_url is not a URL{'' if '@' in url else f': {exc}'}"
        raise ValueError(msg) from None
    if parsed.scheme not in SCHEMES or not parsed.host or not port_is_fine:
        shown = "what was given" if "@" in url else repr(url)
        msg = f"base_url must be an absolute URL such as 'http://localhost:1234/v1', not {shown}"
        raise ValueError(msg)
    path = parsed.raw_path.rstrip("/") or default_path
    return Address(
        base=parsed.origin().with_path(path, encoded=True),
        query=tuple(parsed.query.items()),
        authorization=_basic(parsed),
    )


def environment_proxy(url: URL) -> URL | None:
    """The proxy that the environment names for a URL (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`).

    This machine is never reached through a proxy, as in Go's `ProxyFromEnvironment`: a local backend must not
    stop working because a proxy for the outside world is set.
    """
    host = url.host or ""
    if _is_this_machine(host) or proxy_bypass(f"{host}:{url.port}"):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or proxy.startswith("socks"):
        return None
    return URL(proxy if "://" in proxy else f"http://{proxy}")


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _basic(url: URL) -> str | None:
    if url.user is None and url.password is None:
        return None
    pair = f"{url.user or ''}:{url.password or ''}"
    return "Basic " + b64encode(pair.encode()).decode("ascii")
