"""`rl.wrap` around `openai.AsyncOpenAI`, with the bare SDK as the oracle."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import subprocess
import sys
import time
import warnings
from typing import Any

import attrs
import httpx2
import openai
import pytest
from aiohttp import web

import resilient_llm as rl
from resilient_llm.testing import Cut, ScriptedTransport

HELLO: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
TOOLS: Any = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
WHOLE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-2024",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    "unknown": {"kept": True},
}


def chunk(finish: str | None = None, index: int = 0, **delta: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o-2024",
        "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
    }


ROLE = chunk(role="assistant", content="")
USAGE = {**chunk(), "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
TEXT = [ROLE, chunk(content="One "), chunk(content="two"), chunk("stop"), USAGE]
CALL = [
    ROLE,
    chunk(
        tool_calls=[
            {"index": 0, "id": "c1", "type": "function", "function": {"name": "add", "arguments": ""}}
        ]
    ),
    chunk(tool_calls=[{"index": 0, "function": {"arguments": '{"a":'}}]),
    chunk(tool_calls=[{"index": 0, "function": {"arguments": "1}"}}]),
    chunk("tool_calls"),
]
CHOICES = [chunk(content="a"), chunk(index=1, content="b"), chunk("stop"), chunk("length", index=1)]
ERROR = {"error": {"message": "The engine is overloaded", "type": "server_error", "code": None}}


def whole(value: Any, status: int = 200, **headers: str):
    async def script(_: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response(value, status=status, headers=named)

    return script


def stream(*steps: Any, done: bool = True, joined: bool = False):
    """Events, seconds to wait, or `...` to cut the connection."""

    async def script(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        events = [
            f"data: {json.dumps(step)}\n\n".encode() if isinstance(step, dict) else step for step in steps
        ]
        if done:
            events.append(b"data: [DONE]\n\n")
        for event in [b"".join(events)] if joined else events:
            if event is ...:
                request.transport.abort()
            elif isinstance(event, bytes):
                await response.write(event)
                await asyncio.sleep(0.005)
            else:
                await asyncio.sleep(event)
        return response

    return script


async def read(client: openai.AsyncOpenAI, **options: Any) -> list[Any]:
    answer = await client.chat.completions.create(**HELLO, stream=True, **options)
    return [item async for item in answer]


async def read_into(texts: list[str | None], answer: Any) -> None:
    async for item in answer:
        texts.append(item.choices[0].delta.content)  # noqa: PERF401 - what came before the break counts


def acquired(client: openai.AsyncOpenAI) -> set[Any]:
    """The connections that are in use."""
    sender = client._client._transport._sender
    pools = [stand_in._sessions.known() for stand_in in sender._stand_ins.values()]
    assert pools, "aiohttp does not send in place of the SDK's transport"
    return {connection for pool in pools for connection in pool.session.connector._acquired}


class TestSameObjects:
    @pytest.mark.parametrize("value", [WHOLE, {**WHOLE, "choices": WHOLE["choices"] * 2}])
    async def test_a_whole_answer_is_the_one_of_the_bare_client(self, server, bare, wrapped, value):
        """A whole answer is the SDK's own object, fields that nobody knows included."""
        server.scripts = [whole(value)]
        one = await bare.chat.completions.create(**HELLO, tools=TOOLS)
        two = await wrapped.chat.completions.create(**HELLO, tools=TOOLS)
        assert type(one) is type(two)
        assert one == two
        assert server.bodies[0] == server.bodies[1]

    @pytest.mark.parametrize("joined", [False, True], ids=["one by one", "burst"])
    @pytest.mark.parametrize("events", [TEXT, CALL, CHOICES])
    async def test_a_stream_is_the_one_of_the_bare_client(self, server, bare, wrapped, events, joined):
        """A stream brings equal chunks: text, tool calls in fragments, usage, several choices."""
        server.scripts = [stream(b": ping\n\n", *events, joined=joined)]
        options = {"n": 2} if events is CHOICES else {}
        assert await read(bare, **options) == await read(wrapped, **options)
        assert server.bodies[0] == server.bodies[1]

    async def test_request_headers_are_those_of_the_bare_client(self, server, bare, wrapped):
        """Nothing is added to the request, and nothing taken away."""
        server.scripts = [whole(WHOLE)]
        await bare.chat.completions.create(**HELLO)
        await wrapped.chat.completions.create(**HELLO)
        assert server.headers[0] == server.headers[1]

    async def test_compressed_answers_arrive(self, server, bare, wrapped):
        """An answer that the server compressed gives the same object."""

        async def script(_: web.Request) -> web.StreamResponse:
            headers = {"content-encoding": "gzip", "content-type": "application/json"}
            return web.Response(body=gzip.compress(json.dumps(WHOLE).encode()), headers=headers)

        server.scripts = [script]
        assert await bare.chat.completions.create(**HELLO) == await wrapped.chat.completions.create(**HELLO)

    async def test_raw_responses_show_status_and_headers(self, server, wrapped):
        """`with_raw_response` has the server's headers and parses to the same object."""
        server.scripts = [whole(WHOLE, x_request_id="req-1")]
        raw = await wrapped.chat.completions.with_raw_response.create(**HELLO)
        assert (raw.headers["x-request-id"], raw.parse().choices[0].message.content) == ("req-1", "Hi")

    async def test_the_finish_reason_does_not_wait_for_the_terminator(self, server, wrapped):
        """The chunk with the finish reason is handed on when it comes, not when the stream ends."""
        server.scripts = [stream(*TEXT[:4], 0.3, USAGE)]
        answer = await wrapped.chat.completions.create(**HELLO, stream=True)
        begun = time.monotonic()
        async for item in answer:
            if item.choices and item.choices[0].finish_reason:
                break
        assert time.monotonic() - begun < 0.2
        await answer.close()

    async def test_other_streams_pass(self, server, bare, wrapped):
        """A stream of an endpoint that nobody knows gives equal events, and is retried before its first."""
        pieces = [{"id": "c", "object": "text_completion", "choices": [{"index": 0, "text": "Hi"}]}] * 2
        server.scripts = [stream(*pieces), whole(ERROR, 503), stream(*pieces)]

        async def events(client: openai.AsyncOpenAI) -> list[Any]:
            return [
                event
                async for event in await client.completions.create(model="m", prompt="Hello", stream=True)
            ]

        assert await events(bare) == await events(wrapped)
        assert len(server.bodies) == 3

    async def test_other_endpoints_pass(self, server, bare, wrapped):
        """An endpoint that is no chat gives equal objects, and is retried as the SDK would."""
        listing = {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "me"}]}
        server.scripts = [whole(listing)]
        assert (await bare.models.list()).data == (await wrapped.models.list()).data
        server.scripts = [whole(ERROR, 503)] * 3 + [whole(listing)]
        assert (await wrapped.models.list()).data[0].id == "m"


class TestRetry:
    async def test_a_rate_limit_is_waited_for(self, server, wrapped):
        """A 429 with a delay is retried once, after the delay."""
        server.scripts = [whole(ERROR, 429, retry_after="0.2"), whole(WHOLE)]
        begun = time.monotonic()
        answer = await wrapped.chat.completions.create(**HELLO)
        assert answer.choices[0].message.content == "Hi"
        assert len(server.bodies) == 2
        assert time.monotonic() - begun >= 0.2

    async def test_server_errors_end_as_the_sdks_own(self, server, wrapped):
        """A server that keeps failing ends as InternalServerError: its body, and our error with the attempts."""
        server.scripts = [whole(ERROR, 500, x_request_id="req-9")]
        with pytest.raises(openai.InternalServerError) as caught:
            await wrapped.chat.completions.create(**HELLO)
        exc = caught.value
        assert (exc.status_code, exc.body, exc.request_id) == (500, ERROR["error"], "req-9")
        assert isinstance(exc.llm_error, rl.LLMError)
        assert exc.llm_error.attempts == len(server.bodies) == 4

    @pytest.mark.parametrize(
        ("status", "kind"),
        [(400, openai.BadRequestError), (401, openai.AuthenticationError), (404, openai.NotFoundError)],
    )
    async def test_refusals_are_those_of_the_bare_client(self, server, bare, wrapped, status, kind):
        """A refusal is raised at once, with the type, text and body of the bare SDK."""
        server.scripts = [whole({"error": {"message": "no", "code": "nope"}}, status)]
        with pytest.raises(kind) as one:
            await bare.chat.completions.create(**HELLO)
        with pytest.raises(kind) as two:
            await wrapped.chat.completions.create(**HELLO)
        assert (str(one.value), one.value.body) == (str(two.value), two.value.body)
        assert two.value.llm_error.status == status
        assert len(server.bodies) == 2

    @pytest.mark.parametrize("cut", [[ROLE, ERROR], [ROLE, ...], [ROLE]], ids=["error event", "reset", "end"])
    async def test_a_stream_that_breaks_before_content_is_retried(self, server, wrapped, cut):
        """The preamble is held back, so a stream that breaks after it is asked for again and nobody notices."""
        server.scripts = [stream(*cut, done=False), stream(*TEXT)]
        texts = [item.choices[0].delta.content for item in await read(wrapped) if item.choices]
        assert texts == ["", "One ", "two", None]
        assert len(server.bodies) == 2

    @pytest.mark.parametrize(
        ("end", "joined"),
        [([...], False), ([], False), ([], True), ([ERROR], False), ([ERROR], True)],
        ids=["reset", "end", "end in a burst", "error event", "error event in a burst"],
    )
    async def test_a_stream_that_breaks_after_content_raises_the_sdks_connection_error(
        self, server, wrapped, end, joined
    ):
        """After the first content a break is the SDK's connection error, with what had come on ours."""
        server.scripts = [stream(ROLE, chunk(content="One "), *end, done=False, joined=joined)]
        answer = await wrapped.chat.completions.create(**HELLO, stream=True)
        texts: list[str | None] = []
        with pytest.raises(openai.APIConnectionError) as caught:
            await read_into(texts, answer)
        assert texts == ["", "One "]
        assert caught.value.llm_error.partial.text == "One "
        assert caught.value.llm_error.attempts == len(server.bodies) == 1

    async def test_a_reset_after_the_finish_reason_is_an_end(self, server, wrapped):
        """A stream that breaks after its finish reason, without the end marker, is complete."""
        server.scripts = [stream(*TEXT[:4], ..., done=False)]
        items = await read(wrapped)
        assert items[-1].choices[0].finish_reason == "stop"
        assert len(server.bodies) == 1

    async def test_a_body_that_cannot_be_repeated_is_sent_once(self, server):
        """A request whose body comes from a generator is classified, and sent once."""

        async def pieces():
            yield b"{}"

        server.scripts = [whole(ERROR, 500)]
        async with rl.wrap(server.client()) as client:
            with pytest.raises(openai.InternalServerError) as caught:
                await client.post("/uploads", cast_to=object, content=pieces())
        assert caught.value.llm_error.code == rl.ErrorCode.MODEL_OVERLOADED
        assert len(server.bodies) == 1

    async def test_an_error_inside_a_200_gets_its_status(self, server, wrapped):
        """An error that came with status 200 is raised as the SDK's type for its meaning."""
        server.scripts = [stream(ERROR, done=False)]
        with pytest.raises(openai.InternalServerError) as caught:
            await read(wrapped)
        assert caught.value.body == ERROR["error"]
        assert caught.value.llm_error.code == rl.ErrorCode.MODEL_OVERLOADED

    @pytest.mark.parametrize("script", [whole(ERROR, 500), stream(done=False)], ids=["status", "no answer"])
    async def test_the_sdks_own_retries_make_no_product(self, server, wrapped, script):
        """A copy whose SDK retries are switched on again makes as many calls as before."""
        again = wrapped.with_options(max_retries=5)
        server.scripts = [script]
        with pytest.raises(openai.APIError) as caught:
            await again.chat.completions.create(**HELLO)
        assert caught.value.llm_error.attempts == len(server.bodies) == 4

    async def test_no_server_is_the_sdks_connection_error(self, unused_tcp_port):
        """Where nothing listens the SDK's connection error is raised after our retries."""
        bare = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{unused_tcp_port}/v1", api_key="sk-test")
        async with rl.wrap(bare, max_retries=1, jitter=None) as client:
            with pytest.raises(openai.APIConnectionError) as caught:
                await client.chat.completions.create(**HELLO)
        assert caught.value.llm_error.code == rl.ErrorCode.MODEL_UNAVAILABLE
        assert caught.value.llm_error.attempts == 2


class TestStages:
    async def test_an_overflow_is_pruned_and_resent_once(self, server, wrapped):
        """When the backend refuses a prompt for its size, the oldest turns go, and nothing else of the body changes."""
        message = (
            "This model's maximum context length is 60 tokens. However, your messages resulted in 90 tokens."
        )
        overflow = {
            "error": {"message": message, "type": "invalid_request_error", "code": "context_length_exceeded"}
        }
        server.scripts = [whole(overflow, 400), whole(WHOLE)]
        turns = [
            {"role": role, "content": "word " * 20} for role in ("user", "assistant", "user", "assistant")
        ]
        messages: Any = [{"role": "system", "content": "Terse"}, *turns, *HELLO["messages"]]
        await wrapped.chat.completions.create(
            model="some-model", messages=messages, max_tokens=5, extra_body={"top_k": 7}
        )
        first, second = server.bodies
        assert first["messages"] == messages
        assert second["messages"][0] == messages[0]
        assert second["messages"][-1] == messages[-1]
        assert len(second["messages"]) < len(messages)
        assert {**first, "messages": second["messages"]} == second
        assert server.headers[0]["Authorization"] == server.headers[1]["Authorization"]

    async def test_an_open_circuit_is_a_503(self, server):
        """Once the circuit is open nothing is sent, and the SDK raises what it raises for a 503."""
        server.scripts = [whole(ERROR, 500)]
        breaker = rl.CircuitBreaker(fail_max=2)
        async with rl.wrap(server.client(), breaker=breaker, max_retries=0) as client:
            for _ in range(2):
                with pytest.raises(openai.InternalServerError):
                    await client.chat.completions.create(**HELLO)
            with pytest.raises(openai.InternalServerError) as caught:
                await client.chat.completions.create(**HELLO)
        exc = caught.value
        assert (exc.status_code, exc.code, len(server.bodies)) == (503, "CIRCUIT_OPEN", 2)
        assert isinstance(exc.llm_error, rl.CircuitOpenError)
        assert exc.response.headers["x-should-retry"] == "false"
        assert float(exc.response.headers["retry-after"]) > 0

    async def test_a_token_budget_is_a_400(self, server):
        """A prompt that cannot be made to fit is BadRequestError, and nothing is sent."""
        async with rl.wrap(server.client(), context_window=10) as client:
            with pytest.raises(openai.BadRequestError) as caught:
                await client.chat.completions.create(
                    model="gpt-4o", messages=[{"role": "user", "content": "word " * 50}]
                )
        assert isinstance(caught.value.llm_error, rl.TokenLimitExceededError)
        assert server.bodies == []

    @pytest.mark.parametrize(
        ("options", "code"),
        [
            ({"deadline": 0.2}, "DEADLINE_EXCEEDED"),
            ({"first_token_timeout": 0.2, "max_retries": 0}, "MODEL_TIMEOUT"),
        ],
    )
    async def test_no_content_in_time_is_the_sdks_timeout(self, server, options, code):
        """A deadline and a first-token limit are the SDK's timeout, whatever pings come meanwhile."""
        server.scripts = [stream(ROLE, *[0.05, b": ping\n\n"] * 30)]
        async with rl.wrap(server.client(), **options) as client:
            with pytest.raises(openai.APITimeoutError) as caught:
                await read(client)
        assert caught.value.llm_error.code == code

    async def test_a_stall_after_content_is_the_sdks_timeout(self, server):
        """A stream that stalls in its middle ends as the SDK's timeout with what had come."""
        server.scripts = [stream(ROLE, chunk(content="One "), *[0.05, b": ping\n\n"] * 30)]
        async with rl.wrap(server.client(), idle_timeout=0.2) as client:
            with pytest.raises(openai.APITimeoutError) as caught:
                await read(client)
        assert caught.value.llm_error.partial.text == "One "

    async def test_the_clients_own_timeout_becomes_the_limit(self, server):
        """A timeout set on the SDK's client or call bounds each attempt."""
        server.scripts = [stream(ROLE, *[0.05, b": ping\n\n"] * 30)]
        async with rl.wrap(server.client(), max_retries=0) as client:
            with pytest.raises(openai.APITimeoutError):
                await read(client, timeout=0.2)

    async def test_stages_of_ones_own_see_and_change_the_request(self, server):
        """A stage that changes the model has the body rewritten, and only the model in it."""

        async def cheaper(request, call_next):
            return await call_next(attrs.evolve(request, model="small"))

        server.scripts = [whole(WHOLE)]
        async with rl.wrap(server.client(), middleware=[cheaper]) as client:
            await client.chat.completions.create(**HELLO, temperature=0)
        assert server.bodies == [{**HELLO, "temperature": 0, "model": "small"}]

    async def test_a_stage_cannot_answer_out_of_thin_air(self, server):
        """A stage that answers by itself, or sends a request of its own, is told what is wrong."""

        async def made_up(request, call_next):
            return await ScriptedTransport("Hi")(request)

        async def another(request, call_next):
            return await call_next(rl.Request("chat", request.messages))

        for stage, says in ((made_up, "without an answer over HTTP"), (another, "a request of its own")):
            async with rl.wrap(server.client(), middleware=[stage]) as client:
                with pytest.raises(TypeError, match=says):
                    await client.chat.completions.create(**HELLO)
        assert server.bodies == []


class TestLeaving:
    async def test_closing_a_stream_early_ends_the_request(self, server, wrapped):
        """Who leaves a stream has the connection dropped before `close` returns."""
        server.scripts = [stream(ROLE, chunk(content="One "), 10.0)]
        answer = await wrapped.chat.completions.create(**HELLO, stream=True)
        async with answer:
            async for item in answer:
                if item.choices[0].delta.content:
                    break
        assert not acquired(wrapped)
        await asyncio.wait_for(server.left.wait(), 2)

    @pytest.mark.parametrize("script", [stream(ROLE, 10.0), stream(ROLE, chunk(content="One "), 10.0)])
    async def test_a_cancelled_task_leaks_nothing(self, server, wrapped, script):
        """Cancelled while opening or while reading, the call leaves no connection and no task behind."""
        server.scripts = [script]
        before = asyncio.all_tasks()
        task = asyncio.create_task(read(wrapped))
        for _ in range(1_000):
            if server.bodies:
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # the first words come
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.left.wait(), 2)
        await asyncio.sleep(0.05)
        assert not acquired(wrapped)
        assert not {task for task in asyncio.all_tasks() - before if "_let_go" in repr(task)}

    async def test_a_stream_that_is_dropped_unread_is_closed(self, server, wrapped):
        """Who drops a stream unread is warned, and its connection is let go."""
        server.scripts = [stream(ROLE, chunk(content="One "), 10.0)]
        answer = await wrapped.chat.completions.create(**HELLO, stream=True)
        with warnings.catch_warnings(record=True, action="always") as seen:
            del answer
            gc.collect()
        await asyncio.wait_for(server.left.wait(), 2)
        assert [warning.category for warning in seen] == [ResourceWarning]
        assert not acquired(wrapped)

    async def test_connections_are_reused(self, server, wrapped):
        """Streams and whole calls one after the other share a connection."""
        server.scripts = [stream(*TEXT)] * 3 + [whole(WHOLE)]
        for _ in range(3):
            await read(wrapped)
            await asyncio.sleep(0.05)
        await wrapped.chat.completions.create(**HELLO)
        assert len(server.connections) == 1


class TestWrapping:
    async def test_a_wrapped_client_that_is_dropped_leaves_the_original_open(self, server):
        """The SDK's HTTP client closes itself when it is dropped: the wrapped one silently gives up its own part."""
        server.scripts = [whole(WHOLE)]
        async with server.client() as bare:
            for _ in range(2):
                wrapped = rl.wrap(bare)
                assert (await wrapped.chat.completions.create(**HELLO)).id == "chatcmpl-1"
                del wrapped
                gc.collect()
                await asyncio.sleep(0.01)  # it closes itself in a task
                assert not bare.is_closed()
            assert (await bare.chat.completions.create(**HELLO)).id == "chatcmpl-1"

    async def test_closing_a_wrapped_client_closes_the_original(self, server):
        """They share their connections, and who says so is believed."""
        bare = server.client()
        await rl.wrap(bare).close()
        assert bare.is_closed()

    async def test_the_type_stays_and_the_original_is_untouched(self, server):
        """The result has the client's type; the original keeps its retries and its HTTP client."""
        bare = server.client().with_options(max_retries=7, default_headers={"x-mine": "1"})
        wrapped = rl.wrap(bare)
        assert type(wrapped) is type(bare)
        assert (bare.max_retries, wrapped.max_retries) == (7, 0)
        assert not isinstance(bare._client._transport, rl.ResilientTransport)
        assert wrapped.default_headers["x-mine"] == "1"
        await wrapped.close()

    async def test_an_http_client_of_ones_own_is_kept(self, server):
        """Event hooks, headers and the transport of the client's own HTTP client are used."""
        seen: list[int] = []

        async def hook(response: httpx2.Response) -> None:
            seen.append(response.status_code)

        server.scripts = [whole(WHOLE), whole(ERROR, 400)]
        http = httpx2.AsyncClient(headers={"x-mine": "1"}, event_hooks={"response": [hook]})
        async with rl.wrap(server.client(http_client=http)) as client:
            await client.chat.completions.create(**HELLO)
            with pytest.raises(openai.BadRequestError):
                await client.chat.completions.create(**HELLO)
        assert seen == [200, 400]
        assert server.headers[0]["x-mine"] == "1"

    async def test_azure_clients_are_wrapped(self, server):
        """The Azure variant keeps its deployment and its key header."""
        server.scripts = [whole(WHOLE)]
        bare = openai.AsyncAzureOpenAI(
            base_url=server.url + "/openai/deployments/d", api_key="az", api_version="2024-06-01"
        )
        async with rl.wrap(bare) as client:
            await client.chat.completions.create(**HELLO)
        assert type(client) is openai.AsyncAzureOpenAI
        assert server.headers[0]["api-key"] == "az"

    async def test_wrapping_twice_warns_and_changes_nothing(self, wrapped):
        """A wrapped client is returned as it is, with a warning."""
        with pytest.warns(UserWarning, match="wrapped already"):
            assert rl.wrap(wrapped) is wrapped

    @pytest.mark.parametrize(
        ("client", "says"),
        [
            (openai.AsyncOpenAI, "AsyncOpenAI cannot be wrapped: give a client"),
            ("openai", "a str cannot be wrapped"),
        ],
    )
    def test_what_cannot_be_wrapped_says_what_can(self, client, says):
        """Anything else is a TypeError that names what can be wrapped."""
        with pytest.raises(TypeError, match=says) as caught:
            rl.wrap(client)
        assert "of openai (Azure, too), anthropic" in str(caught.value)

    async def test_a_closed_client_says_so(self, server):
        """A closed client cannot be wrapped."""
        client = server.client()
        await client.close()
        with pytest.raises(RuntimeError, match="is closed"):
            rl.wrap(client)

    async def test_options_belong_to_the_standard_stack(self, server):
        """Options beside a stack of one's own, and options that do not exist, are named."""
        async with server.client() as client:
            with pytest.raises(TypeError, match="deadline is an option of the standard stack"):
                rl.wrap(client, middleware=[], deadline=3)
            with pytest.raises(TypeError, match="unknown option 'retries'"):
                rl.wrap(client, retries=3)

    async def test_a_wrapped_client_has_no_fallback(self, server):
        """It speaks to its own backend only; what to use instead is said."""
        async with server.client() as client:
            with pytest.raises(TypeError, match=r"use AsyncClient\(fallback"):
                rl.wrap(client, fallback=[rl.OfflineTransport()])

    async def test_cache_and_coalesce_let_it_pass(self, server):
        """What only exists as bytes is neither stored nor shared: equal calls are all sent, and all answered."""
        server.scripts = [whole(WHOLE)]
        middleware = [rl.Cache(when=lambda _: True), rl.Coalesce(), rl.ErrorClassifier()]
        async with rl.wrap(server.client(), middleware=middleware) as client:
            calls = [client.chat.completions.create(**HELLO, temperature=0) for _ in range(3)]
            answers = await asyncio.gather(*calls)
        assert [answer.choices[0].message.content for answer in answers] == ["Hi"] * 3
        assert len(server.bodies) == 3

    async def test_faults_can_be_injected(self, server):
        """The SDK's user meets the SDK's exceptions; a cut stream is cut where it says."""
        server.scripts = [stream(*TEXT)]
        faults = rl.FaultInjection(
            script=[rl.ModelRateLimitedError("slow down", retry_after=0.01), Cut(after=1), None]
        )
        middleware = [rl.ErrorClassifier(), faults]
        async with rl.wrap(server.client(), middleware=middleware) as client:
            with pytest.raises(openai.RateLimitError) as refused:
                await client.chat.completions.create(**HELLO)
            assert refused.value.llm_error.message == "slow down"
            texts: list[str | None] = []
            with pytest.raises(openai.APIConnectionError) as cut:
                await read_into(texts, await client.chat.completions.create(**HELLO, stream=True))
            assert cut.value.llm_error.code == "MODEL_RESPONSE_INVALID"
            assert "".join(text or "" for text in texts) == "One "
            items = await read(client)
        assert "".join(item.choices[0].delta.content or "" for item in items if item.choices) == "One two"

    def test_the_sdk_is_loaded_by_nobody_but_its_user(self):
        """`rl.wrap` can be looked up, and asked for what it cannot do, without openai and httpx2."""
        program = (
            "import sys, resilient_llm as rl\n"
            "try: rl.wrap(object())\n"
            "except TypeError: print(sorted({'openai', 'httpx', 'httpx2'} & set(sys.modules)))"
        )
        shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert shown.stdout.strip() == "[]"
