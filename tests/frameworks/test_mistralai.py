"""Mistral's SDK, which has HTTP clients given to it."""

from __future__ import annotations

from typing import Any

import pytest
from frameworks.cases import QUESTION, RIVERS, kept, needed

from resilient_llm.testing import Answer, Cut, FaultServer, Status, serving

mistral = needed("mistralai.client")
httpx2 = needed("httpx2")

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("default")]

ASKED: Any = {"model": "m", "messages": [{"role": "user", "content": QUESTION}]}


def client_of(server: FaultServer, **options: Any) -> Any:
    return mistral.Mistral(
        api_key="k",
        server_url=server.url,
        client=kept(httpx2.Client(), **options),
        async_client=kept(httpx2.AsyncClient(), **options),
    )


async def test_limits_are_waited_for_and_cut_streams_go_on():
    """`complete_async` and `stream_async`."""
    faults = [Status.rate_limited(0.05), Answer(), Cut(after=3), Answer()]
    async with FaultServer(faults, reply=RIVERS) as server, client_of(server, recovery="replay") as client:
        answer = await client.chat.complete_async(**ASKED)
        assert answer.choices[0].message.content == RIVERS
        events = [event async for event in await client.chat.stream_async(**ASKED)]
        texts = [event.data.choices[0].delta.content or "" for event in events if event.data.choices]
        assert "".join(texts) == RIVERS
        assert len(server.requests) == 4


def test_a_thread_is_served_alike():
    """`complete`."""
    with serving(Status.rate_limited(0.05), Answer(), reply=RIVERS) as server, client_of(server) as client:
        assert client.chat.complete(**ASKED).choices[0].message.content == RIVERS
        assert len(server.requests) == 2


async def test_errors_are_the_sdks():
    """The SDK's own exception for the status, once our retries are used up."""
    async with FaultServer(Status.rate_limited(0.05)) as server, client_of(server, max_retries=2) as client:
        with pytest.raises(mistral.errors.SDKError) as caught:
            await client.chat.complete_async(**ASKED)
        assert (caught.value.status_code, len(server.requests)) == (429, 3)
    assert caught.value.raw_response.llm_error.attempts == 3
