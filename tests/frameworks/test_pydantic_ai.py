"""Pydantic AI's agents over wrapped clients."""

from __future__ import annotations

from typing import Any

import pytest
from frameworks.cases import QUESTION, RIVERS, Weather, needed, wrapped

import resilient_llm as rl
from resilient_llm.testing import Answer, Call, Cut, FaultServer, Reply, Status, serving

pydantic_ai = needed("pydantic_ai")
openai_models = needed("pydantic_ai.models.openai")
anthropic_models = needed("pydantic_ai.models.anthropic")
OpenAIProvider = needed("pydantic_ai.providers.openai").OpenAIProvider
AnthropicProvider = needed("pydantic_ai.providers.anthropic").AnthropicProvider
openai = needed("openai")
anthropic = needed("anthropic")

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("default")]

BONN = Reply(calls=[Call("final_result", {"city": "Bonn"})])


def over_openai(server: FaultServer, **options: Any) -> Any:
    client = wrapped(openai.AsyncOpenAI, server, **options)
    return openai_models.OpenAIChatModel("m", provider=OpenAIProvider(openai_client=client))


def over_responses(server: FaultServer, **options: Any) -> Any:
    client = wrapped(openai.AsyncOpenAI, server, **options)
    return openai_models.OpenAIResponsesModel("m", provider=OpenAIProvider(openai_client=client))


def over_anthropic(server: FaultServer, **options: Any) -> Any:
    client = wrapped(anthropic.AsyncAnthropic, server, **options)
    return anthropic_models.AnthropicModel("m", provider=AnthropicProvider(anthropic_client=client))


MODELS = pytest.mark.parametrize("model_of", [over_openai, over_responses, over_anthropic])


@MODELS
async def test_a_limit_is_waited_for(model_of):
    """A 429 is nobody's business but ours."""
    async with FaultServer([Status.rate_limited(0.05), Answer()], reply=RIVERS) as server:
        result = await pydantic_ai.Agent(model_of(server)).run(QUESTION)
        assert (result.output, len(server.requests)) == (RIVERS, 2)


def test_runs_of_a_thread_share_a_client():
    """`run_sync` has a loop of its own; the client goes on in the next one."""
    with serving(Status.rate_limited(0.05), Answer(), reply=RIVERS) as server:
        agent = pydantic_ai.Agent(over_openai(server))
        assert [agent.run_sync(QUESTION).output for _ in range(2)] == [RIVERS] * 2
        assert len(server.requests) == 3


@MODELS
async def test_a_stream_that_is_cut_goes_on(model_of):
    """`run_stream` brings the text once, though its first answer breaks in its midst."""
    async with FaultServer([Cut(after=3), Answer()], reply=RIVERS) as server:
        agent = pydantic_ai.Agent(model_of(server, recovery="replay"))
        async with agent.run_stream(QUESTION) as result:
            said = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
        assert "".join(said) == RIVERS
        assert len(server.requests) == 2


@MODELS
async def test_structures_arrive_after_a_failure(model_of):
    """A result with a type comes whole, streamed too."""
    async with FaultServer([Status(503), Answer(), Cut(after=1), Answer()], reply=BONN) as server:
        agent = pydantic_ai.Agent(model_of(server, recovery="replay"), output_type=Weather)
        assert (await agent.run("Bonn?")).output == Weather(city="Bonn")
        async with agent.run_stream("Bonn?") as result:
            assert await result.get_output() == Weather(city="Bonn")
        assert len(server.requests) == 4


@MODELS
@pytest.mark.parametrize(
    ("fault", "status", "code", "requests"),
    [
        (Status(401), 401, "MODEL_AUTH", 1),
        (Status.rate_limited(0.05), 429, "MODEL_RATE_LIMITED", 3),
    ],
)
async def test_errors_are_the_frameworks(model_of, fault, status, code, requests):
    """Pydantic AI's own exception, ours below it, and no retries but ours."""
    async with FaultServer(fault) as server:
        with pytest.raises(pydantic_ai.ModelHTTPError) as caught:
            await pydantic_ai.Agent(model_of(server, max_retries=2)).run(QUESTION)
        assert len(server.requests) == requests
    assert caught.value.status_code == status
    assert caught.value.__cause__.llm_error.code == code
    assert rl.classify_exception(caught.value).attempts == requests


@MODELS
async def test_a_models_own_retries_make_no_product(model_of):
    """`max_retries` in the model's settings switches the SDK's on again: what was given up stays given up."""
    async with FaultServer(Status.rate_limited(0.05)) as server:
        with pytest.raises(pydantic_ai.ModelHTTPError):
            await pydantic_ai.Agent(model_of(server, max_retries=1)).run(
                QUESTION, model_settings={"max_retries": 2}
            )
        assert len(server.requests) == 2


async def test_what_is_refused_here_is_no_answer_of_the_backend():
    """An open circuit comes as Pydantic AI's exception for a 503, and can be told apart."""
    breaker = rl.CircuitBreaker()
    breaker.isolate()
    async with FaultServer() as server:
        with pytest.raises(pydantic_ai.ModelHTTPError) as caught:
            await pydantic_ai.Agent(over_openai(server, breaker=breaker)).run(QUESTION)
        assert server.requests == []
    assert rl.classify_exception(caught.value).code == "CIRCUIT_OPEN"
