"""llama.cpp's own routes."""

from __future__ import annotations

import pytest
from transports.answers import MESSAGES

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError, ModelUnavailableError
from resilient_llm.models import Request
from resilient_llm.transports import LlamaCppTransport


def routes(table):
    """A server that answers some paths and knows no others."""

    async def script(request, wire):
        if request.target not in table:
            await wire.answer({"error": {"code": 404, "message": "File Not Found"}}, status=404)
            return
        value = table[request.target]
        status, value = value if isinstance(value, tuple) else (200, value)
        await wire.answer(value, status=status)

    return script


MODELS = {"data": [{"id": "m.gguf", "meta": {"n_ctx_train": 40960}}]}
PROPS = {"default_generation_settings": {"n_ctx": 8192}}


async def test_the_window_in_use_comes_from_props(serve, connect):
    """`/v1/models` tells only what the model was trained for."""
    server = await serve(routes({"/v1/models": MODELS, "/props": PROPS}))
    (model,) = await (await connect(server, LlamaCppTransport)(Request("models"))).result()
    assert (model.id, model.context_length, model.loaded) == ("m.gguf", 8192, True)


@pytest.mark.parametrize("props", [None, {}, {"default_generation_settings": {"n_ctx": 0}}, b"html"])
async def test_without_props_the_window_is_unknown(serve, connect, props):
    """A llamafile of the newer kind has no such route; a router has no window of its own."""
    table = {"/v1/models": MODELS} | ({} if props is None else {"/props": props})
    (model,) = await connect(await serve(routes(table)), LlamaCppTransport).list_models()
    assert model.context_length is None


async def test_a_router_lists_its_models_with_their_state(serve, connect):
    """With several models no single window is the server's."""
    states = ("unloaded", "loaded")
    entries = [{"id": state, "status": {"value": state}} for state in states]
    table = {"/v1/models": {"data": entries}, "/props": PROPS}
    models = await connect(await serve(routes(table)), LlamaCppTransport).list_models()
    assert [(model.id, model.loaded, model.context_length) for model in models] == [
        ("unloaded", False, None),
        ("loaded", True, None),
    ]


async def test_a_conversation_is_counted_with_the_model_s_template(serve, connect):
    """The template makes the prompt, the tokenizer counts it with its special tokens."""
    server = await serve(routes({"/apply-template": {"prompt": "<s>Hi"}, "/tokenize": {"tokens": [1, 2, 3]}}))
    tools = [{"type": "function"}]
    assert await connect(server, LlamaCppTransport).count_tokens(MESSAGES, tools) == 3
    template, tokenize = server.requests
    assert template.json == {"messages": MESSAGES, "tools": tools}
    assert tokenize.json["content"] == "<s>Hi"
    assert tokenize.json["add_special"] is True


async def test_a_text_is_counted_as_it_is(serve, connect):
    """No template, no special tokens."""
    server = await serve(routes({"/tokenize": {"tokens": [1, 2]}}))
    assert await connect(server, LlamaCppTransport).count_tokens("Hello") == 2
    assert server.requests[0].json["add_special"] is False


@pytest.mark.parametrize(
    "table",
    [{"/apply-template": {}}, {"/apply-template": {"prompt": "x"}, "/tokenize": {"tokens": 5}}],
    ids=["no prompt", "no tokens"],
)
async def test_a_counter_that_does_not_count_is_reported(serve, connect, table):
    """An answer without the expected field is no count of zero."""
    with pytest.raises(ModelResponseInvalidError):
        await connect(await serve(routes(table)), LlamaCppTransport).count_tokens(MESSAGES)


@pytest.mark.parametrize(
    ("table", "ready"),
    [
        ({"/health": {"status": "ok"}}, True),
        ({"/health": (503, {"error": {"message": "Loading model"}})}, False),
        ({}, True),
    ],
    ids=["ok", "loading", "no such route"],
)
async def test_health_tells_whether_the_model_is_loaded(serve, connect, table, ready):
    """Ready, loading, or a server without the route that answers all the same."""
    assert await connect(await serve(routes(table)), LlamaCppTransport).health() is ready


async def test_health_of_a_broken_server_is_an_error(serve, connect):
    """A failed load is no loading."""
    server = await serve(routes({"/health": (500, {"status": "error"})}))
    with pytest.raises(BackendFailure):
        await connect(server, LlamaCppTransport).health()


async def test_a_missing_server_comes_with_its_command(serve, connect):
    """The message says what to start."""
    server = await serve(routes({}))
    await server.stop()
    with pytest.raises(ModelUnavailableError, match=r"no llama.cpp server .* llama-server -m"):
        await connect(server, LlamaCppTransport).health()


async def test_the_default_address_is_llama_servers():
    """Nothing needs to be given."""
    assert LlamaCppTransport().base_url == "http://127.0.0.1:8080/v1"
