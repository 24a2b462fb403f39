"""`rl.wrap(client, fallback=[...])`: other clients of the same SDK answer where the first one's backend cannot."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import openai
import pytest

import resilient_llm as rl
from resilient_llm.integrations.http_backend import call_of, request_of
from resilient_llm.integrations.sdk_targets import _endpoint
from resilient_llm.testing import Answer, Cut, FaultServer, Reset, Stall, Status, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MESSAGES: Any = [{"role": "user", "content": "Name three rivers."}]
CHAT: Any = {"model": "m", "messages": MESSAGES}
DAY = 86_400.0
SECRET = "sk-of-the-first"


def _at_once() -> Any:
    while True:
        yield 0.01


OPTIONS: Any = {"wait": _at_once, "jitter": None, "max_retries": 1}


async def items(stream: Any) -> list[Any]:
    return [item async for item in await stream]


async def text_of(call: Any) -> str:
    return "".join(item.choices[0].delta.content or "" for item in await items(call) if item.choices)


class Pair:
    """A wrapped client, its server and the one of the client that it falls back to."""

    def __init__(self, kind: Any, first: FaultServer, second: FaultServer, **options: Any) -> None:
        self.first, self.second = first, second
        self.bare = self.of(kind, first, SECRET, default_headers={"x-gateway": SECRET})
        self.spare = self.of(kind, second, "sk-of-the-second", default_headers={"x-own": "yes"})
        make = options.pop("fallback", lambda spare: [spare])
        self.client = rl.wrap(self.bare, fallback=make(self.spare), **{**OPTIONS, **options})

    @staticmethod
    def of(kind: Any, server: FaultServer, key: str, **options: Any) -> Any:
        url = server.url if "Anthropic" in kind.__name__ else server.base_url
        return kind(base_url=url, api_key=key, **options)


@asynccontextmanager
async def pair(
    *faults: Any, kind: Any = openai.AsyncOpenAI, spare: Any = None, **options: Any
) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(FaultServer(list(faults)))
        second = await stack.enter_async_context(FaultServer(spare or Answer()))
        made = Pair(kind, first, second, **options)
        stack.push_async_callback(made.client.close)
        yield made


CALLS: Any = {
    "chat": (openai.AsyncOpenAI, lambda c: c.chat.completions.create(**CHAT)),
    "chat, streamed": (openai.AsyncOpenAI, lambda c: items(c.chat.completions.create(**CHAT, stream=True))),
    "responses": (openai.AsyncOpenAI, lambda c: c.responses.create(model="m", input="Rivers?")),
    "responses, streamed": (
        openai.AsyncOpenAI,
        lambda c: items(c.responses.create(model="m", input="Rivers?", stream=True)),
    ),
    "messages": (
        anthropic.AsyncAnthropic,
        lambda c: c.messages.create(model="m", max_tokens=9, messages=MESSAGES),
    ),
    "messages, streamed": (
        anthropic.AsyncAnthropic,
        lambda c: items(c.messages.create(model="m", max_tokens=9, messages=MESSAGES, stream=True)),
    ),
    "messages, beta": (
        anthropic.AsyncAnthropic,
        lambda c: c.beta.messages.create(model="m", max_tokens=9, messages=MESSAGES, betas=["some-beta"]),
    ),
}


@pytest.mark.parametrize("name", CALLS)
async def test_the_next_client_answers_with_its_own_request(name):
    """What it sends is what it would have sent when asked itself, byte for byte in all that matters."""
    kind, call = CALLS[name]
    async with pair(Status.failed(), kind=kind) as two:
        mended, asked = await call(two.client), two.second.requests[0]
        assert len(two.first.requests) == 2
        own = await call(two.spare)
    assert type(mended) is type(own)
    bare = two.second.requests[1]
    assert json.dumps(asked.body) == json.dumps(bare.body)
    assert asked.path == bare.path
    apart = {"idempotency-key": "", "x-stainless-timeout": ""}
    assert {**asked.headers, **apart} == {**bare.headers, **apart}


@pytest.mark.parametrize(
    ("fault", "attempts"),
    [
        (Status.failed(), 2),
        (Status.overloaded(), 2),
        (Reset(), 2),
        (Cut(after=0), 2),
        (Status.rate_limited(DAY), 1),
        (Status("quota_exceeded"), 1),
        (Status("unknown_model"), 1),
    ],
    ids=str,
)
async def test_what_leads_to_the_next_client(fault, attempts):
    """Trouble after this client's retries; what waiting does not mend, at once."""
    async with pair(fault) as two:
        assert (await two.client.chat.completions.create(**CHAT)).choices[0].message.content
        assert (len(two.first.requests), len(two.second.requests)) == (attempts, 1)


async def test_a_prompt_that_is_too_long_goes_to_another_model():
    """A model whose window may be larger is asked; the call's own options go with it."""
    too_long = Status("context_length")
    async with pair(
        too_long, fallback=lambda spare: [rl.Target(spare, model="large")], token_budget=None
    ) as two:
        await two.client.chat.completions.create(**CHAT, temperature=0.25, extra_body={"mine": 1e22})
    body = two.second.requests[0].body
    assert (body["model"], body["temperature"], body["mine"]) == ("large", 0.25, 1e22)
    assert {**body, "model": "m"} == two.first.requests[0].body


@pytest.mark.parametrize(
    ("reason", "kind"), [("unauthorized", "AuthenticationError"), ("malformed", "BadRequestError")]
)
async def test_what_is_raised_at_once(reason, kind):
    """A wrong key should be seen, and a wrong request is wrong everywhere: the SDK's own error, no other client."""
    async with pair(Status(reason)) as two:
        with pytest.raises(getattr(openai, kind)):
            await two.client.chat.completions.create(**CHAT)
        assert not two.second.requests


async def test_a_fallback_with_rules_of_its_own():
    """`rl.Fallback` takes clients, too: here a wrong key leads to the next one."""
    async with pair(Status("unauthorized"), fallback=lambda spare: rl.Fallback([spare], on_auth=True)) as two:
        assert await two.client.chat.completions.create(**CHAT)
        assert len(two.second.requests) == 1


async def test_stages_of_ones_own_with_a_fallback_among_them():
    """A `Fallback` in `middleware` takes clients as well."""
    answered: list[Any] = []

    async def watch(request: rl.Request, call_next: Any) -> Any:
        answered.append(await call_next(request))
        return answered[0]

    async with FaultServer(Status.failed()) as first, FaultServer(Answer()) as second:
        spare = Pair.of(openai.AsyncOpenAI, second, "k2")
        fallback = rl.Fallback([rl.Target(spare, stack=[rl.ErrorClassifier()])])
        bare = Pair.of(openai.AsyncOpenAI, first, "k1")
        async with rl.wrap(bare, middleware=[watch, fallback, rl.ErrorClassifier()]) as client:
            assert await client.chat.completions.create(**CHAT)
    assert answered[0].info.backend == answered[0].target.name == "openai-compatible-2"
    assert [attempt.backend for attempt in answered[0].trace] == [None, "openai-compatible-2"]
    assert (len(first.requests), len(second.requests)) == (1, 1)


async def test_no_secret_of_the_first_client_travels():
    """Neither its key, nor its default headers, nor what a call was given for it: not in headers, path or body."""
    secrets = dict.fromkeys(("x-call", "cookie", "Authorization"), SECRET)
    async with pair(Status.failed()) as two:
        await two.client.chat.completions.create(
            **CHAT, extra_headers={**secrets, "traceparent": "00-1"}, extra_query={"api-key": SECRET}
        )
        seen = two.second.requests[0]
    assert str(two.first.requests[0].headers).count(SECRET) == 4
    assert SECRET not in str((seen.headers, seen.path, seen.body))
    assert seen.headers["authorization"] == "Bearer sk-of-the-second"
    assert (seen.headers["x-own"], seen.headers["traceparent"]) == ("yes", "00-1")


async def test_keys_are_asked_for_and_hooks_called_for_each_request():
    """A key that is a function, and the request hooks of the target's HTTP client; the call's timeout holds."""
    hooked: list[str] = []

    async def hook(request: httpx2.Request) -> None:
        hooked.append(request.headers["authorization"])
        assert request.extensions["timeout"]["read"] == 7.5
        request.headers["x-hook"] = "seen"

    async def key() -> str:
        return f"key-{len(hooked)}"

    async with FaultServer(Status.failed()) as first, FaultServer(Answer()) as second:
        http = httpx2.AsyncClient(
            event_hooks={"request": [hook]}, transport=httpx2.AsyncHTTPTransport(http2=False)
        )
        spare = openai.AsyncOpenAI(base_url=second.base_url, api_key=key, http_client=http)
        bare = Pair.of(openai.AsyncOpenAI, first, SECRET)
        async with rl.wrap(bare, fallback=[spare], **OPTIONS) as client:
            await client.chat.completions.create(**CHAT, timeout=7.5)
            await client.with_options(timeout=7.5).chat.completions.create(**CHAT)
    assert hooked == ["Bearer key-0", "Bearer key-1"]
    assert [seen.headers["x-hook"] for seen in second.requests] == ["seen", "seen"]
    assert http.is_closed
    assert bare.is_closed()


async def test_a_stream_breaks_where_it_is_once_it_has_begun():
    """Before the first content another client answers unnoticed; after it the break is raised."""
    async with pair(Cut(after=0), Cut(after=0), Cut(after=2), spare=Answer()) as two:
        assert (await text_of(two.client.chat.completions.create(**CHAT, stream=True))).endswith("rivers.")
        assert len(two.second.requests) == 1
        with pytest.raises(openai.APIConnectionError):
            await text_of(two.client.chat.completions.create(**CHAT, stream=True))
        assert len(two.second.requests) == 1


async def test_a_broken_stream_of_the_second_client_is_told_again_by_it():
    """With `recovery="replay"` the client whose stream broke is asked first, not the one before it."""
    async with pair(Status("quota_exceeded"), spare=[Cut(after=2), Answer()], recovery="replay") as two:
        assert (await text_of(two.client.chat.completions.create(**CHAT, stream=True))).endswith("rivers.")
        assert (len(two.first.requests), len(two.second.requests)) == (1, 2)


async def test_an_open_circuit_costs_nothing_and_belongs_to_one_client():
    """The first one's circuit opens, the second one's does not: it answers without another request to the first."""
    breaker = rl.CircuitBreaker(fail_max=2)
    async with pair(Status.failed(), breaker=breaker, max_retries=0) as two:
        for _ in range(5):
            await two.client.chat.completions.create(**CHAT)
        assert (len(two.first.requests), len(two.second.requests)) == (2, 5)


async def test_embeddings_and_other_endpoints_stay_with_the_first():
    """Vectors of another model would be of no use, and lists and files are one backend's."""
    async with pair(Status.failed()) as two:
        with pytest.raises(openai.InternalServerError):
            await two.client.embeddings.create(model="e", input="x")
        elsewhere = two.client.with_options(base_url="http://127.0.0.1:9/v1")
        with pytest.raises(openai.APIConnectionError):
            await elsewhere.post("/completions", cast_to=object, body={"prompt": "x", "model": "m"})
        assert not two.second.requests


@pytest.mark.parametrize(
    ("prefix", "url", "body", "expected"),
    [
        ("/", "https://h/openai/v1/chat/completions", CHAT, "/openai/v1/chat/completions"),
        ("/v1/", "https://h/v1/chat/completions?key=x", CHAT, "/chat/completions"),
        ("/v1/", "https://h/other/chat/completions", CHAT, "/chat/completions"),
        (
            "/openai/",
            "https://h/openai/deployments/d/chat/completions?api-version=1",
            CHAT,
            "/chat/completions",
        ),
        ("/openai/", "https://h/openai/responses", {"model": "m", "input": "a"}, "/responses"),
        ("/gate/", "https://h/gate/v1/messages?x=1&beta=true", CHAT, "/v1/messages?beta=true"),
        ("/v1/", "https://h/v1/projects/p/models/claude:rawPredict", {"messages": []}, "/v1/messages"),
    ],
)
def test_the_target_is_asked_for_what_the_first_client_was_asked_for(prefix, url, body, expected):
    """The path below the base URL, as the SDK has it; of the query nothing but what chooses the API."""
    content, path = json.dumps(body).encode(), url.removeprefix("https://h").partition("?")[0]
    request = request_of("POST", url, path, {}, content, original=None, read_timeout=None)
    assert _endpoint(call_of(request), prefix) == expected


async def test_a_target_writes_a_signed_call_anew():
    """A signature holds for one address and one body; the target's request has its own key."""
    async with pair(Status.failed()) as two:
        signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=x"}
        await two.client.chat.completions.create(**CHAT, extra_headers=signed)
        assert two.first.requests[0].headers["authorization"] == signed["Authorization"]
        assert two.second.requests[0].headers["authorization"] == "Bearer sk-of-the-second"


async def test_it_is_told_who_answered(caplog):
    """In the log and in the trace, by number or by the name that was given."""
    caplog.set_level(logging.INFO, "resilient_llm")

    def targets(spare: Any) -> rl.Fallback:
        return rl.Fallback([rl.Target(spare, name="eu"), spare.with_options(api_key="k3")], on_auth=True)

    wrong_key = Status("unauthorized")
    async with pair(Status.failed(), spare=[wrong_key, wrong_key, Answer()], fallback=targets) as two:
        with pytest.raises(openai.InternalServerError) as caught:
            await two.client.chat.completions.create(**CHAT)
        assert await two.client.chat.completions.create(**CHAT)
    error = caught.value.llm_error
    names = ["openai-compatible", "openai-compatible", "eu", "openai-compatible-3"]
    assert [attempt.backend for attempt in error.trace] == names
    assert "eu failed: MODEL_AUTH" in str(error)
    assert "llm.fallback operation=chat model=m stream=False target=eu" in caplog.text
    assert "backend=eu" in caplog.text
    assert SECRET not in caplog.text + str(error)


class Own(httpx2.HTTPTransport):
    """A transport of one's own."""


@pytest.mark.parametrize("transport", [None, Own], ids=["untouched", "own"])
def test_sync_clients_fall_back_too(transport):
    """The same for threads, whole and streamed; what takes its time there, such as a key, is asked for in a thread."""
    asked_in: list[str] = []

    def key() -> str:
        asked_in.append(threading.current_thread().name)
        return "k2"

    with serving(Status.failed()) as first, serving(Answer()) as second:
        http = httpx2.Client(transport=transport()) if transport else None
        spare = openai.OpenAI(base_url=second.base_url, api_key=key, http_client=http)
        with rl.wrap(
            openai.OpenAI(base_url=first.base_url, api_key=SECRET), fallback=[spare], **OPTIONS
        ) as client:
            assert client.chat.completions.create(**CHAT).choices[0].message.content
            stream = client.chat.completions.create(**CHAT, stream=True)
            assert "".join(item.choices[0].delta.content or "" for item in stream if item.choices)
        assert [seen.headers["authorization"] for seen in second.requests] == ["Bearer k2"] * 2
        assert SECRET not in str([dict(seen.headers) for seen in second.requests])
    assert asked_in == ["resilient_llm call"] * 2


async def test_azure_and_openai_stand_in_for_each_other():
    """Each writes its own address, with the deployment in it or without."""
    paths: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        url = request.url
        paths.append(f"{url.host}{url.path}?{url.query.decode()} {request.headers.get('api-key')}")
        return httpx2.Response(500 if len(paths) % 2 else 200, json=WHOLE)

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    azure = openai.AsyncAzureOpenAI(
        azure_endpoint="https://a.example", api_key="ak", api_version="v9", http_client=http
    )
    plain = openai.AsyncOpenAI(base_url="https://b.example/v1", api_key="bk", http_client=http)
    for first, second in ((azure, rl.Target(plain, model="plain")), (plain, rl.Target(azure, model="dep"))):
        client = rl.wrap(first, fallback=[second], max_retries=0)
        assert await client.chat.completions.create(**CHAT)
    assert paths == [
        "a.example/openai/deployments/m/chat/completions?api-version=v9 ak",
        "b.example/v1/chat/completions? None",
        "b.example/v1/chat/completions? None",
        "a.example/openai/deployments/dep/chat/completions?api-version=v9 ak",
    ]


WHOLE = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
}


async def test_another_region_of_vertex_ai():
    """The model, which stands in the address there, is the target's; Anthropic's own body is its own."""
    seen: list[tuple[str, Any, str]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append((str(request.url), json.loads(request.content), request.headers.get("authorization", "")))
        if len(seen) % 2:
            return httpx2.Response(500)
        message = {"id": "1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
        return httpx2.Response(
            200,
            json={
                **message,
                "content": [{"type": "text", "text": "Hi"}],
                "usage": {"input_tokens": 1, "output_tokens": 1},
            },
        )

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))

    def vertex(region: str) -> Any:
        return anthropic.AsyncAnthropicVertex(
            region=region, project_id="p", access_token=region, http_client=http
        )

    own = anthropic.AsyncAnthropic(api_key="k", http_client=http)
    for spare in (vertex("us"), rl.Target(own, model="own-name")):
        client = rl.wrap(vertex("eu"), fallback=[spare], max_retries=0)
        assert await client.messages.create(model="claude", max_tokens=9, messages=MESSAGES)
    urls, bodies, keys = zip(*seen, strict=True)
    assert all(url.endswith("/models/claude:rawPredict") for url in urls[:3])
    assert urls[3] == "https://api.anthropic.com/v1/messages"
    assert urls[1].partition("/v1")[0] != urls[0].partition("/v1")[0]
    assert keys == ("Bearer eu", "Bearer us", "Bearer eu", "Bearer k")
    assert bodies[0] == bodies[1]
    assert bodies[3] == {"model": "own-name", "max_tokens": 9, "messages": MESSAGES}


async def test_the_deadline_is_shared_out():
    """A first client that hangs has its part of the time, so that the second one still has some."""
    async with pair(Stall(), deadline=2.0) as two:
        async with asyncio.timeout(1.9):
            assert await two.client.chat.completions.create(**CHAT)
        assert len(two.second.requests) == 1


async def test_what_is_refused_when_it_is_wrapped():
    """Other dialects, other framings, the other kind, what authenticates elsewhere, what is closed: with its reason."""
    first = openai.AsyncOpenAI(api_key="k")
    closed = openai.AsyncOpenAI(api_key="k")
    await closed.close()
    guarded = openai.AsyncOpenAI(api_key="k", http_client=httpx2.AsyncClient(auth=("u", "p")))
    bedrock = anthropic.AsyncAnthropicBedrock(aws_region="r", aws_access_key="a", aws_secret_key="b")
    wrong: list[tuple[Any, Any, type[Exception], str]] = [
        (first, anthropic.AsyncAnthropic(api_key="k"), TypeError, "falls back to clients of openai alone"),
        (first, rl.OfflineTransport(), TypeError, r"use AsyncClient\(fallback"),
        (first, openai.OpenAI(api_key="k"), TypeError, "both async, or neither"),
        (first, closed, RuntimeError, "is closed"),
        (first, guarded, TypeError, "set api_key or default_headers"),
        (
            bedrock,
            anthropic.AsyncAnthropic(api_key="k"),
            TypeError,
            "streams of Amazon Bedrock come in frames",
        ),
        (
            anthropic.AsyncAnthropic(api_key="k"),
            bedrock,
            TypeError,
            "streams of Amazon Bedrock come in frames",
        ),
        (httpx2.AsyncClient(), httpx2.AsyncClient(), TypeError, "a fallback is for clients of an SDK"),
        (first, "https://b.example", TypeError, "a target's transport is an object"),
    ]
    for client, target, kind, words in wrong:
        with pytest.raises(kind, match=words):
            rl.wrap(client, fallback=[target])
    with pytest.raises(TypeError, match="AsyncOpenAI is a target for `wrap` alone"):
        rl.AsyncClient("offline", fallback=[first])


async def test_hooks_for_responses_are_the_first_clients():
    """Once, with the answer that came in the end, whoever gave it; of a target those for requests are called."""
    told: list[tuple[str, str, int]] = []

    def hooks(name: str) -> Any:
        async def asked(request: httpx2.Request) -> None:
            told.append((name, request.headers["authorization"], 0))

        async def answered(response: httpx2.Response) -> None:
            told.append((name, response.request.headers["authorization"], response.status_code))

        return httpx2.AsyncClient(event_hooks={"request": [asked], "response": [answered]})

    async with FaultServer(Status.failed()) as first, FaultServer() as second:
        bare = openai.AsyncOpenAI(base_url=first.base_url, api_key="1", http_client=hooks("first"))
        spare = openai.AsyncOpenAI(base_url=second.base_url, api_key="2", http_client=hooks("second"))
        async with rl.wrap(bare, fallback=[spare], **OPTIONS) as client:
            await client.chat.completions.create(**CHAT)
    assert told == [("first", "Bearer 1", 0), ("second", "Bearer 2", 0), ("first", "Bearer 1", 200)]


async def test_a_wrapped_client_as_a_target_is_taken_as_it_was():
    """Retries are not multiplied: the stages of the one that was wrapped first are not passed."""

    def targets(spare: Any) -> list[Any]:
        return [rl.wrap(spare, max_retries=5)]

    async with pair(Status.failed(), spare=Status.failed(), fallback=targets) as two:
        with pytest.raises(openai.InternalServerError):
            await two.client.chat.completions.create(**CHAT)
        assert (len(two.first.requests), len(two.second.requests)) == (2, 2)


async def test_calls_left_at_any_time_leave_nothing():
    """Neither connections nor open answers of either client."""
    async with pair(Status.failed(), spare=Answer(latency=0.02), max_retries=0, breaker=None) as two:
        transport, chat = two.client._client._transport, two.client.chat.completions
        await chat.create(**CHAT)
        calls = [asyncio.create_task(text_of(chat.create(**CHAT, stream=True))) for _ in range(60)]
        for place, call in enumerate(calls):
            asyncio.get_running_loop().call_later(0.004 * place, call.cancel)
        await asyncio.wait(calls)
        await transport._backend.aclose()
        pools = [sender._sessions.known() for sender in transport._sender._stand_ins.values()]
        assert len(pools) == 2
        assert not any(pool.session.connector._acquired for pool in pools)
        assert not transport._backend._bodies.open
