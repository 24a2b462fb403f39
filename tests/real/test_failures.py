"""A real server that is left, killed, started again, and not ready yet."""

from __future__ import annotations

import asyncio
from functools import partial

import aiohttp
import backoff
import pytest

import resilient_llm as rl

pytestmark = pytest.mark.real

CHAT = "/v1/chat/completions"
ENDLESS = {"max_tokens": 400, "ignore_eos": True, "temperature": 0}
SOON = partial(backoff.constant, interval=0.05)


async def read(response, pieces, some=None):
    """Collect the text of a stream, and tell when some of it is there."""
    async for event in response:
        if isinstance(event, rl.TextDelta):
            pieces.append(event.text)
        if some is not None and len(pieces) > 4:
            some.set()


async def leave_early(llm, _server):
    async with llm.stream("Tell me a long story.", **ENDLESS) as response:
        async for _ in response:
            return


async def cancel_reader(llm, _server):
    async def reading():
        async with llm.stream("Tell me a long story.", **ENDLESS) as response:
            await read(response, [], some)

    some = asyncio.Event()
    task = asyncio.create_task(reading())
    await some.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancel_whole(llm, server):
    task = asyncio.create_task(llm.complete("Tell me a long story.", **ENDLESS))
    await server.until_busy()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("leave", "pause"), [(leave_early, 0.02), (cancel_reader, 0.02), (cancel_whole, 1.5)]
)
async def test_the_server_stops_generating_when_the_caller_has_left(llm, server, leave, pause):
    """A stream left or cancelled, or a cancelled whole call, frees the server's slot before its answer is done."""
    await server.until_busy(busy=False)
    before = server.metric("tokens_predicted_total")
    await leave(llm, server)
    await server.until_busy(busy=False, pause=pause)
    assert server.metric("tokens_predicted_total") - before < ENDLESS["max_tokens"]


async def test_a_server_killed_in_mid_stream_leaves_what_had_come(mortal):
    """A stream that breaks off raises a typed error with the partial answer, and leaks no connection."""
    mortal.start()
    mortal.until_health(200)
    connector = aiohttp.TCPConnector()
    async with rl.AsyncClient("llamacpp", base_url=mortal.url, connector=connector) as llm:
        pieces: list[str] = []
        some = asyncio.Event()
        async with llm.stream("Tell me a long story.", **ENDLESS) as response:
            reader = asyncio.create_task(read(response, pieces, some))
            await some.wait()
            mortal.kill()
            with pytest.raises(rl.ModelResponseInvalidError) as caught:
                await reader
        error = caught.value
        assert error.partial is not None
        assert error.partial.text == "".join(pieces)
        assert error.partial.finish_reason is None
        assert (error.backend, error.backend_fault, error.attempts) == ("llamacpp", True, 1)
        assert response.outcome == rl.Outcome(rl.OutcomeKind.FAILED, error)
        assert not connector._acquired
        assert not connector._conns


async def test_a_server_killed_before_it_answered_is_unavailable(mortal):
    """A whole call that nothing came back for is MODEL_UNAVAILABLE, without a partial answer."""
    mortal.start()
    mortal.until_health(200)
    async with rl.AsyncClient("llamacpp", base_url=mortal.url, max_retries=0) as llm:
        call = asyncio.create_task(llm.complete("Tell me a long story.", **ENDLESS))
        await mortal.until_busy()
        mortal.kill()
        with pytest.raises(rl.ModelUnavailableError) as caught:
            await call
        assert caught.value.partial is None


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_circuit_opens_while_it_is_down_and_closes_after_one_probe(mortal, session, sent, stream):
    """Two failures open it, nothing is sent any more; of many callers at its return one probes, then all pass."""
    mortal.start()
    mortal.until_health(200)
    breaker = rl.CircuitBreaker(fail_max=2, timeout_duration=0.2, jitter=0)
    llm = rl.AsyncClient(
        "llamacpp",
        base_url=mortal.url,
        session=session,
        breaker=breaker,
        max_retries=1,
        wait=SOON,
        jitter=None,
    )

    async def ask():
        if not stream:
            return await llm.complete("Hi", max_tokens=4)
        async with llm.stream("Hi", max_tokens=4) as response:
            return await response.completion()

    async with llm:
        await ask()
        (circuit,) = breaker.circuits.values()
        mortal.kill()
        with pytest.raises(rl.ModelUnavailableError) as caught:
            await ask()
        assert caught.value.attempts == 2
        assert circuit.state == "open"
        with pytest.raises(rl.CircuitOpenError) as rejected:
            await ask()
        assert rejected.value.__cause__ is caught.value
        mortal.start()
        mortal.until_health(200)
        await asyncio.sleep(0.2)
        sent.clear()
        results = await asyncio.gather(*(ask() for _ in range(20)), return_exceptions=True)
        assert sum(isinstance(result, rl.Completion) for result in results) == 1
        assert sum(isinstance(result, rl.CircuitOpenError) for result in results) == 19
        assert sent[CHAT] == 1
        assert circuit.state == "closed"
        assert (await ask()).text


async def test_a_model_that_is_being_loaded_is_waited_for(mortal):
    """A call that comes while the server loads its model is answered once it has, and costs no retry."""
    mortal.start()
    assert mortal.until_health(503, 200) == 503
    async with rl.AsyncClient("llamacpp", base_url=mortal.url, max_retries=0) as llm:
        assert await llm.transport.health() is False
        done = await llm.complete("Hi", max_tokens=4)
    assert done.text
    assert done.attempts > 1
    assert {attempt.error.code for attempt in done.trace[:-1]} == {rl.ErrorCode.MODEL_LOADING}


COUNT = [{"role": "user", "content": "Count from one to twenty in words, separated by commas."}]
GREEDY = {"temperature": 0, "seed": 1, "cache_prompt": False, "max_tokens": 60}


@pytest.mark.parametrize("recovery", ["restart", "resume"])
async def test_a_server_killed_in_mid_stream_goes_on_when_it_is_back(mortal, recovery):
    """The stream waits until the server has loaded its model again; then the text goes on, or begins anew."""
    mortal.start()
    mortal.until_health(200)
    async with rl.AsyncClient(
        "llamacpp", base_url=mortal.url, wait=SOON, jitter=None, max_retries=1000, breaker=None
    ) as llm:
        uncut = (await llm.complete(COUNT, **GREEDY)).text
        pieces: list[str] = []
        restarts = 0
        async with llm.stream(COUNT, recovery=recovery, **GREEDY) as response:
            async for event in response:
                restarts += isinstance(event, rl.Restarted)
                pieces = [] if isinstance(event, rl.Restarted) else pieces
                if isinstance(event, rl.TextDelta):
                    pieces.append(event.text)
                if len(pieces) == 9 and not restarts and response.request.attempt == 1:
                    mortal.kill()
                    mortal.start()
            done = await response.completion()
    assert done.attempts > 1
    assert restarts == (recovery == "restart")
    assert "".join(pieces) == done.text
    if recovery == "restart":
        assert done.text == uncut
    else:
        begun = "".join(pieces[:9])
        assert uncut.startswith(begun)
        assert len(done.text) > len(begun)


async def test_a_real_server_shows_that_it_goes_on_with_an_answer(llm, server):
    """Its template ends in the beginning that it is given, and the stream brings only what follows."""
    begun = "One, two, three,"
    extensions = {"resume_from": begun}
    request = rl.Request(messages=COUNT, stream=True, params=GREEDY, extensions=extensions)
    async with await llm.send(request) as response:
        assert response.info.resumes
        text = (await response.completion()).text
    assert text.strip().startswith("four")
