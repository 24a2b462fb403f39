"""The operations of an OpenAI-compatible server."""

from __future__ import annotations

import aiohttp
import attrs
import pytest
from transports.answers import CHAT, MESSAGES, answer

from resilient_llm.errors import BackendFailure, ModelInvalidRequestError
from resilient_llm.events import Finish, Result, TextDelta, UsageEvent
from resilient_llm.models import Request, Usage
from resilient_llm.transports import LMStudioTransport, OpenAICompatibleTransport, OpenAITransport

UNNAMED = Request(messages=MESSAGES)


def listing(*names, refuse=False):
    """A server that lists models and answers with the one that it was asked for."""

    async def script(request, wire):
        if request.method == "GET":
            value = {"data": [{"id": name} for name in names]}
            await wire.answer({"error": "no"} if refuse else value, status=404 if refuse else 200)
        else:
            await wire.answer(answer(model=request.json.get("model", "none")))

    return script


async def test_a_whole_answer_is_committed_with_its_last_event(serve, connect):
    """Everything is known when the call returns: events, model, id, raw body."""

    async def script(_request, wire):
        await wire.answer(answer(usage={"prompt_tokens": 1}), headers="X-Request-Id: r1\r\n")

    response = await connect(await serve(script))(CHAT)
    assert response.outcome is not None
    assert [event async for event in response] == [
        TextDelta("Rhine"),
        UsageEvent(Usage(prompt_tokens=1)),
        Finish("stop"),
    ]
    assert (response.info.model, response.info.request_id, response.info.status) == ("m-2", "r1", 200)
    assert (await response.completion()).raw["id"] == "chatcmpl-1"


async def test_embeddings_arrive_in_the_order_of_the_texts(serve, connect):
    """`embed` posts the input and gives vectors."""

    async def script(_request, wire):
        data = [{"index": 1, "embedding": [0.0, 1.0]}, {"index": 0, "embedding": [1.0, 0.0]}]
        await wire.answer({"data": data, "model": "e", "usage": {"prompt_tokens": 4}})

    server = await serve(script)
    response = await connect(server)(Request("embed", model="e", params={"input": ["a", "b"]}))
    result = await response.result()
    assert result.vectors == [[1.0, 0.0], [0.0, 1.0]]
    assert result.usage.prompt_tokens == 4
    assert server.requests[0].target == "/v1/embeddings"
    assert server.requests[0].json["input"] == ["a", "b"]


async def test_models_are_listed(serve, connect):
    """`models` gives what the server has."""
    response = await connect(await serve(listing("a", "text-embedding-b")))(Request("models"))
    assert [(model.id, model.kind) for model in await response.result()] == [
        ("a", "chat"),
        ("text-embedding-b", "embedding"),
    ]


async def test_raw_requests_pass_through(serve, connect):
    """A path below the base, with a body or without one, gives the decoded answer."""

    async def script(request, wire):
        await wire.answer([request.method, request.target, request.body.decode()])

    transport = connect(await serve(script))
    posted = await transport(Request("raw", params={"path": "/rerank", "body": {"a": 1}}))
    got = await transport(Request("raw", params={"path": "version"}))
    assert [event async for event in posted] == [Result(["POST", "/v1/rerank", '{"a":1}']), Finish("stop")]
    assert await got.result() == ["GET", "/v1/version", ""]


@pytest.mark.parametrize("path", [None, "http://evil.example/x", "../../admin"])
async def test_raw_requests_do_not_leave_the_base(path):
    """A key is sent nowhere else."""
    transport = OpenAICompatibleTransport("http://localhost:1")
    with pytest.raises(ModelInvalidRequestError, match="path below"):
        await transport(Request("raw", params={"path": path}))


async def test_the_model_of_the_transport_is_the_default(serve, connect):
    """A request's own model wins; neither asks for the list."""
    server = await serve(listing("listed"))
    transport = connect(server, model="mine")
    await transport(UNNAMED)
    await transport(CHAT)
    assert [request.json["model"] for request in server.requests] == ["mine", "m"]


async def test_a_model_is_chosen_once(serve, connect):
    """Without any name the list is asked, and the choice kept."""
    server = await serve(listing("text-embedding-1", "chat-1", "chat-2"))
    transport = connect(server)
    for _ in range(2):
        response = await transport(UNNAMED)
        assert response.info.model == "chat-1"
    assert [request.method for request in server.requests] == ["GET", "POST", "POST"]


async def test_a_model_that_is_gone_is_chosen_anew(serve, connect):
    """A 404 forgets the choice: the model may have been unloaded."""
    names = ["first"]

    async def script(request, wire):
        if request.method == "GET":
            await wire.answer({"data": [{"id": names[0]}]})
        elif request.json["model"] != names[0]:
            await wire.answer({"error": "unknown model"}, status=404)
        else:
            await wire.answer(answer())

    transport = connect(await serve(script))
    await transport(UNNAMED)
    names[0] = "second"
    with pytest.raises(BackendFailure):
        await transport(UNNAMED)
    await transport(UNNAMED)


@pytest.mark.parametrize("refuse", [False, True], ids=["empty list", "no list"])
async def test_without_a_choice_the_name_is_left_out_with_a_warning(serve, connect, caplog, refuse):
    """Servers with a single model need no name; the others say so themselves."""
    server = await serve(listing(refuse=refuse))
    transport = connect(server)
    for _ in range(2):
        await transport(UNNAMED)
        assert "model" not in server.requests[-1].json
    (warning,) = caplog.messages
    assert "could not be listed" in warning if refuse else "no model of kind 'chat' is offered" in warning


async def test_choosing_can_be_switched_off(serve, connect):
    """With `auto_select=False` nothing is asked."""
    server = await serve(listing("a"))
    await connect(server, auto_select=False)(UNNAMED)
    assert [request.method for request in server.requests] == ["POST"]


async def test_an_unusable_request_is_refused_before_anything_is_sent():
    """No messages, no call."""
    transport = OpenAICompatibleTransport("http://localhost:1", model="m")
    with pytest.raises(ModelInvalidRequestError):
        await transport(attrs.evolve(CHAT, messages=[]))


@pytest.mark.parametrize("found_closed", [1, 2])
async def test_a_pooled_connection_found_closed_costs_nothing(serve, connect, monkeypatch, found_closed):
    """If not a byte could be written, another connection is used; twice in a row is a failure."""

    async def script(_request, wire):
        await wire.answer(answer())

    unpatched = aiohttp.ClientSession.request
    calls = []

    async def request(session, *args, **options):
        calls.append(args)
        if len(calls) <= found_closed:
            closing = aiohttp.ClientConnectionResetError("Cannot write to closing transport")
            raise aiohttp.ClientOSError(None, "Can not write request body") from closing
        return await unpatched(session, *args, **options)

    monkeypatch.setattr(aiohttp.ClientSession, "request", request)
    transport = connect(await serve(script))
    if found_closed == 1:
        assert (await (await transport(CHAT)).completion()).text == "Rhine"
    else:
        with pytest.raises(aiohttp.ClientOSError):
            await transport(CHAT)
    assert len(calls) == 2


# Counting ...


def tokenizer(value=None, *, status=200):
    """A server with vLLM's route, below its root."""

    async def script(_request, wire):
        await wire.answer({"count": 21, "max_model_len": 32768} if value is None else value, status=status)

    return script


async def test_vllm_counts_with_template_and_tools(serve, connect):
    """One question gives the count, and the window, which the budget then knows."""
    server = await serve(tokenizer())
    llm = connect(server)
    tools = [{"type": "function"}]
    assert await llm.count_tokens(MESSAGES, model="m", tools=tools) == 21
    assert server.requests[0].target == "/tokenize"
    assert server.requests[0].json == {
        "model": "m",
        "messages": MESSAGES,
        "add_generation_prompt": True,
        "tools": tools,
    }
    assert llm.context_window("m") == 32768


async def test_a_text_is_counted_without_special_tokens(serve, connect):
    """As it is; the transport's model is named."""
    server = await serve(tokenizer({"count": 2}))
    assert await connect(server, model="m").count_tokens("Hello") == 2
    assert server.requests[0].json == {"model": "m", "prompt": "Hello", "add_special_tokens": False}


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ({"detail": "Not Found"}, 404),
        ({"error": "Unauthorized"}, 401),
        (b"<html>", 200),
        ({"count": "x"}, 200),
    ],
)
async def test_a_server_without_the_route_is_asked_once(serve, connect, value, status):
    """A gateway answers such a question in many ways; all of them mean that it has no tokenizer."""
    server = await serve(tokenizer(value, status=status))
    llm = connect(server)
    for _ in range(2):
        with pytest.raises(BackendFailure) as caught:
            await llm.count_tokens("Hello")
        assert caught.value.status == 501
    assert len(server.requests) == 1


async def test_a_tokenizer_that_is_down_is_asked_again(serve, connect):
    """A server's failure is no missing route."""
    server = await serve(tokenizer({"error": "busy"}, status=503))
    llm = connect(server)
    for _ in range(2):
        with pytest.raises(BackendFailure) as caught:
            await llm.count_tokens("Hello")
        assert caught.value.status == 503
    assert len(server.requests) == 2


@pytest.mark.parametrize("kind", [OpenAITransport, LMStudioTransport])
async def test_backends_that_are_known_to_have_none_are_not_asked(serve, kind):
    """OpenAI is counted for exactly here; LM Studio counts for its own SDK only."""
    server = await serve(tokenizer())
    with pytest.raises(BackendFailure) as caught:
        await kind(base_url=server.url, api_key="k").count_tokens("Hello")
    assert caught.value.status == 501
    assert not server.requests
