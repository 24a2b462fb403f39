"""Instructor over wrapped clients."""

from __future__ import annotations

from typing import Any

import pytest
from frameworks.cases import BONN, Weather, needed, wrapped

import resilient_llm as rl
from resilient_llm.testing import Answer, Call, Cut, FaultServer, Reply, Status, serving

instructor = needed("instructor")
InstructorRetryException = needed("instructor.core.exceptions").InstructorRetryException
openai = needed("openai")
anthropic = needed("anthropic")

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("default")]

ASKED: Any = {
    "model": "m",
    "messages": [{"role": "user", "content": "How is the weather in Bonn?"}],
    "response_model": Weather,
    "max_tokens": 99,
}


def over_openai(server: FaultServer, **options: Any) -> Any:
    return instructor.from_openai(wrapped(openai.AsyncOpenAI, server, **options))


def over_anthropic(server: FaultServer, **options: Any) -> Any:
    return instructor.from_anthropic(wrapped(anthropic.AsyncAnthropic, server, **options))


CLIENTS = pytest.mark.parametrize("client_of", [over_openai, over_anthropic])


@CLIENTS
async def test_a_limit_is_waited_for(client_of):
    """A 429 is nobody's business but ours, and costs none of Instructor's attempts."""
    async with FaultServer([Status.rate_limited(0.05), Answer()], reply=BONN) as server:
        assert (await client_of(server).create(**ASKED, max_retries=0)).city == "Bonn"
        assert len(server.requests) == 2


def test_a_thread_is_served_alike():
    """The same for a client that is not asynchronous."""
    with serving(Status.rate_limited(0.05), Answer(), reply=BONN) as server:
        client = instructor.from_openai(wrapped(openai.OpenAI, server))
        assert client.create(**ASKED, max_retries=0).city == "Bonn"
        assert len(server.requests) == 2


@CLIENTS
async def test_answers_of_the_wrong_form_are_asked_for_again_by_instructor(client_of):
    """What the model got wrong is Instructor's to repeat, with the reason: our retries do not count."""
    wrong = Answer(reply=Reply(calls=[Call("Weather", {"town": 1})]))
    async with FaultServer([wrong, Status(503), Answer()], reply=BONN) as server:
        assert (await client_of(server).create(**ASKED, max_retries=1)).city == "Bonn"
        first, *_, last = server.requests
        assert len(server.requests) == 3
        assert len(last.body["messages"]) > len(first.body["messages"])


@CLIENTS
async def test_a_stream_that_is_cut_goes_on(client_of):
    """`create_partial` ends with the whole value, though its first answer breaks in its midst."""
    async with FaultServer([Cut(after=1), Answer()], reply=BONN) as server:
        client = client_of(server, recovery="replay")
        seen = [partial async for partial in client.create_partial(**ASKED)]
        assert seen[-1].city == "Bonn"
        assert len(server.requests) == 2


@CLIENTS
@pytest.mark.parametrize(
    ("fault", "code", "requests"),
    [(Status(401), "MODEL_AUTH", 1), (Status.rate_limited(0.05), "MODEL_RATE_LIMITED", 3)],
)
async def test_errors_are_the_frameworks(client_of, fault, code, requests):
    """Instructor's own exception, ours below it, and no retries but ours."""
    async with FaultServer(fault) as server:
        with pytest.raises(InstructorRetryException) as caught:
            await client_of(server, max_retries=2).create(**ASKED)
        assert len(server.requests) == requests
    error = rl.classify_exception(caught.value)
    assert (error.code, error.attempts) == (code, requests)
