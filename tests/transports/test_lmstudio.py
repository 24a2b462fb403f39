"""LM Studio: three generations of model lists, and the choice among them."""

from __future__ import annotations

import pytest
from transports.answers import MESSAGES, answer, delta, stop

from resilient_llm.client import AsyncClient
from resilient_llm.errors import (
    BackendFailure,
    ModelNotFoundError,
    ModelResponseInvalidError,
    ModelUnavailableError,
)
from resilient_llm.models import Request
from resilient_llm.transports import LMStudioTransport
from resilient_llm.transports.lmstudio import decode_native

NATIVE = {
    "models": [
        {"type": "embedding", "key": "nomic", "loaded_instances": [{"id": "nomic", "config": {}}]},
        {"type": "llm", "key": "cold", "loaded_instances": [], "max_context_length": 40960},
        {
            "type": "llm",
            "key": "acme/warm",
            "display_name": "Warm",
            "publisher": "acme",
            "loaded_instances": [
                {"id": "acme/warm", "config": {"context_length": 8192}},
                {"id": "acme/warm:2", "config": {"context_length": 4096}},
            ],
        },
    ]
}
OLD = {
    "data": [
        {"id": "cold", "type": "llm", "state": "not-loaded", "max_context_length": 40960},
        {"id": "warm", "type": "vlm", "state": "loaded", "loaded_context_length": 8192},
    ]
}
PLAIN = {"data": [{"id": "a"}, {"id": "b"}]}
UNKNOWN = {"error": "Unexpected endpoint or method."}


def studio(**lists):
    """A server of some version: it answers unknown routes with 200 and an error, as LM Studio does."""
    table = {"/api/v1/models": "v1", "/api/v0/models": "v0", "/v1/models": "plain"}

    async def script(request, wire):
        if request.method == "POST":
            await wire.answer(answer())
        else:
            await wire.answer(lists.get(table.get(request.target, ""), UNKNOWN))

    return script


@pytest.mark.parametrize(
    ("lists", "told"),
    [
        (
            {"v1": NATIVE, "v0": OLD, "plain": PLAIN},
            [
                ("nomic", True, None, "embedding"),
                ("cold", False, None, "chat"),
                ("acme/warm", True, 4096, "chat"),
            ],
        ),
        ({"v0": OLD, "plain": PLAIN}, [("cold", False, None, "chat"), ("warm", True, 8192, "chat")]),
        ({"plain": PLAIN}, [("a", None, None, "chat"), ("b", None, None, "chat")]),
    ],
    ids=["0.4", "0.3", "plain"],
)
async def test_the_list_tells_what_this_version_knows(serve, connect, lists, told):
    """State, window and kind come from the newest route that the server has."""
    server = await serve(studio(**lists))
    models = await (await connect(server, LMStudioTransport)(Request("models"))).result()
    assert [(model.id, model.loaded, model.context_length, model.kind) for model in models] == told


@pytest.mark.parametrize(
    ("lists", "chosen"),
    [({"v1": NATIVE}, "acme/warm"), ({"v0": OLD}, "warm"), ({"plain": PLAIN}, "a")],
    ids=["0.4", "0.3", "plain"],
)
async def test_the_loaded_chat_model_is_used(serve, connect, lists, chosen):
    """A model that is not loaded could take minutes; an embedding model could not answer."""
    server = await serve(studio(**lists))
    await connect(server, LMStudioTransport)(Request(messages=MESSAGES))
    assert server.requests[-1].json["model"] == chosen


async def test_an_embedding_model_is_used_for_embeddings(serve, connect):
    """Each kind has its own choice."""
    server = await serve(studio(v1=NATIVE))
    with pytest.raises(
        ModelResponseInvalidError
    ):  # the server answers with a chat, which is beside the point
        await connect(server, LMStudioTransport)(Request("embed", params={"input": "a"}))
    assert server.requests[-1].json["model"] == "nomic"


async def test_without_any_model_the_stand_in_is_asked_for_but_not_kept(serve, connect, caplog):
    """LM Studio answers to any name if one model is loaded; a model loaded later is found."""
    server = await serve(studio(plain={"data": []}))
    transport = connect(server, LMStudioTransport)
    await transport(Request(messages=MESSAGES))
    assert server.requests[-1].json["model"] == "local_model"
    assert "local_model" in caplog.text
    server.script = studio(plain=PLAIN)
    await transport(Request(messages=MESSAGES))
    assert server.requests[-1].json["model"] == "a"


async def test_address_and_token_come_from_the_environment(serve, monkeypatch):
    """`LMSTUDIO_URL` with or without `/v1`, and the token that LM Studio's own tools read."""
    server = await serve(studio())
    monkeypatch.setenv("LMSTUDIO_URL", server.url)
    monkeypatch.setenv("LM_API_TOKEN", "t")
    transport = LMStudioTransport(model="m")
    await transport(Request(messages=MESSAGES))
    assert server.requests[0].target == "/v1/chat/completions"
    assert server.requests[0].headers["authorization"] == "Bearer t"
    await transport.aclose()


def test_the_default_address_is_lm_studios():
    """Nothing needs to be given."""
    assert LMStudioTransport().base_url == "http://localhost:1234/v1"


def test_idle_connections_are_dropped_before_the_server_does_so():
    """LM Studio closes them after five seconds; a request sent into that moment would fail."""
    assert LMStudioTransport.keepalive < 5


def test_what_is_no_native_list_is_refused():
    """An error or another shape sends the caller on to the next route."""
    with pytest.raises(BackendFailure):
        decode_native(b'{"error": "x"}')
    with pytest.raises(ModelResponseInvalidError):
        decode_native(b'{"data": []}')


@pytest.mark.parametrize(
    ("asked", "answered", "warned"),
    [
        ("big", "small", True),
        ("local_model", "small", False),
        ("acme/warm", "acme/warm:2", False),
        ("acme/warm@q4_k_m", "acme/warm", False),
        ("small", "small", False),
        ("small", "", False),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_by_another_model_is_warned_of_once(
    serve, connect, caplog, asked, answered, warned, stream
):
    """LM Studio may answer to a wrong name with the model that is loaded."""

    async def script(request, wire):
        if request.json["stream"]:
            await wire.stream({**delta("a"), "model": answered}, {**stop(), "model": answered})
            await wire.send(b"0\r\n\r\n")
        else:
            await wire.answer(answer(model=answered))

    transport = connect(await serve(script), LMStudioTransport)
    for _ in range(2):
        response = await transport(Request(messages=MESSAGES, model=asked, stream=stream))
        assert (await response.completion()).model == (answered or asked)
    assert len(caplog.messages) == warned
    assert all("'big'" in message and "'small'" in message for message in caplog.messages)


async def test_a_server_that_is_not_there_is_asked_for_the_stand_in(serve, connect, caplog):
    """One warning, however often it is tried; then the call tells what is wrong, and how to start the server."""
    server = await serve(studio())
    await server.stop()
    transport = connect(server, LMStudioTransport)
    for _ in range(2):
        with pytest.raises(ModelUnavailableError, match="lms server start"):
            await transport(Request(messages=MESSAGES))
    (warning,) = caplog.messages
    assert "asking for 'local_model'" in warning
    await server.start()
    server.script = studio(plain=PLAIN)
    await transport(Request(messages=MESSAGES))
    assert server.requests[-1].json["model"] == "a"


async def test_a_model_that_is_not_there_is_an_error_that_says_how_to_list_them(serve, connect):
    """LM Studio's own refusal, with what to do next."""
    refusal = {
        "message": "No model found that matches 'x'",
        "type": "invalid_request_error",
        "code": "model_not_found",
    }

    async def script(_request, wire):
        await wire.answer({"error": refusal}, status=404)

    transport = connect(await serve(script), LMStudioTransport)
    async with AsyncClient(transport=transport, model="x") as llm:
        with pytest.raises(ModelNotFoundError, match="resilient-llm models"):
            await llm.complete("Hello")
