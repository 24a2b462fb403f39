"""llmock, a server that others wrote, as a judge: it takes what we send; its answers read as the SDKs read them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("llmock", reason="needs llmock: nox -s verdict")

from conformance.official import by_anthropic, by_openai, embedded_by_openai, ours
from conformance.questions import SCHEMA, TOOLS, WEATHER
from conformance.test_wire import CONVERSATION
from llmock.pytest_plugin import LLMock
from llmock.scenarios import Reply, ToolCall
from llmock.testing import LLMockServer

import resilient_llm as rl

if TYPE_CHECKING:
    from collections.abc import Iterator

SDK = {"openai": by_openai, "anthropic": by_anthropic}
MODELS = {"openai": "gpt-4o", "anthropic": "claude-sonnet-4-6"}
TOWNS = (ToolCall("temperature", {"town": "Ulm"}), ToolCall("temperature", {"town": "Århus"}))
BOTH = pytest.mark.parametrize("dialect", SDK)
EACH_WAY = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # its server's own

ANSWERS: dict[str, tuple[Reply, dict[str, Any]]] = {
    "text": (Reply("Rhein, Po,\n\n Волга 🌊 ", times=None), {}),
    "cut": (Reply("The Rhine, the", finish_reason="length", times=None), {}),
    "filtered": (Reply("I had rather not.", finish_reason="content_filter", times=None), {}),
    "call": (Reply(tool_calls=TOWNS[:1], times=None), {"tools": TOOLS}),
    "calls": (Reply("Let me look.", tool_calls=TOWNS, times=None), {"tools": TOOLS}),
    "bare call": (Reply(tool_calls=(ToolCall("clock", {}),), times=None), {"tools": TOOLS}),
}


@pytest.fixture(scope="module")
def server() -> Iterator[LLMockServer]:
    """One server for all tests."""
    with LLMockServer() as server:
        yield server


@pytest.fixture
def mock(server: LLMockServer) -> LLMock:
    """The server as if nothing had happened."""
    return LLMock(server).reset()


@BOTH
@EACH_WAY
@pytest.mark.parametrize("name", ANSWERS)
async def test_answers_read_as_the_official_sdk_reads_them(
    mock: LLMock, dialect: str, name: str, stream: bool
):
    """Text, calls with their arguments, finish reason, tokens and model are the same, whole and streamed."""
    reply, options = ANSWERS[name]
    mock.add(reply)
    url = mock.base_url(dialect)
    options = {"prompt": WEATHER, "model": MODELS[dialect], **options}
    theirs = await SDK[dialect](url, stream, options)
    assert await ours(dialect, url, stream, options) == theirs
    assert theirs.text == (reply.text or "")
    assert len(theirs.calls) == len(reply.tool_calls)


@BOTH
@EACH_WAY
async def test_requests_are_those_of_the_official_sdk(mock: LLMock, dialect: str, stream: bool):
    """The same call leaves the same body: nothing is missing, nothing more is sent."""
    url = mock.base_url(dialect)
    options = {"prompt": WEATHER, "model": MODELS[dialect], "tools": TOOLS, "max_tokens": 50}
    await SDK[dialect](url, stream, options)
    await ours(dialect, url, stream, options)
    theirs, mine = (dict(record.body) for record in mock.requests)
    for body in (theirs, mine):
        if not body.get("stream"):
            body.pop("stream", None)  # false, or not said
    assert mine == theirs


@BOTH
@EACH_WAY
async def test_a_conversation_with_everything_is_accepted(mock: LLMock, dialect: str, stream: bool):
    """All roles, an image, calls of both kinds and their results pass its validation."""
    mock.reply("It is 4 degrees.", times=None)
    options = {"prompt": CONVERSATION, "model": MODELS[dialect], "tools": TOOLS, "stop": ["END"], "seed": 1}
    told = await ours(dialect, mock.base_url(dialect), stream, options)
    assert (told.text, told.finish_reason) == ("It is 4 degrees.", "stop")
    assert [record.status for record in mock.requests] == [200]


@EACH_WAY
async def test_a_schema_is_understood(mock: LLMock, stream: bool):
    """It makes up an answer that fits the schema that it was sent."""
    form = {"type": "json_schema", "json_schema": {"name": "river", "strict": True, "schema": SCHEMA}}
    options = {"prompt": WEATHER, "model": MODELS["openai"], "response_format": form}
    told = await ours("openai", mock.base_url("openai"), stream, options)
    assert json.loads(told.text).keys() == {"river", "long"}


async def test_embeddings_and_models_are_those_of_the_official_sdk(mock: LLMock):
    """The same vectors, usage and names."""
    url, texts, model = mock.base_url("openai"), ["a", "b", "Århus"], "text-embedding-3-small"
    theirs = await embedded_by_openai(url, texts, model)
    async with rl.AsyncClient("openai", base_url=url, api_key="none") as llm:
        mine = await llm.embed(texts, model=model)
        assert model in {info.id for info in await llm.models()}
    assert mine.vectors == [pytest.approx(vector) for vector in theirs.vectors]
    assert (mine.model, mine.usage.prompt_tokens) == (theirs.model, theirs.usage.prompt_tokens)


@BOTH
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, rl.ModelInvalidRequestError),
        (401, rl.ModelAuthError),
        (404, rl.ModelNotFoundError),
        (429, rl.ModelRateLimitedError),
        (500, rl.ModelUnavailableError),
        (529, rl.ModelOverloadedError),
    ],
)
async def test_its_errors_are_ours(mock: LLMock, dialect: str, status: int, kind: type[rl.LLMError]):
    """Each status in each dialect's shape becomes the typed error."""
    mock.fail(status, times=None)
    for stream in (False, True):
        with pytest.raises(kind) as caught:
            await ours(dialect, mock.base_url(dialect), stream, {"prompt": WEATHER, "model": MODELS[dialect]})
        assert caught.value.status == status
