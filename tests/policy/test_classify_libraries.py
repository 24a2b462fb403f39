"""Whose exception it is."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import urllib.error

import aiohttp
import anthropic
import httpx
import httpx2
import openai
import pytest
import requests

import resilient_llm as rl
from resilient_llm.policy.classify_libraries import is_known


def of_module(module: str, name: str = "Oops", *bases: type, **attributes: object) -> Exception:
    """An exception of a library that is not installed."""
    kind = type(name, bases or (Exception,), {"__module__": module})
    exc = kind("oops")
    vars(exc).update(attributes)
    return exc


class MineError(Exception):
    """A program's own."""

    status_code = 503


KNOWN = [
    rl.ModelOverloadedError("busy"),
    rl.BackendFailure(500, {}, b""),
    ConnectionResetError(),
    TimeoutError(),
    ssl.SSLError(),
    socket.gaierror(),
    http.client.IncompleteRead(b""),
    urllib.error.URLError("refused"),
    aiohttp.ClientError(),
    httpx.ReadError("reset"),
    httpx2.ReadError("reset"),
    openai.OpenAIError(),
    anthropic.AnthropicError(),
    requests.ConnectionError(),
    requests.JSONDecodeError("x", "y", 0),
    of_module("litellm.exceptions"),
    of_module("botocore.exceptions"),
    of_module("urllib3.exceptions"),
    of_module("google.api_core.exceptions"),
    of_module("google.genai.errors"),
    of_module("app.errors", "Narrower", openai.OpenAIError),
    of_module("newsdk._exceptions", "APIError", request=None, body=None, message=""),
]
FOREIGN = [
    MineError(),
    ValueError("reset by peer"),
    KeyError("timeout"),
    OSError("no space left"),
    FileNotFoundError(),
    json.JSONDecodeError("x", "y", 0),
    ExceptionGroup("several", [ConnectionError()]),
    StopIteration(),
    of_module("google.protobuf.message"),
    of_module("openaikit.errors"),
    of_module("app.errors", "APIError"),
    of_module("app.errors", "APIError", request=None),
    of_module("app.errors", "OtherError", request=None, body=None, message=""),
]


def named(exc: Exception) -> str:
    return f"{type(exc).__module__}.{type(exc).__qualname__}"


@pytest.mark.parametrize("exc", KNOWN, ids=named)
def test_libraries_that_call_models_are_known(exc: Exception) -> None:
    """Exceptions of their packages, of Python's own network modules, of SDKs made alike, and what derives from them."""
    assert is_known(exc)


@pytest.mark.parametrize("exc", FOREIGN, ids=named)
def test_a_programs_own_exceptions_are_not(exc: Exception) -> None:
    """Neither a status attribute, nor words, nor a name alone make an exception a library's."""
    assert not is_known(exc)


def test_the_cause_does_not_make_it_a_librarys() -> None:
    """Who translates an SDK's exception has decided what becomes of it."""
    mine = MineError()
    mine.__cause__ = ConnectionError()
    assert not is_known(mine)
