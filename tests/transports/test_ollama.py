"""Ollama over real sockets."""

from __future__ import annotations

import asyncio
import json

import attrs
import pytest
from transports.answers import MESSAGES

from resilient_llm.client import AsyncClient
from resilient_llm.errors import (
    BackendFailure,
    ModelContextLengthError,
    ModelInvalidRequestError,
    ModelResponseInvalidError,
    ModelUnavailableError,
)
from resilient_llm.events import Finish, TextDelta, UsageEvent
from resilient_llm.models import Embeddings, Request, Usage
from resilient_llm.transports import OllamaTransport

CHAT = Request(messages=MESSAGES, model="m")
STREAM = attrs.evolve(CHAT, stream=True)
COUNTS = {"prompt_eval_count": 3, "eval_count": 2}
NDJSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
TAGS = [
    {"name": "nomic:latest", "details": {"family": "nomic-bert"}},
    {"name": "cold:latest", "details": {"family": "llama"}},
    {"name": "warm:8b", "details": {"family": "qwen3"}},
]
PS = [{"name": "warm:8b", "context_length": 4096}, {"name": "nomic:latest", "context_length": 2048}]
SHOW = {
    "cold:latest": {
        "model_info": {"general.architecture": "llama", "llama.context_length": 131072},
        "parameters": "num_ctx 8192",
        "capabilities": ["completion", "vision"],
    }
}


def said(content="Rhine", **more):
    return {**piece(content), "done": True, "done_reason": "stop", **more}


def piece(content="", **more):
    return {"model": "m:latest", "message": {"role": "assistant", "content": content}, "done": False, **more}


def ollama(tags=TAGS, ps=PS, show=SHOW, chat=None, embed=None):
    """A server with models; None for a route that this version does not have."""

    async def script(request, wire):
        match request.target:
            case "/api/tags" if tags is not None:
                await wire.answer({"models": tags})
            case "/api/ps" if ps is not None:
                await wire.answer({"models": ps})
            case "/api/show" if (known := (show or {}).get(request.json["model"])) is not None:
                await wire.answer(known)
            case "/api/chat":
                await (wire.answer(said(**COUNTS)) if chat is None else chat(request, wire))
            case "/api/embed" if embed is not None:
                await wire.answer(embed)
            case _:
                await wire.answer({"error": "not found"}, status=404)

    return script


async def lines(wire, *values):
    await wire.send(NDJSON_HEAD)
    for value in values:
        await wire.chunk(json.dumps(value).encode() + b"\n")


def streamed(*values, end=b"0\r\n\r\n"):
    async def chat(_request, wire):
        await lines(wire, *values)
        await wire.send(end)

    return chat


# Calls ...


async def test_a_whole_answer(serve, connect):
    """Everything is known when the call returns; the request is Ollama's."""
    server = await serve(ollama())
    response = await connect(server, OllamaTransport)(attrs.evolve(CHAT, params={"max_tokens": 5}))
    done = await response.completion()
    assert (done.text, done.finish_reason, done.usage) == ("Rhine", "stop", Usage(3, 2, 5))
    assert (done.backend, done.model, done.raw["done"]) == ("ollama", "m:latest", True)
    (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/api/chat")
    assert request.json["options"] == {"num_predict": 5}
    assert (request.json["model"], request.json["stream"]) == ("m", False)


async def test_a_stream(serve, connect):
    """Events come with their lines, and the connection is used again after the last one."""
    server = await serve(ollama(chat=streamed(piece("Rh"), piece("ine"), said("", **COUNTS))))
    transport = connect(server, OllamaTransport)
    for _ in range(3):
        response = await transport(STREAM)
        assert [event async for event in response] == [
            TextDelta("Rh"),
            TextDelta("ine"),
            UsageEvent(Usage(3, 2, 5)),
            Finish("stop"),
        ]
        assert (response.info.model, response.info.backend) == ("m:latest", "ollama")
    assert server.connections == 1


async def test_a_legacy_function_call(serve, connect):
    """Who asked with `functions` gets a function call, streamed or not."""
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    answer = said("", message={"content": "", "tool_calls": [call]})

    async def chat(request, wire):
        if request.json["stream"]:
            await streamed(answer)(request, wire)
        else:
            await wire.answer(answer)

    transport = connect(await serve(ollama(chat=chat)), OllamaTransport)
    for request in (CHAT, STREAM):
        asked = attrs.evolve(request, params={"functions": [{"name": "f"}]})
        done = await (await transport(asked)).completion()
        assert (done.function_call.name, done.function_call.arguments) == ("f", '{"a": 1}')
        assert (done.finish_reason, done.tool_calls) == ("function_call", ())
        done = await (await transport(request)).completion()
        assert (done.tool_calls[0].name, done.function_call) == ("f", None)


async def test_a_failing_stream(serve, connect):
    """An error after the first line, and a stream without its last: both after what had come, both typed."""
    server = await serve(ollama(chat=streamed(piece("a"), {"error": "unexpected EOF"})))
    transport = connect(server, OllamaTransport)
    response = await transport(STREAM)
    assert await anext(response) == TextDelta("a")
    with pytest.raises(BackendFailure) as caught:
        await anext(response)
    assert caught.value.surface == "stream"
    server.script = ollama(chat=streamed(piece("a")))
    response = await transport(STREAM)
    assert await anext(response) == TextDelta("a")
    with pytest.raises(ModelResponseInvalidError, match="broke off"):
        await anext(response)


async def test_embeddings(serve, connect):
    """Vectors by the newer route."""
    server = await serve(ollama(embed={"model": "e", "embeddings": [[1.0], [2.0]], "prompt_eval_count": 4}))
    response = await connect(server, OllamaTransport)(
        Request("embed", model="e", params={"input": ["a", "b"]})
    )
    assert await response.result() == Embeddings([[1.0], [2.0]], "e", Usage(4, None, 4))


async def test_raw_requests(serve, connect):
    """Any other route, below the root."""
    server = await serve(ollama())
    request = Request("raw", params={"path": "api/show", "body": {"model": "cold:latest"}})
    assert await (await connect(server, OllamaTransport)(request)).result() == SHOW["cold:latest"]


async def test_a_missing_server_comes_with_its_command(serve, connect):
    """The message says what to start."""
    server = await serve(ollama())
    await server.stop()
    with pytest.raises(ModelUnavailableError, match=r"no Ollama server .* ollama serve"):
        await connect(server, OllamaTransport)(CHAT)


# Models ...


async def test_the_models_are_listed_with_all_that_is_known(serve, connect):
    """The window in use of what is loaded; of the rest what its Modelfile asks for."""
    server = await serve(ollama())
    models = await (await connect(server, OllamaTransport)(Request("models"))).result()
    assert [(model.id, model.loaded, model.context_length, model.kind) for model in models] == [
        ("nomic:latest", True, 2048, "embedding"),
        ("cold:latest", False, 8192, "chat"),
        ("warm:8b", True, 4096, "chat"),
    ]
    assert [request.target for request in server.requests].count("/api/show") == 1


async def test_an_old_server_tells_less(serve, connect):
    """Without the routes for state and details their facts are unknown."""
    models = await connect(await serve(ollama(ps=None, show=None)), OllamaTransport).list_models()
    assert [(model.id, model.loaded, model.context_length, model.kind) for model in models] == [
        ("nomic:latest", None, None, "embedding"),
        ("cold:latest", None, None, "chat"),
        ("warm:8b", None, None, "chat"),
    ]


async def test_details_are_asked_for_a_few_at_a_time(serve, connect):
    """A hundred models are no hundred connections."""
    tags = [{"name": f"m{number}"} for number in range(30)]
    server = await serve(ollama(tags=tags, ps=[], show={f"m{number}:latest": {} for number in range(30)}))
    assert len(await connect(server, OllamaTransport).list_models()) == 30
    assert len(server.requests) == 32
    assert server.connections <= 8


@pytest.mark.parametrize(("operation", "model"), [("chat", "warm:8b"), ("embed", "nomic:latest")])
async def test_a_loaded_model_is_chosen(serve, connect, operation, model):
    """One of the kind that is needed; the choice asks for no details and is kept."""
    server = await serve(ollama(embed={"embeddings": [[1]]}))
    transport = connect(server, OllamaTransport)
    request = Request(operation, messages=MESSAGES, params={"input": "a"})
    for _ in range(2):
        await transport(request)
        assert server.requests[-1].json["model"] == model
    assert [request.method for request in server.requests] == ["GET", "GET", "POST", "POST"]


async def test_callers_at_the_same_time_share_one_listing(serve, connect):
    """A hundred first calls list the models once; one that is cancelled leaves the others alone."""
    arrived, go = asyncio.Event(), asyncio.Event()
    answers = ollama()

    async def script(request, wire):
        if request.target == "/api/tags":
            arrived.set()
            await go.wait()
        await answers(request, wire)

    server = await serve(script)
    transport = connect(server, OllamaTransport)
    tasks = [asyncio.create_task(transport(Request(messages=MESSAGES))) for _ in range(10)]
    await arrived.wait()
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    go.set()
    await asyncio.gather(*tasks[1:])
    assert [request.target for request in server.requests].count("/api/tags") == 1


async def test_windows_are_known_by_any_name(serve, connect):
    """Once told; a name without a tag means the latest, no name the choice."""
    transport = connect(await serve(ollama()), OllamaTransport)
    assert transport.context_window("cold") is None
    await transport(Request("models"))
    assert [transport.context_window(name) for name in ("cold", "cold:latest", "warm:8b", "x")] == [
        8192,
        8192,
        4096,
        None,
    ]
    assert transport.context_window("") is None
    await transport(Request(messages=MESSAGES))
    assert transport.context_window("") == 4096


# Windows ...


def refusing(refusal, loaded=PS):
    """A server that refuses prompts of more than 3 messages, as Ollama does if it may not cut them."""

    async def chat(request, wire):
        assert request.json["truncate"] is False
        if len(request.json["messages"]) > 3:
            await wire.answer({"error": refusal}, status=400)
        else:
            await wire.answer(said())

    return ollama(chat=chat, ps=loaded)


TURNS = [{"role": "user", "content": f"{number} " + "word " * 700} for number in range(9)]
NUMBERS = json.dumps(
    {
        "error": {
            "code": 400,
            "message": "request (6300 tokens) exceeds the available context size (4096 tokens), try increasing it",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": 6300,
            "n_ctx": 2100,
        }
    }
)


@pytest.mark.parametrize(
    "refusal", ["the input length exceeds the context length", NUMBERS], ids=["0.12", "0.40"]
)
async def test_a_prompt_that_is_too_long_is_pruned_by_us(serve, connect, refusal):
    """Ollama would have cut it silently; it says so instead, and the token budget drops whole turns."""
    window = [{"name": "warm:8b", "context_length": 2100}]
    server = await serve(refusing(refusal, window))
    async with AsyncClient(transport=connect(server, OllamaTransport), model="warm:8b") as llm:
        done = await llm.complete(TURNS)
    assert done.text == "Rhine"
    assert done.pruned.dropped >= 6
    asked = [request.target for request in server.requests]
    assert asked == ["/api/chat", "/api/ps", "/api/chat"]


async def test_without_a_window_the_refusal_is_the_callers(serve, connect):
    """Neither the refusal nor the server says what would fit; it is asked each time, and may fail at that."""
    server = await serve(refusing("the input length exceeds the context length", None))
    async with AsyncClient(transport=connect(server, OllamaTransport), model="m") as llm:
        with pytest.raises(ModelContextLengthError):
            await llm.complete(TURNS)


async def test_a_server_that_is_gone_when_asked_for_its_windows(serve, connect):
    """The refusal is what is raised."""

    async def script(request, wire):
        if request.target == "/api/ps":
            wire.reset()
        else:
            await wire.answer({"error": "the input length exceeds the context length"}, status=400)

    with pytest.raises(BackendFailure):
        await connect(await serve(script), OllamaTransport)(CHAT)


# Going on ...


def begun(text, **params):
    return attrs.evolve(STREAM, extensions={"resume_from": text}, params=params)


def rendering(prompt):
    async def chat(request, wire):
        if request.json.get("_debug_render_only"):
            await wire.answer(prompt)
        else:
            await streamed(piece("ne"), said(""))(request, wire)

    return ollama(chat=chat)


async def test_an_answer_goes_on_from_its_beginning(serve, connect):
    """The beginning is sent as the assistant's last message, once the prompt has been seen to end in it."""
    server = await serve(rendering({"_debug_info": {"rendered_template": "<|assistant|>The Rhi"}}))
    response = await connect(server, OllamaTransport)(begun("The Rhi", seed=1))
    done = await response.completion()
    assert (done.text, done.sent, response.info.resumes) == ("ne", MESSAGES, True)
    shown, sent = (request.json for request in server.requests)
    assert shown["messages"] == sent["messages"] == [*MESSAGES, {"role": "assistant", "content": "The Rhi"}]
    assert (shown["stream"], shown["options"]) == (False, {"seed": 1, "num_predict": 1})
    assert (sent["stream"], sent["think"], sent["options"]) == (True, False, {"seed": 1})
    assert "_debug_render_only" not in sent


@pytest.mark.parametrize(
    "shown",
    [
        {"_debug_info": {"rendered_template": "<|assistant|>The Rhi<|end|><|assistant|>"}},
        said("ne", done_reason="length"),
    ],
    ids=["begins a new answer", "cannot show its prompt"],
)
async def test_an_answer_that_would_be_begun_anew_is_refused(serve, connect, shown):
    """A model that does not go on with an answer is not asked for one."""
    server = await serve(rendering(shown))
    with pytest.raises(ModelInvalidRequestError):
        await connect(server, OllamaTransport)(begun("The Rhi"))
    assert len(server.requests) == 1


# Addresses and keys ...


async def test_address_and_key_come_from_the_environment(serve, monkeypatch):
    """`OLLAMA_HOST` as its users write it, and the key of Ollama's cloud."""
    server = await serve(ollama())
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{server.port}")
    monkeypatch.setenv("OLLAMA_API_KEY", "k")
    transport = OllamaTransport(model="m")
    await transport(Request(messages=MESSAGES))
    assert server.requests[0].headers["authorization"] == "Bearer k"
    await transport.aclose()


@pytest.mark.parametrize(
    ("base_url", "shown"),
    [(None, "http://localhost:11434"), ("http://box:1/v1", "http://box:1"), ("box", "http://box:11434")],
)
def test_base_urls(base_url, shown):
    """Nothing needs to be given; a `/v1` does not matter."""
    assert OllamaTransport(base_url).base_url == shown
