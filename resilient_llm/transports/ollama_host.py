"""Where Ollama is, in all the spellings of `OLLAMA_HOST`, which is both a server's and a client's variable."""

from __future__ import annotations

from typing import Final

DEFAULT_PORT: Final = 11434
SCHEME_PORTS: Final = {"http": 80, "https": 443}
CLOUD: Final = "ollama.com"
ANY_ADDRESS: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - recognised, not bound to
OTHER_ROUTES: Final = ("/v1", "/api")
HIGHEST_PORT: Final = 65535


def ollama_url(host: str) -> str:
    """The base URL that Ollama's own clients make of a host.

    Without a scheme the port is 11434 unless it is given, with one it is the scheme's own; `ollama.com` alone is its
    cloud. An address that a server listens on (`0.0.0.0`) becomes this machine's, a port that is none the
    default. A `/v1` or `/api` at the end is taken off: what follows the base URL is known here.

    Args:
        host: Such as `""`, `"box"`, `":11435"`, `"0.0.0.0"`, `"[::1]:11434"`, `"https://proxy/ollama"`.
    """
    text = host.strip().strip("\"'").strip()
    scheme, given, rest = text.partition("://")
    if not given:
        scheme, rest = ("https", CLOUD) if text == CLOUD else ("http", text)
    port = DEFAULT_PORT if not given and rest != CLOUD else SCHEME_PORTS.get(scheme, 0)
    authority, slash, path = rest.partition("/")
    user, at, address = authority.rpartition("@")
    name, number = _split(address)
    if number.isascii() and number.isdigit() and 0 < int(number) <= HIGHEST_PORT:
        port = int(number)
    name = "localhost" if name in ANY_ADDRESS else f"[{name}]" if ":" in name else name
    path = (slash + path).rstrip("/")
    for route in OTHER_ROUTES:
        path = path.removesuffix(route)
    return f"{scheme}://{user}{at}{name}{f':{port}' if port else ''}{path}"


def _split(address: str) -> tuple[str, str]:
    """Host and port, either of which may be missing; the host without brackets."""
    if address.startswith("["):
        name, _, port = address[1:].partition("]")
        return name, port.removeprefix(":")
    if address.count(":") > 1:
        return address, ""
    name, _, port = address.partition(":")
    return name, port
