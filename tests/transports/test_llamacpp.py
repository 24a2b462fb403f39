"""llama.cpp's own routes."""

from __future__ import annotations

import attrs
import pytest
from transports.answers import CHAT, MESSAGES, STREAM, answer, delta, stop

from resilient_llm.client import AsyncClient
from resilient_llm.errors import (
    BackendFailure,
    ModelInvalidRequestError,
    ModelResponseInvalidError,
    ModelUnavailableError,
)
from resilient_llm.models import Request
from resilient_llm.transports import LlamaCppTransport, LlamafileTransport


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


async def test_a_routers_windows_are_those_of_its_models(serve, connect):
    """Each loaded model is asked for its own; no other model is taken to have it, and counting names the model."""
    entries = [{"id": state, "status": {"value": state}} for state in ("unloaded", "loaded")]
    table = {
        "/v1/models": {"data": entries},
        "/props?model=loaded": PROPS,
        "/v1/chat/completions": answer(),
        "/tokenize": {"tokens": [1]},
    }
    server = await serve(routes(table))
    llama = connect(server, LlamaCppTransport)
    await llama(Request(messages=MESSAGES))
    assert [llama.context_window(model) for model in ("loaded", "", "unloaded", "x")] == [
        8192,
        8192,
        None,
        None,
    ]
    await llama.count_tokens("Hello")
    assert server.requests[-1].json["model"] == "loaded"


async def test_a_conversation_is_counted_with_the_model_s_template(serve, connect):
    """The template makes the prompt, the tokenizer counts it with its special tokens."""
    server = await serve(routes({"/apply-template": {"prompt": "<s>Hi"}, "/tokenize": {"tokens": [1, 2, 3]}}))
    tools = [{"type": "function"}]
    assert await connect(server, LlamaCppTransport).count_tokens(MESSAGES, tools=tools) == 3
    template, tokenize = server.requests
    assert template.json == {"messages": MESSAGES, "tools": tools}
    assert tokenize.json["content"] == "<s>Hi"
    assert tokenize.json["add_special"] is True


async def test_a_router_is_told_the_model(serve, connect):
    """Both questions name it."""
    server = await serve(routes({"/apply-template": {"prompt": "Hi"}, "/tokenize": {"tokens": [1]}}))
    assert await connect(server, LlamaCppTransport).count_tokens(MESSAGES, model="b") == 1
    assert [request.json["model"] for request in server.requests] == ["b", "b"]


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


async def test_a_call_after_a_stream_does_not_meet_its_closing_connection(serve, connect):
    """The server closes a connection after a stream, and says so only if asked: the next call takes another."""

    async def script(request, wire):
        if not request.json.get("stream"):
            await wire.answer(answer())
            return
        more = b"Connection: close\r\n" if request.headers.get("connection") == "close" else b""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
        await wire.send(head + more + b"\r\n")
        for event in (delta("a"), stop()):
            await wire.event(event)
        await wire.chunk(b"data: [DONE]\n\n")
        await wire.send(b"0\r\n\r\n")
        wire.writer.close()

    server = await serve(script)
    transport = connect(server, LlamaCppTransport)
    for _ in range(5):
        await (await transport(STREAM)).completion()
        assert (await (await transport(CHAT)).completion()).text == "Rhine"
    assert [request.headers.get("connection") for request in server.requests] == ["close", None] * 5


async def test_a_streams_own_headers_win(serve, connect):
    """Headers of a single call are sent with its stream, be it one that the transport sets."""

    async def script(_request, wire):
        await wire.stream(delta("a"), stop())
        await wire.send(b"0\r\n\r\n")

    server = await serve(script)
    headers = {"Connection": "keep-alive", "X-Trace": "1"}
    request = Request(messages=MESSAGES, model="m", stream=True, extensions={"headers": headers})
    await (await connect(server, LlamaCppTransport)(request)).completion()
    assert (server.requests[0].headers["connection"], server.requests[0].headers["x-trace"]) == (
        "keep-alive",
        "1",
    )


async def test_a_listing_tells_the_token_budget_its_window(serve, connect):
    """Once the server has told its window, it is known without asking, whatever the model is called."""
    llama = connect(await serve(routes({"/v1/models": MODELS, "/props": PROPS})), LlamaCppTransport)
    assert llama.context_window("m.gguf") is None
    await llama(Request("models"))
    assert [llama.context_window(model) for model in ("m.gguf", "", "alias")] == [8192, 8192, 8192]


async def test_a_conversation_is_pruned_to_the_window_that_was_listed(serve, connect):
    """The client's token budget uses what the transport knows: no refusal is needed to learn it."""
    props = {"default_generation_settings": {"n_ctx": 400}}
    table = {"/v1/models": MODELS, "/props": props, "/v1/chat/completions": answer()}
    server = await serve(routes(table))
    async with AsyncClient(transport=connect(server, LlamaCppTransport)) as llm:
        await llm.models()
        turns = [{"role": "user", "content": f"{number} " + "word " * 100} for number in range(9)]
        done = await llm.complete(turns)
    assert done.pruned is not None
    assert done.pruned.tokens_after <= 400


def begun(text):
    return attrs.evolve(STREAM, extensions={"resume_from": text, "body": {"top_k": 1}})


async def test_an_answer_goes_on_from_its_beginning(serve, connect):
    """The beginning is sent as the assistant's last message, once the template has shown what becomes of it."""

    async def script(request, wire):
        if request.target == "/apply-template":
            await wire.answer({"prompt": "<|assistant|>\nThe Rhi"})
            return
        await wire.stream(delta("ne"), stop())
        await wire.send(b"0\r\n\r\n")

    server = await serve(script)
    response = await connect(server, LlamaCppTransport)(begun("The Rhi"))
    done = await response.completion()
    assert (done.text, done.sent, response.info.resumes) == ("ne", MESSAGES, True)
    asked, sent = (request.json for request in server.requests)
    assert asked["messages"] == sent["messages"] == [*MESSAGES, {"role": "assistant", "content": "The Rhi"}]
    for body in (asked, sent):
        assert (body["continue_final_message"], body["add_generation_prompt"], body["top_k"]) == (
            True,
            False,
            1,
        )


@pytest.mark.parametrize(
    ("shown", "kind"),
    [
        ({"prompt": "<|assistant|>\nThe Rhi<|end|>\n<|assistant|>\n"}, ModelInvalidRequestError),
        ((404, {"error": {"code": 404, "message": "File Not Found"}}), ModelInvalidRequestError),
        ((400, {"error": {"message": "prefill is incompatible with enable_thinking"}}), BackendFailure),
    ],
    ids=["begins a new answer", "a llamafile", "a thinking model"],
)
async def test_an_answer_that_would_be_begun_anew_is_refused(serve, connect, shown, kind):
    """A server that does not go on with an answer is not asked for one."""
    server = await serve(routes({"/apply-template": shown, "/v1/chat/completions": answer()}))
    with pytest.raises(kind):
        await connect(server, LlamaCppTransport)(begun("The Rhi"))
    assert [request.target for request in server.requests] == ["/apply-template"]


def test_a_llamafile_is_called_so():
    """In results, errors and logs, unless the caller has another name for it."""
    assert (LlamaCppTransport().name, LlamafileTransport().name) == ("llamacpp", "llamafile")
    assert LlamafileTransport(name="box").name == "box"
