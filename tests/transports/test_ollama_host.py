"""Spellings of `OLLAMA_HOST`."""

from __future__ import annotations

import pytest

from resilient_llm.transports.address import parse_address
from resilient_llm.transports.ollama_host import ollama_url


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://localhost:11434"),
        ("  ", "http://localhost:11434"),
        ("box", "http://box:11434"),
        ("box:8000", "http://box:8000"),
        (":11435", "http://localhost:11435"),
        ("0.0.0.0", "http://localhost:11434"),  # noqa: S104 - read, not bound to
        ("0.0.0.0:11500", "http://localhost:11500"),
        ("http://0.0.0.0:11434", "http://localhost:11434"),
        ("[::]", "http://localhost:11434"),
        ("[::]:1", "http://localhost:1"),
        ("::", "http://localhost:11434"),
        ("::1", "http://[::1]:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("[fe80::2]:12", "http://[fe80::2]:12"),
        (' "box" ', "http://box:11434"),
        ("'http://box:1'", "http://box:1"),
        ("http://box", "http://box:80"),
        ("https://box", "https://box:443"),
        ("https://box:8443/", "https://box:8443"),
        ("ollama.com", "https://ollama.com:443"),
        ("https://ollama.com", "https://ollama.com:443"),
        ("box:notaport", "http://box:11434"),
        ("box:70000", "http://box:11434"),
        ("https://box:-1", "https://box:443"),
        ("box/prefix/", "http://box:11434/prefix"),
        ("http://box:1/v1", "http://box:1"),
        ("http://box:1/v1/", "http://box:1"),
        ("http://box:1/api", "http://box:1"),
        ("http://proxy:1/ollama/v1", "http://proxy:1/ollama"),
        ("https://me:pw@proxy:1/ollama", "https://me:pw@proxy:1/ollama"),
        ("http://localhost:11434", "http://localhost:11434"),
    ],
)
def test_spellings(host: str, url: str):
    """The rules of Ollama's own clients; what servers listen on is reached at this machine; `/v1` does not matter."""
    assert ollama_url(host) == url
    assert parse_address(url).base


@pytest.mark.parametrize("host", ["ftp://box", "unix:///run/ollama.sock"])
def test_what_is_no_address(host: str):
    """Another scheme is refused as any base URL is."""
    with pytest.raises(ValueError, match="base_url must be an absolute URL"):
        parse_address(ollama_url(host))
