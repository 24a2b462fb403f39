"""Where requests go and what they carry, without a server: aioresponses stands in for it."""

from __future__ import annotations

import inspect
from functools import partial
from unittest.mock import Mock

import aiohttp
import pytest
from aioresponses import aioresponses
from transports.answers import CHAT, answer
from yarl import URL

import resilient_llm as rl

AZURE = {"endpoint": "https://acme.openai.azure.com", "deployment": "gpt", "api_version": "2026-01-01"}


@pytest.fixture
def mocked(monkeypatch):
    """The version 0.7.9 of aioresponses does not know the writer that a response of aiohttp 3.14 asks for."""
    if "stream_writer" in inspect.signature(aiohttp.ClientResponse.__init__).parameters:
        response = partial(aiohttp.ClientResponse, stream_writer=Mock())
        monkeypatch.setattr("aioresponses.core.ClientResponse", response)
    with aioresponses() as mock:
        yield mock


@pytest.mark.parametrize(
    ("transport", "url", "header"),
    [
        (
            lambda: rl.OpenAITransport(api_key="k", model="m"),
            "https://api.openai.com/v1/chat/completions",
            ("Authorization", "Bearer k"),
        ),
        (
            lambda: rl.OpenAITransport.azure(api_key="k", **AZURE),
            "https://acme.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=2026-01-01",
            ("api-key", "k"),
        ),
        (
            lambda: rl.LMStudioTransport(model="m"),
            "http://localhost:1234/v1/chat/completions",
            ("Content-Type", "application/json"),
        ),
        (
            lambda: rl.OpenAICompatibleTransport("https://llm.example/api/v3", model="m", api_key="k"),
            "https://llm.example/api/v3/chat/completions",
            ("Authorization", "Bearer k"),
        ),
    ],
    ids=["openai", "azure", "lmstudio", "compatible"],
)
async def test_each_backend_is_asked_at_its_own_address_with_its_own_header(mocked, transport, url, header):
    """The official addresses, reached without a network of any kind."""
    mocked.post(url, payload=answer())
    backend = transport()
    response = await backend(CHAT)
    assert (await response.completion()).text == "Rhine"
    (((method, asked), (call,)),) = mocked.requests.items()
    assert (method, asked) == ("POST", URL(url))
    assert call.kwargs["headers"][header[0]] == header[1]
    assert call.kwargs["allow_redirects"] is False
    await backend.aclose()


async def test_a_status_is_classified_by_the_standard_stack(mocked):
    """From a 429 with Retry-After to the typed error, through every stage."""
    url = "https://api.openai.com/v1/chat/completions"
    error = {
        "error": {
            "message": "Rate limit reached for requests",
            "type": "requests",
            "code": "rate_limit_exceeded",
        }
    }
    mocked.post(url, status=429, headers={"Retry-After": "120"}, payload=error)
    async with rl.AsyncClient("openai", api_key="k", model="m") as llm:
        with pytest.raises(rl.ModelRateLimitedError) as caught:
            await llm.complete("Hello")
    assert (caught.value.retry_after, caught.value.attempts, caught.value.backend) == (120, 1, "openai")
