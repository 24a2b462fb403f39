"""LlamaIndex's OpenAI models over wrapped clients."""

from __future__ import annotations

from typing import Any

import pytest
from frameworks.cases import QUESTION, RIVERS, Weather, needed, wrapped

from resilient_llm.testing import Answer, Cut, FaultServer, Status, serving

llama_openai = needed("llama_index.llms.openai")
ChatMessage = needed("llama_index.core.llms").ChatMessage
PromptTemplate = needed("llama_index.core.prompts").PromptTemplate
openai = needed("openai")

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("default")]

ASKED = [ChatMessage(role="user", content=QUESTION)]


def model_of(server: FaultServer, **options: Any) -> Any:
    return llama_openai.OpenAI(
        model="gpt-4o-mini",
        openai_client=wrapped(openai.OpenAI, server, **options),
        async_openai_client=wrapped(openai.AsyncOpenAI, server, **options),
        api_key="k",
        max_retries=0,
    )


async def test_a_limit_is_waited_for():
    """A 429 is nobody's business but ours."""
    async with FaultServer([Status.rate_limited(0.05), Answer()], reply=RIVERS) as server:
        answer = await model_of(server).achat(ASKED)
        assert (answer.message.content, len(server.requests)) == (RIVERS, 2)


async def test_a_stream_that_is_cut_goes_on():
    """`astream_chat` brings the text once, though its first answer breaks in its midst."""
    async with FaultServer([Cut(after=3), Answer()], reply=RIVERS) as server:
        stream = await model_of(server, recovery="replay").astream_chat(ASKED)
        assert "".join([piece.delta async for piece in stream]) == RIVERS
        assert len(server.requests) == 2


def test_threads_are_served_alike():
    """`chat` and `stream_chat`: a limit, then a cut."""
    with serving(Status.rate_limited(0.05), Answer(), Cut(after=3), Answer(), reply=RIVERS) as server:
        model = model_of(server, recovery="replay")
        assert model.chat(ASKED).message.content == RIVERS
        assert "".join(piece.delta for piece in model.stream_chat(ASKED)) == RIVERS
        assert len(server.requests) == 4


async def test_structures_arrive_after_a_failure():
    """A prediction with a type comes whole."""
    async with FaultServer([Status(503), Answer()], reply='{"city": "Bonn"}') as server:
        made = await model_of(server).astructured_predict(Weather, PromptTemplate("{city}?"), city="Bonn")
        assert (made, len(server.requests)) == (Weather(city="Bonn"), 2)


@pytest.mark.parametrize(
    ("fault", "kind", "code", "requests"),
    [
        (Status(401), "AuthenticationError", "MODEL_AUTH", 1),
        (Status.rate_limited(0.05), "RateLimitError", "MODEL_RATE_LIMITED", 3),
    ],
)
async def test_errors_are_the_sdks(fault, kind, code, requests):
    """LlamaIndex lets the SDK's exceptions pass, with our error on them, and there are no retries but ours."""
    async with FaultServer(fault) as server:
        with pytest.raises(getattr(openai, kind)) as caught:
            await model_of(server, max_retries=2).achat(ASKED)
        assert len(server.requests) == requests
    assert (caught.value.llm_error.code, caught.value.llm_error.attempts) == (code, requests)
