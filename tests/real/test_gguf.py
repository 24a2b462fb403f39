"""A real small model in a GGUF file, in this process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest
from real.in_process import CALLS, each_row_but, passes
from real.llama import model_path

import resilient_llm as rl

pytestmark = pytest.mark.real

RIVERS = [{"role": "user", "content": "Name three rivers in Europe."}]
GREEDY = {"temperature": 0, "seed": 1}
ENDLESS = {"max_tokens": 400, "ignore_eos": True}
WINDOW = 512


@pytest.fixture(scope="module")
def kept():
    """Holds the model from test to test."""
    return rl.OfflineTransport(model_path=model_path(), context_length=WINDOW, threads=1)


@pytest.fixture
async def local(kept):
    """A client of its own transport, as another part of a program would have it."""
    transport = rl.OfflineTransport(model_path=model_path(), context_length=WINDOW, threads=1)
    await kept.count_tokens("")
    async with rl.AsyncClient(transport=transport) as client:
        yield client


async def test_the_answer_is_that_of_a_server(local, llm):
    """The same file behind a server says the same, token by token, and counts the same; whole or streamed."""
    expected = await llm.complete(RIVERS, max_tokens=12, cache_prompt=False, **GREEDY)
    whole = await local.complete(RIVERS, max_tokens=12, **GREEDY)
    async with local.stream(RIVERS, max_tokens=12, **GREEDY) as response:
        events = [event async for event in response]
        streamed = await response.completion()
    for done in (whole, streamed):
        assert (done.text, done.finish_reason) == (expected.text, "length")
        assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (expected.usage.prompt_tokens, 12)
    assert sum(isinstance(event, rl.TextDelta) for event in events) > 5
    assert await local.count_tokens(RIVERS) == whole.usage.prompt_tokens
    assert await local.count_tokens("Hello, world!") == await llm.count_tokens("Hello, world!")


async def test_a_stop_text_ends_the_answer(local):
    """It is not handed over, and the reason is `stop`."""
    text = (await local.complete(RIVERS, max_tokens=12, **GREEDY)).text
    stop = text[len(text) // 2 :][:4]
    done = await local.complete(RIVERS, max_tokens=12, stop=[stop], **GREEDY)
    assert (done.text.rstrip(), done.finish_reason) == (text[: text.index(stop)].rstrip(), "stop")


async def test_a_seed_repeats_and_another_one_does_not(local):
    """Also after other calls."""
    options = {"max_tokens": 16, "temperature": 1.5}
    texts = [(await local.complete(RIVERS, seed=seed, **options)).text for seed in (1, 2, 1)]
    assert texts[0] == texts[2] != texts[1]


async def test_a_schema_is_kept(local):
    """What llama.cpp can, it can here."""
    schema = {"type": "object", "properties": {"river": {"enum": ["Rhine", "Danube"]}}, "required": ["river"]}
    form = {"type": "json_schema", "json_schema": {"name": "river", "schema": schema}}
    done = await local.complete(RIVERS, max_tokens=40, response_format=form, **GREEDY)
    assert done.raw is None
    assert "river" in done.text


async def test_the_model_stops_when_the_reader_has_left(local):
    """A stream of four hundred tokens that is closed after the first does not hold up the next call."""
    async with local.stream("Tell me a long story.", **ENDLESS) as response:
        began = time.monotonic()
        async for event in response:
            if isinstance(event, rl.TextDelta):
                break
    done = await local.complete("Hi", max_tokens=1)
    assert done.usage.completion_tokens == 1
    assert time.monotonic() - began < 5


async def test_the_loop_goes_on_while_the_model_writes(local):
    """A heartbeat of the loop is never late by much."""
    gaps, last = [], time.monotonic()
    call = asyncio.ensure_future(local.complete(RIVERS, max_tokens=40, **GREEDY))
    while not call.done():
        await asyncio.sleep(0.005)
        gaps.append(time.monotonic() - last)
        last = time.monotonic()
    await call
    assert len(gaps) > 10
    assert sorted(gaps)[len(gaps) // 2] < 0.1


async def test_an_overflow_is_typed(local):
    """With the window and the size of the prompt."""
    request = rl.Request(messages=[{"role": "user", "content": "river " * WINDOW}], stream=True)
    async with rl.AsyncClient(transport=local.transport, token_budget=None) as unpruned:
        with pytest.raises(rl.ModelContextLengthError) as caught:
            await unpruned.send(request)
    assert (caught.value.context_limit, caught.value.retryable) == (WINDOW, False)
    assert (caught.value.context_requested or 0) > WINDOW


async def test_embeddings_are_unit_vectors_that_know_likeness(local):
    """Equal texts are equal; a text is nearer to its paraphrase than to something else."""
    texts = ["The river flows to the sea.", "A river runs into the ocean.", "def f(x): return x * 2"]
    done = await local.embed([*texts, texts[0]])
    first, near, far, again = done.vectors
    assert first == pytest.approx(again, abs=1e-3)
    assert sum(x * x for x in first) == pytest.approx(1)
    assert sum(map(float.__mul__, first, near)) > sum(map(float.__mul__, first, far))
    assert (done.usage.prompt_tokens or 0) > 20
    with pytest.raises(rl.ModelContextLengthError):
        await local.embed("river " * 600)


async def test_an_answer_is_gone_on_with(local):
    """A stream that is to begin with what was said gives the rest of the greedy answer."""
    whole = (await local.complete(RIVERS, max_tokens=12, **GREEDY)).text
    beginning = whole[: whole.rindex(" ", 0, len(whole) * 2 // 3)]
    request = rl.Request(
        messages=RIVERS,
        stream=True,
        params={"max_tokens": 8, **GREEDY},
        extensions={"resume_from": beginning},
    )
    response = await local.transport(request)
    assert response.info.resumes
    done = await response.completion()
    assert (beginning + done.text)[: len(whole)] == whole
    assert (done.usage.prompt_tokens or 0) > await local.count_tokens(RIVERS)


async def test_the_window_is_told_once_loaded(local):
    """And the model says that it is in memory."""
    await local.complete("Hi", max_tokens=1)
    (model,) = await local.models()
    assert (model.loaded, model.context_length) == (True, WINDOW)


async def test_a_broken_file_is_told(tmp_path):
    """Cut short, as by a download that was interrupted."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(model_path().read_bytes()[:100_000])
    with pytest.raises(rl.ModelNotFoundError, match="Check that the file is whole"):
        await rl.OfflineTransport(model_path=broken)(rl.Request(messages=RIVERS))


def test_a_program_may_end_in_the_middle_of_an_answer():
    """Native code is not cut off, and does not hold up the end."""
    program = f"""
import asyncio
import resilient_llm as rl
transport = rl.OfflineTransport(model_path={str(model_path())!r}, context_length=512, threads=1)
request = rl.Request(messages={RIVERS!r}, stream=True, params={ENDLESS!r})
response = asyncio.new_event_loop().run_until_complete(transport(request))
print("leaving")
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "leaving"), done.stderr


@each_row_but(*CALLS)
async def test_it_conforms(local, kept, row):
    """The rows that every transport passes, with a real model in this process."""
    await passes(row, local, kept, WINDOW)
