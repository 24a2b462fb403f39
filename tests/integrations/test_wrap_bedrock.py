"""`rl.wrap` around anthropic's clients of Amazon Bedrock: what is signed, what comes in frames, what breaks them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from bedrock import Bedrock, exception, message, refused, streamed, whole

import resilient_llm as rl

anthropic = pytest.importorskip("anthropic")
httpx2 = pytest.importorskip("httpx2")

HELLO: Any = {"model": "eu.claude-v2:0", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
ONE_TWO = message("One", " two")
BUSY = refused(503, "ServiceUnavailableException")
INVOKE = "/model/eu.claude-v2%3A0/invoke"


def _at_once() -> Any:
    while True:
        yield 0.01


OPTIONS: Any = {"wait": _at_once, "jitter": None}


def wrapped(server: Bedrock, *, key: bool = False, **options: Any) -> Any:
    """A client that signs; with `key` one that has a bearer's key, which needs nothing of AWS's."""
    http = options.pop("http_client", None)
    secrets: Any = {"api_key": "k"} if key else {"aws_access_key": "AKID", "aws_secret_key": "secret"}
    client = anthropic.AsyncAnthropicBedrock(
        **secrets, aws_region="eu-west-1", base_url=server.url, http_client=http
    )
    return rl.wrap(client, **{**OPTIONS, **options})


async def posted(server: Bedrock, client: Any) -> list[bytes]:
    """A streamed call without an SDK; what came of it."""
    body = {"anthropic_version": "bedrock-2023-05-31", "messages": HELLO["messages"]}
    url = f"{server.url}{INVOKE}-with-response-stream"
    headers = {"accept": "application/json"}
    async with client.stream("POST", url, json=body, headers=headers) as answer:
        return [piece async for piece in answer.aiter_raw()]


async def test_frames_come_byte_for_byte():
    """Behind refusals, exceptions before content, empty and cut streams: what the last attempt sent, and one answer."""
    broken = streamed(exception("internalServerException", message="boom"))
    async with Bedrock(
        BUSY, broken, streamed(), streamed(ONE_TWO[0], cut=True), streamed(*ONE_TWO)
    ) as server:
        async with rl.wrap(httpx2.AsyncClient(), **OPTIONS, max_retries=4, breaker=None) as client:
            assert b"".join(await posted(server, client)) == b"".join(ONE_TWO)
        assert len(set(server.bodies)) == 1


async def test_frames_come_while_they_are_written():
    """A stream is none of the answers that are read whole first, whatever is accepted."""
    gate = asyncio.Event()

    async def slowly(request: Any) -> Any:
        response = await streamed(*ONE_TWO[:3])(request)
        await gate.wait()
        await response.write(b"".join(ONE_TWO[3:]))
        return response

    async with Bedrock(slowly) as server, rl.wrap(httpx2.AsyncClient(), **OPTIONS) as client:
        url = f"{server.url}/model/other/converse-stream"
        for address, body in (
            (url, {}),
            (f"{server.url}{INVOKE}-with-response-stream", {"anthropic_version": "x"}),
        ):
            gate.clear()
            json_body = {**body, "messages": HELLO["messages"]}
            async with client.stream(
                "POST", address, json=json_body, headers={"accept": "application/json"}
            ) as answer:
                pieces = answer.aiter_raw()
                assert await anext(pieces)
                gate.set()
                assert [piece async for piece in pieces]


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([*ONE_TWO[:4], exception("internalServerException", message="boom")], "MODEL_UNAVAILABLE"),
        ([*ONE_TWO[:4], exception("throttlingException", message="slow down")], "MODEL_RATE_LIMITED"),
        (ONE_TWO[:4], "MODEL_RESPONSE_INVALID"),
        ([*ONE_TWO[:4], ONE_TWO[4][:-1]], "MODEL_RESPONSE_INVALID"),
        ([*ONE_TWO[:4], ONE_TWO[4][:-1] + b"?"], "MODEL_RESPONSE_INVALID"),
    ],
    ids=["exception", "throttled", "ended early", "cut frame", "checksum"],
)
@pytest.mark.parametrize("together", [True, False], ids=["one write", "many"])
async def test_a_break_after_content_is_an_error_and_the_frames_before_it_come(frames, code, together):
    """All that was sound comes, then the client's own exception with ours, also where the bare one notices nothing."""
    got: list[bytes] = []

    async def read(client: Any) -> None:
        body = {"anthropic_version": "x", "messages": HELLO["messages"]}
        url = f"{server.url}{INVOKE}-with-response-stream"
        async with client.stream("POST", url, json=body) as answer:
            async for piece in answer.aiter_raw():
                got.append(piece)  # noqa: PERF401 - what came before the error counts

    server = Bedrock(streamed(*frames, together=together))
    async with server, rl.wrap(httpx2.AsyncClient(), **OPTIONS) as client:
        with pytest.raises(httpx2.TransportError) as caught:
            await read(client)
    error = caught.value.llm_error
    assert (error.code, error.partial.text) == (code, "One two")
    assert b"".join(got).startswith(b"".join(ONE_TWO[:4]))
    assert len(server.requests) == 1


async def test_replay_leaves_frames_alone():
    """Frames are not told again: the break is an error, and nothing is asked for twice."""
    async with Bedrock(streamed(*ONE_TWO[:3])) as server:
        async with rl.wrap(httpx2.AsyncClient(), **OPTIONS, recovery="replay") as client:
            with pytest.raises(httpx2.TransportError):
                await posted(server, client)
        assert len(server.requests) == 1


async def test_with_a_bearers_key_messages_are_pruned_and_the_model_stays():
    """Without a signature the body is as free as any other; the model is the path's."""
    long = [*[{"role": "user", "content": "word " * 99}] * 3, *HELLO["messages"]]
    async with Bedrock(whole()) as server, wrapped(server, key=True, context_window=50) as client:
        await client.messages.create(**{**HELLO, "messages": long})
    body = json.loads(server.bodies[0])
    assert body["messages"] == HELLO["messages"]
    assert "model" not in body


async def test_another_region_answers_with_its_own_request():
    """Model and stream stand in the path, also a model's ARN; key and address are the target's."""
    arn = "arn:aws:bedrock:eu-west-1:1:inference-profile/abc"
    async with Bedrock(BUSY) as first, Bedrock(whole()) as second:
        own = anthropic.AsyncAnthropicBedrock(api_key="k2", aws_region="us-east-1", base_url=second.url)
        targets = [own, rl.Target(own, model="us.claude")]
        for target, model, path in zip(
            targets,
            (arn, "eu.claude"),
            (f"{arn.replace('/', '%2F')}/invoke", "us.claude/invoke"),
            strict=True,
        ):
            client = wrapped(first, key=True, fallback=[target], max_retries=0, breaker=None)
            answer = await client.messages.create(
                **{**HELLO, "model": model}, extra_headers={"anthropic-beta": "b"}
            )
            assert answer.content[0].text == "One two"
            seen, body = second.requests[-1], json.loads(second.bodies[-1])
            assert seen.raw_path.removeprefix("/model/").replace("%3A", ":") == path
            assert seen.headers["authorization"] == "Bearer k2"
            assert body == json.loads(first.bodies[-1])
        await client.close()


# With signatures ...


def is_signed(server: Bedrock, place: int) -> bool:
    """Does the signature of a request hold, made again from what came?"""
    auth = pytest.importorskip("botocore.auth", reason="the SDK's extra for Bedrock is not installed")
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - it may be missing
    from botocore.credentials import Credentials  # noqa: PLC0415

    request = server.requests[place]
    given = request.headers["authorization"]
    names = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    url = f"{server.url}{request.raw_path}"
    headers = {name: request.headers[name] for name in names}
    again = AWSRequest("POST", url, headers=headers, data=server.bodies[place])
    again.context["timestamp"] = request.headers["x-amz-date"]
    signer = auth.SigV4Auth(Credentials("AKID", "secret"), "bedrock", "eu-west-1")
    signature = signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again)
    return bool(given.endswith(f"Signature={signature}"))


signing = pytest.mark.frameworks


@signing
@pytest.mark.parametrize(
    "script", [streamed(*ONE_TWO), streamed(*ONE_TWO, together=True)], ids=["many", "one"]
)
async def test_streams_are_the_bare_clients(script):
    """The same events, sync and async, behind a refusal; each attempt with a signature that holds."""
    pytest.importorskip("botocore")
    async with Bedrock(script, BUSY, script) as server:
        bare = anthropic.AsyncAnthropicBedrock(
            aws_access_key="AKID", aws_secret_key="secret", aws_region="eu-west-1", base_url=server.url
        )
        events = [event async for event in await bare.messages.create(**HELLO, stream=True)]
        async with wrapped(server) as client:
            assert type(client) is type(bare)
            assert [event async for event in await client.messages.create(**HELLO, stream=True)] == events
        assert all(is_signed(server, place) for place in range(3))
        sync = anthropic.AnthropicBedrock(
            aws_access_key="AKID", aws_secret_key="secret", aws_region="eu-west-1", base_url=server.url
        )

        def called() -> list[Any]:
            with rl.wrap(sync, **OPTIONS) as client:
                return list(client.messages.create(**HELLO, stream=True))

        assert await asyncio.to_thread(called) == events
        await bare.close()


@signing
@pytest.mark.parametrize(
    ("script", "kind", "calls"),
    [
        (refused(429, "ThrottlingException"), anthropic.RateLimitError, 3),
        (BUSY, anthropic.APIStatusError, 3),
        (refused(403, "AccessDeniedException"), anthropic.PermissionDeniedError, 1),
        (streamed(exception("throttlingException", message="slow")), anthropic.RateLimitError, 3),
        (streamed(*ONE_TWO[:3]), anthropic.APIConnectionError, 1),
    ],
    ids=["429", "503", "403", "exception", "ended early"],
)
async def test_failures_are_the_sdks_with_our_error(script, kind, calls):
    """Typed, also for what comes inside a 200; only our retries, each with a signature that holds."""
    pytest.importorskip("botocore")
    async with Bedrock(script) as server, wrapped(server, max_retries=2) as client:
        with pytest.raises(kind) as caught:
            async with client.messages.stream(**HELLO) as stream:
                await stream.get_final_message()
    assert isinstance(caught.value.llm_error, rl.LLMError)
    assert len(server.requests) == calls
    assert all(is_signed(server, place) for place in range(calls))


@signing
async def test_signed_headers_are_never_changed(monkeypatch):
    """What cannot be decompressed by what stands in for the transport is asked for all the same."""
    pytest.importorskip("botocore")

    monkeypatch.setattr("aiohttp.compression_utils.HAS_ZSTD", False)
    headers = {"accept-encoding": "gzip, zstd"}
    async with Bedrock(BUSY, whole()) as server, wrapped(server) as client:
        assert (await client.messages.create(**HELLO, extra_headers=headers)).content[0].text == "One two"
    for place in range(2):
        assert server.requests[place].headers["accept-encoding"] == "gzip, zstd"
        assert is_signed(server, place)


@signing
async def test_a_target_signs_for_itself():
    """Another region answers, streamed, with a signature of its own."""
    pytest.importorskip("botocore")
    async with Bedrock(BUSY) as first, Bedrock(streamed(*ONE_TWO)) as second:
        own = anthropic.AsyncAnthropicBedrock(
            aws_access_key="AKID", aws_secret_key="secret", aws_region="eu-west-1", base_url=second.url
        )
        client = wrapped(first, fallback=[own], max_retries=0)
        async with client, client.messages.stream(**HELLO) as stream:
            assert await stream.get_final_text() == "One two"
        assert is_signed(first, 0)
        assert is_signed(second, 0)
