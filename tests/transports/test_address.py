"""Base URLs as users write them, and the proxies of the environment."""

from __future__ import annotations

import pytest
from yarl import URL

from resilient_llm.transports.address import environment_proxy, parse_address


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://localhost:1234", "http://localhost:1234/v1"),
        ("http://localhost:1234/", "http://localhost:1234/v1"),
        ("http://localhost:1234/v1", "http://localhost:1234/v1"),
        (" http://localhost:1234/v1/ ", "http://localhost:1234/v1"),
        ("https://host/api/openai", "https://host/api/openai"),
        ("http://[::1]:8080", "http://[::1]:8080/v1"),
        ("HTTPS://Host.Example", "https://host.example/v1"),
        ("http://host/a%2Fb/v1", "http://host/a%2Fb/v1"),
    ],
)
def test_a_missing_v1_is_added_and_any_other_path_kept(written, meant):
    """With or without `/v1`, with or without a slash: the same address."""
    assert str(parse_address(written, default_path="/v1").base) == meant


@pytest.mark.parametrize(
    "written",
    [
        "",
        "localhost:1234",
        "ftp://host",
        "http://",
        "/v1",
        "http://host:99999",
        "http://host:port",
        "http:///v1",
    ],
)
def test_what_is_no_http_url_is_refused_with_an_example(written):
    """The message shows what would be accepted."""
    with pytest.raises(ValueError, match="base_url"):
        parse_address(written)


def test_a_refused_url_with_a_password_is_not_repeated():
    """Passwords do not end up in logs by way of messages."""
    with pytest.raises(ValueError, match="not what was given"):
        parse_address("ftp://me:secret@host")
    with pytest.raises(ValueError, match=r"base_url is not a URL$"):
        parse_address("http://me:secret@ho\u2100st")  # of which the parser shows all before the path


def test_user_password_and_query_are_taken_out_of_the_base():
    """They become a header and parameters of every request."""
    address = parse_address("https://me:s%40crt@host/v1?api-version=1")
    assert str(address.base) == "https://host/v1"
    assert address.authorization == "Basic bWU6c0BjcnQ="
    assert str(address.join("chat/completions")) == "https://host/v1/chat/completions?api-version=1"
    assert "bWU6" not in repr(address)


@pytest.mark.parametrize(
    ("base", "root"),
    [
        ("http://host/v1", "http://host/props"),
        ("http://host/prefix/v1", "http://host/prefix/props"),
        ("http://host/prefix", "http://host/prefix/props"),
    ],
)
def test_the_root_is_the_base_without_v1(base, root):
    """Local servers have their own routes beside `/v1`."""
    assert str(parse_address(base).join("props", root=True)) == root


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("http://host/v1", {}, None),
        ("http://host/v1", {"HTTP_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ("https://host/v1", {"HTTP_PROXY": "http://proxy:3128"}, None),
        ("https://host/v1", {"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ("https://host/v1", {"ALL_PROXY": "proxy:3128"}, "http://proxy:3128"),
        ("https://host/v1", {"ALL_PROXY": "socks5://proxy:3128"}, None),
        ("https://host/v1", {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "host"}, None),
        ("https://a.host/v1", {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".host"}, None),
        ("http://localhost:1234", {"HTTP_PROXY": "http://proxy:3128"}, None),
        ("http://127.0.0.1:1234", {"HTTP_PROXY": "http://proxy:3128"}, None),
        ("http://[::1]:1234", {"HTTP_PROXY": "http://proxy:3128"}, None),
        ("http://192.168.0.7:1234", {"HTTP_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
    ],
)
def test_proxies_come_from_the_environment_but_not_for_this_machine(monkeypatch, url, environment, proxy):
    """A proxy for the outside world does not cut off a local backend."""
    monkeypatch.delenv("REQUEST_METHOD", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert environment_proxy(URL(url)) == (URL(proxy) if proxy else None)
