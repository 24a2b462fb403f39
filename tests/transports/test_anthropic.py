"""Anthropic's Messages API: its addresses, headers, operations, failures."""

from __future__ import annotations

import json

import attrs
import pytest
from transports.answers import CHAT, MESSAGES, STREAM
from wire.anthropic_cases import STREAMS, TOOL, WEATHER, ending, sse, start, text_block

import resilient_llm as rl
from resilient_llm.errors import (
    BackendFailure,
    ModelAuthError,
    ModelInvalidRequestError,
    ModelResponseInvalidError,
)
from resilient_llm.events import Finish, TextDelta, ToolCall, UsageEvent
from resilient_llm.models import Request, Usage
from resilient_llm.transports import AnthropicTransport

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nrequest-id: req_1\r\nTransfer-Encoding: chunked\r\n\r\n"
USE = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Oslo"}}


def message(*content, stop="end_turn", **more):
    blocks = [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
    usage = {"input_tokens": 3, "cache_read_input_tokens": 1, "output_tokens": 2}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x"}
    return {**head, "content": blocks, "stop_reason": stop, "usage": usage, **more}


async def fine(request, wire):
    if request.json["stream"]:
        await wire.send(HEAD)
        await wire.chunk(sse(*STREAMS["text"]))
        await wire.send(b"0\r\n\r\n")
    else:
        await wire.answer(message("Rhine"), headers="request-id: req_1\r\nretry-after: 4\r\n")


def refusing(status, kind, text, headers=""):
    async def script(_request, wire):
        body = {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_2"}
        await wire.answer(body, status=status, headers=f"request-id: req_2\r\n{headers}")

    return script


@pytest.fixture
def transport(connect):
    """A transport for a server, with a key."""

    def make(server, **options):
        return connect(server, AnthropicTransport, **{"api_key": "sk-ant-1", **options})

    return make


# Addresses and headers ...


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/", "/anthropic/v1"])
async def test_the_address_is_the_root(serve, suffix):
    """With or without `/v1`, and below a gateway's path."""
    server = await serve(fine)
    llm = AnthropicTransport(api_key="k", base_url=server.url + suffix)
    await llm(CHAT)
    assert server.requests[0].target == f"{suffix.rstrip('/').removesuffix('/v1')}/v1/messages"
    await llm.aclose()


async def test_idle_connections_are_kept_as_long_as_the_server_does():
    """Local servers close them after 5 seconds."""
    assert AnthropicTransport(api_key="k", base_url="http://127.0.0.1:8080").keepalive < 5
    assert AnthropicTransport(api_key="k").keepalive > 5


async def test_every_request_says_key_and_version(serve, transport):
    """The key has a header of its own; features in trial are named."""
    server = await serve(fine)
    await transport(server)(CHAT)
    warm = attrs.evolve(CHAT, params={"temperature": 1})
    await transport(server, version="2099-01-01", beta=["a", "b"], headers={"x-own": "1"})(warm)
    first, second = (request.headers for request in server.requests)
    assert (first["x-api-key"], first["anthropic-version"]) == ("sk-ant-1", "2023-06-01")
    assert "authorization" not in first
    assert "anthropic-beta" not in first
    assert "temperature" not in server.requests[1].json
    assert (second["anthropic-version"], second["anthropic-beta"], second["x-own"]) == (
        "2099-01-01",
        "a,b",
        "1",
    )


async def test_a_call_may_name_features_of_its_own(serve, transport):
    """Headers of a single call win."""
    server = await serve(fine)
    request = attrs.evolve(CHAT, extensions={"headers": {"anthropic-beta": "c"}})
    await transport(server, beta="a")(request)
    await transport(server, beta="a")(CHAT)
    assert [request.headers["anthropic-beta"] for request in server.requests] == ["c", "a"]


async def test_a_token_instead_of_a_key(serve, transport):
    """The API refuses requests with both; a function is asked before each attempt."""
    server = await serve(fine)
    llm = transport(server, api_key=None, auth_token=lambda: "token")
    await llm(CHAT)
    assert server.requests[0].headers["authorization"] == "Bearer token"
    assert "x-api-key" not in server.requests[0].headers
    with pytest.raises(TypeError, match="exclude each other"):
        AnthropicTransport(api_key="k", auth_token="t")


@pytest.mark.parametrize(
    ("variables", "options", "header", "value"),
    [
        ({"ANTHROPIC_API_KEY": "k"}, {}, "x-api-key", "k"),
        ({"ANTHROPIC_API_KEY": "k", "ANTHROPIC_AUTH_TOKEN": "t"}, {}, "x-api-key", "k"),
        ({"ANTHROPIC_AUTH_TOKEN": "t\n"}, {}, "authorization", "Bearer t"),
        ({"ANTHROPIC_API_KEY": "k"}, {"auth_token": "t"}, "authorization", "Bearer t"),
        ({"ANTHROPIC_AUTH_TOKEN": "t"}, {"api_key": "k"}, "x-api-key", "k"),
    ],
)
async def test_the_variables_of_the_official_sdk_are_honoured(
    serve, monkeypatch, variables, options, header, value
):
    """Address, key and token come from the environment; never key and token together."""
    server = await serve(fine)
    for name, text in {"ANTHROPIC_BASE_URL": server.url, **variables}.items():
        monkeypatch.setenv(name, text)
    llm = AnthropicTransport(**options)
    await llm(CHAT)
    headers = server.requests[0].headers
    assert headers[header] == value
    assert ("x-api-key" in headers) != ("authorization" in headers)
    await llm.aclose()


@pytest.mark.parametrize("value", [None, "", " \n"])
def test_a_missing_key_is_reported_at_construction(monkeypatch, value):
    """The error names the variable."""
    if value is not None:
        monkeypatch.setenv("ANTHROPIC_API_KEY", value)
    with pytest.raises(ModelAuthError, match="pass api_key= or set ANTHROPIC_API_KEY"):
        AnthropicTransport()


# Chats ...


async def test_a_whole_answer(serve, transport):
    """Events, model, request id and raw body; a good answer's retry-after is nobody's failure."""
    server = await serve(fine)
    response = await transport(server)(CHAT)
    assert response.outcome is not None
    assert [event async for event in response] == [
        TextDelta("Rhine"),
        UsageEvent(Usage(4, 2, 6, 1)),
        Finish("stop"),
    ]
    assert (response.info.model, response.info.request_id, response.info.status) == ("claude-x", "req_1", 200)
    assert (await response.completion()).raw["id"] == "msg_1"
    assert server.requests[0].json == {
        "model": "m",
        "messages": MESSAGES,
        "max_tokens": 4096,
        "stream": False,
    }


async def test_a_stream(serve, transport):
    """Events as they come; the connection is used again."""
    server = await serve(fine)
    llm = transport(server)
    for _ in range(2):
        async with await llm(STREAM) as response:
            texts = [event.text async for event in response if isinstance(event, TextDelta)]
        assert texts == ["Hel", "lo"]
        assert (response.info.model, response.info.request_id) == ("claude-x", "req_1")
    assert server.connections == 1


async def test_functions_come_back_as_they_were_asked_for(serve, transport):
    """Whoever knows functions but no tools gets a function call, whole or streamed."""

    async def script(request, wire):
        assert request.json["tools"][0]["name"] == "get_weather"
        if request.json["stream"]:
            await wire.send(HEAD)
            await wire.chunk(sse(*STREAMS["tools"]))
            await wire.send(b"0\r\n\r\n")
        else:
            await wire.answer(message(USE, stop="tool_use"))

    llm = transport(await serve(script))
    for request in (CHAT, STREAM):
        legacy = await (await llm(attrs.evolve(request, params={"functions": [WEATHER]}))).completion()
        assert (legacy.function_call.name, json.loads(legacy.function_call.arguments)) == (
            "get_weather",
            {"city": "Oslo"},
        )
        assert (legacy.tool_calls, legacy.finish_reason) == ((), "function_call")
        modern = await (await llm(attrs.evolve(request, params={"tools": [TOOL]}))).completion()
        assert modern.tool_calls[0].id == "toolu_1"
        assert (modern.function_call, modern.finish_reason) == (None, "tool_calls")


async def test_thoughts_survive_the_next_turn(serve, transport):
    """What the model signed comes back to it as it was, in the order in which it came."""
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    streamed = [event for event in STREAMS["thoughts"] if event is not STREAMS["thoughts"][0]]

    async def script(request, wire):
        if request.json["stream"]:
            await wire.send(HEAD)
            await wire.chunk(sse(start(), *streamed))
            await wire.send(b"0\r\n\r\n")
        else:
            await wire.answer(message(thought, "Looking.", USE, stop="tool_use"))

    server = await serve(script)
    claude = transport(server, model="claude-opus-4-6")
    async with rl.AsyncClient(transport=claude, token_budget=None) as llm:
        done = await llm.complete(MESSAGES, tools=[TOOL], reasoning_effort="low")
        assert (done.reasoning, done.text) == ("Hm.", "Looking.")
        returned = {"role": "tool", "tool_call_id": "toolu_1", "content": "4 degrees"}
        async with llm.stream([*done.messages, returned], tools=[TOOL]) as response:
            again = await response.completion()
        await llm.complete([*again.messages, returned])
    sent = [request.json["messages"] for request in server.requests]
    assert sent[1][1] == {
        "role": "assistant",
        "content": [thought, {"type": "text", "text": "Looking."}, USE],
    }
    kinds = [block["type"] for block in sent[2][3]["content"]]
    assert kinds == ["thinking", "redacted_thinking", "text", "thinking", "tool_use"]
    assert [block.get("signature") for block in sent[2][3]["content"][::3]] == ["c2ln", "b21pdA=="]


async def test_a_model_must_be_named_at_anthropic_itself():
    """It has too many to choose one; nothing is sent."""
    llm = AnthropicTransport(api_key="k")
    with pytest.raises(ModelInvalidRequestError, match="pass model="):
        await llm(Request(messages=MESSAGES))
    with pytest.raises(ModelInvalidRequestError, match="pass model="):
        await llm.count_tokens("Hi")


async def test_elsewhere_a_model_is_chosen(serve, transport):
    """A local server with this dialect has few; the choice is remembered, or left to the server."""

    async def script(request, wire):
        await wire.answer({"data": [{"id": "local"}]} if request.method == "GET" else message("Hi"))

    server = await serve(script)
    llm = transport(server)
    for _ in range(2):
        await llm(Request(messages=MESSAGES))
    assert [r.json.get("model") for r in server.requests if r.method == "POST"] == ["local", "local"]
    await transport(server, auto_select=False)(Request(messages=MESSAGES))
    assert "model" not in server.requests[-1].json
    assert len(server.requests) == 4


# Other operations ...


async def test_all_pages_of_models_are_listed(serve, transport):
    """With their windows, which the budget then knows."""

    async def script(request, wire):
        if "after_id" not in request.target:
            entry = {"id": "claude-a", "display_name": "A", "max_input_tokens": 200000}
            await wire.answer({"data": [entry], "has_more": True, "last_id": "claude-a"})
        else:
            await wire.answer({"data": [{"id": "claude-b"}], "has_more": False, "last_id": "claude-b"})

    server = await serve(script)
    llm = transport(server)
    models = await (await llm(Request("models"))).result()
    assert [(model.id, model.name, model.context_length) for model in models] == [
        ("claude-a", "A", 200000),
        ("claude-b", "", None),
    ]
    assert [request.target for request in server.requests] == [
        "/v1/models?limit=1000",
        "/v1/models?limit=1000&after_id=claude-a",
    ]
    assert (llm.context_window("claude-a"), llm.context_window("claude-b")) == (200000, None)


async def test_a_listing_that_never_ends_is_left(serve, transport):
    """A server that always has more is not asked for ever."""

    async def script(_request, wire):
        await wire.answer({"data": [{"id": "a"}], "has_more": True, "last_id": "a"})

    server = await serve(script)
    assert len(await transport(server).list_models()) == len(server.requests) == 20


async def test_tokens_are_counted_by_the_api(serve, transport):
    """A text or a conversation, with its tools, in the API's own words."""

    async def script(_request, wire):
        await wire.answer({"input_tokens": 14})

    server = await serve(script)
    llm = transport(server, model="claude-x")
    assert await llm.count_tokens("Hi") == 14
    await llm.count_tokens(
        [{"role": "system", "content": "Be terse."}, *MESSAGES], model="claude-y", tools=[TOOL]
    )
    first, second = (request.json for request in server.requests)
    assert first == {"model": "claude-x", "messages": [{"role": "user", "content": "Hi"}]}
    assert (second["system"], second["tools"][0]["name"]) == ("Be terse.", "get_weather")
    assert second["model"] == "claude-y"
    assert server.requests[0].target == "/v1/messages/count_tokens"


async def test_there_are_no_embeddings(serve, transport):
    """Said at once, without asking."""
    server = await serve(fine)
    with pytest.raises(ModelInvalidRequestError, match="Anthropic offers no embeddings"):
        await transport(server)(Request("embed", params={"input": ["a"]}))
    assert not server.requests


async def test_raw_requests(serve, transport):
    """Any other route, below the root."""

    async def script(_request, wire):
        await wire.answer({"data": []})

    server = await serve(script)
    request = Request("raw", params={"path": "v1/messages/batches"})
    assert await (await transport(server)(request)).result() == {"data": []}
    assert server.requests[0].target == "/v1/messages/batches"


# Failures ...


@pytest.mark.parametrize(
    ("status", "kind", "text", "headers", "error"),
    [
        (400, "invalid_request_error", "name: Extra inputs are not permitted", "", rl.ModelInvalidRequestError),
        (400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum", "", rl.ModelContextLengthError),
        (401, "authentication_error", "invalid x-api-key", "x-should-retry: false\r\n", rl.ModelAuthError),
        (402, "billing_error", "no credit", "", rl.ModelQuotaExceededError),
        (403, "permission_error", "not yours", "", rl.ModelAuthError),
        (404, "not_found_error", "model: claude-0", "", rl.ModelNotFoundError),
        (413, "request_too_large", "too large", "", rl.ModelPayloadTooLargeError),
        (429, "rate_limit_error", "per minute", "retry-after: 7\r\n", rl.ModelRateLimitedError),
        (500, "api_error", "oh", "", rl.ModelUnavailableError),
        (504, "timeout_error", "slow", "", rl.ModelTimeoutError),
        (529, "overloaded_error", "Overloaded", "", rl.ModelOverloadedError),
    ],
)  # fmt: skip
@pytest.mark.parametrize("request_", [CHAT, STREAM], ids=["whole", "stream"])
async def test_refusals(serve, transport, request_, status, kind, text, headers, error):
    """Each status of the API's table becomes its own error, with the request's id and the server's delay."""
    server = await serve(refusing(status, kind, text, headers))
    async with rl.AsyncClient(
        transport=transport(server), model="x", max_retries=0, token_budget=None, rate_limit=None
    ) as llm:
        with pytest.raises(error) as caught:
            await llm.send(request_)
    assert (caught.value.status, caught.value.request_id) == (status, "req_2")
    assert caught.value.retry_after == (7.0 if status == 429 else None)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("overloaded_error", rl.ModelOverloadedError),
        ("rate_limit_error", rl.ModelRateLimitedError),
        ("api_error", rl.ModelUnavailableError),
        ("timeout_error", rl.ModelTimeoutError),
        ("invalid_request_error", rl.ModelInvalidRequestError),
        ("authentication_error", rl.ModelAuthError),
        ("not_found_error", rl.ModelNotFoundError),
        ("billing_error", rl.ModelQuotaExceededError),
    ],
)
@pytest.mark.parametrize("before", [[], [start()], [start(), *text_block(0, "Hel")]])
async def test_errors_in_a_stream(serve, transport, before, kind, error):
    """The status was 200; the error's type decides, and what had come is on it. The key is not."""

    async def script(_request, wire):
        await wire.send(HEAD)
        said = {"type": "error", "error": {"type": kind, "message": "said by sk-ant-1"}}
        await wire.chunk(sse(*before, said))
        await wire.send(b"0\r\n\r\n")

    async with rl.AsyncClient(transport=transport(await serve(script)), model="x", max_retries=0) as llm:
        with pytest.raises(error) as caught:
            async with llm.stream("Hi") as response:
                await response.completion()
    assert (caught.value.partial.text if caught.value.partial else "") == ("Hel" if len(before) > 1 else "")
    assert caught.value.request_id == "req_1"
    assert "sk-ant-1" not in str(caught.value)


async def test_llamacpp_reports_errors_in_its_own_shape(serve, transport):
    """Its Anthropic route sends the bare error, without the API's envelope."""

    async def script(_request, wire):
        await wire.send(HEAD)
        error = (
            b'{"code":400,"message":"the context is exceeded","type":"exceed_context_size_error","n_ctx":512}'
        )
        await wire.chunk(sse(start()) + b"event: error\ndata: " + error + b"\n\n")
        await wire.send(b"0\r\n\r\n")

    server = await serve(script)
    async with rl.AsyncClient(transport=transport(server), max_retries=0, token_budget=None) as llm:
        with pytest.raises(rl.ModelContextLengthError) as caught:
            await llm.send(STREAM)
    assert caught.value.context_limit == 512


async def test_a_stream_that_is_cut(serve, transport):
    """Without a stop reason it broke off, though the connection ended in good order."""

    async def script(_request, wire):
        await wire.send(HEAD)
        await wire.chunk(sse(start(), *text_block(0, "Hel")))
        await wire.send(b"0\r\n\r\n")

    response = await transport(await serve(script))(STREAM)
    with pytest.raises(ModelResponseInvalidError, match="broke off") as caught:
        await response.completion()
    assert caught.value.partial.text == "Hel"


async def test_a_refusal_before_a_word(serve, transport):
    """The model's safety system has spoken: no empty answer, an error."""

    async def script(_request, wire):
        await wire.answer(message(stop="refusal"))

    with pytest.raises(rl.ModelContentFilteredError):
        await transport(await serve(script))(CHAT)


async def test_an_error_with_status_200(serve, transport):
    """Gateways do that; the head belongs to the failure."""

    async def script(_request, wire):
        await wire.answer(
            {"type": "error", "error": {"type": "api_error", "message": "m"}}, headers="x-a: 1\r\n"
        )

    with pytest.raises(BackendFailure) as caught:
        await transport(await serve(script))(CHAT)
    assert caught.value.headers["x-a"] == "1"


# Going on ...


@pytest.mark.parametrize(
    ("model", "params", "resumes"),
    [
        ("claude-haiku-4-5", {}, True),
        ("claude-haiku-4-5", {"temperature": 0.1, "tools": [TOOL]}, True),
        ("claude-haiku-4-5", {"thinking": {"type": "enabled"}}, False),
        ("claude-haiku-4-5", {"reasoning_effort": "low"}, False),
        ("claude-haiku-4-5", {"response_format": {"type": "json_schema"}}, False),
        ("claude-opus-4-6", {}, False),
        ("qwen3", {}, False),
    ],
)
async def test_which_answers_are_gone_on_with(serve, transport, model, params, resumes):
    """Models before 4.6, unless they think or keep to a schema; what is not known for certain is not."""
    server = await serve(fine)
    request = attrs.evolve(STREAM, model=model, params=params, extensions={"resume_from": "The Rhi"})
    async with await transport(server)(request) as response:
        assert response.info.resumes is resumes
    begun = {"role": "assistant", "content": "The Rhi"}
    assert (server.requests[0].json["messages"][-1] == begun) is resumes
    assert response.request is request


async def test_a_stream_ends_with_its_stop_reason(serve, transport):
    """A server that forgets the marker has told all the same."""

    async def script(_request, wire):
        await wire.send(HEAD)
        await wire.chunk(sse(start(), *text_block(0, "Hi"), ending()[0]))
        await wire.send(b"0\r\n\r\n")

    done = await (await transport(await serve(script))(STREAM)).completion()
    assert (done.text, done.finish_reason) == ("Hi", "stop")


async def test_a_call_cut_by_its_length_is_no_call(serve, transport):
    """The text before it is an answer."""

    async def script(_request, wire):
        await wire.send(HEAD)
        await wire.chunk(sse(*STREAMS["cut by its length"]))
        await wire.send(b"0\r\n\r\n")

    done = await (await transport(await serve(script))(STREAM)).completion()
    assert (done.text, done.tool_calls, done.finish_reason) == ("Well", (), "length")


async def test_calls_are_handed_over_whole(serve, transport):
    """Without fragments, a reader sees each call once."""

    async def script(_request, wire):
        await wire.send(HEAD)
        await wire.chunk(sse(*STREAMS["tools"]))
        await wire.send(b"0\r\n\r\n")

    async with await transport(await serve(script))(STREAM) as response:
        calls = [event async for event in response if isinstance(event, ToolCall)]
    assert calls == [
        ToolCall(0, "toolu_1", "get_weather", '{"city": "Oslo"}'),
        ToolCall(1, "toolu_2", "now", "{}"),
    ]
