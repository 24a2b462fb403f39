"""LM Studio: three generations of model lists, and the choice among them."""

from __future__ import annotations

import pytest
from transports.answers import MESSAGES, answer

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError
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
