"""Lists of texts of any length: split, embedded a few batches at once, and put together."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import resilient_llm as rl
from resilient_llm.commit import whole
from resilient_llm.errors import ModelInvalidRequestError
from resilient_llm.events import Finish, Result
from resilient_llm.policy.batches import CAUTIOUS, BatchLimits, batches
from resilient_llm.response import ResponseInfo
from resilient_llm.testing import Answer, FaultServer, Reply, Status, run_virtual

TEXTS = [f"text {number}" for number in range(100)]


class Embedder:
    """Embeds a text as its number; keeps what it was asked, and how much of it at once."""

    name = "embedder"

    def __init__(self, *, fails=(), model="m", batch_limits=CAUTIOUS):
        self.asked: list[rl.Request] = []
        self.batch_limits = batch_limits
        self.running = self.most = self.ended = 0
        self._fails = fails
        self._model = model

    async def __call__(self, request):
        self.asked.append(request)
        self.running += 1
        self.most = max(self.most, self.running)
        texts = request.params["input"]
        try:
            # the later, the sooner: answers come out of order
            await asyncio.sleep(100 - int(texts[0].split()[-1]) % 100)
            if texts[0] in self._fails:
                msg = "no"
                raise rl.ModelAuthError(msg)
        finally:
            self.running -= 1
            self.ended += 1
        model = self._model(texts) if callable(self._model) else self._model
        told = rl.Usage(prompt_tokens=len(texts), total_tokens=len(texts))
        vectors = [[float(text.split()[-1])] for text in texts]
        result = rl.Embeddings(vectors, model, told)
        return whole([Result(result), Finish("stop")], ResponseInfo(backend="embedder"), request)

    async def aclose(self):
        pass


def run(transport, texts, **options):
    async def scenario():
        async with rl.AsyncClient(transport=transport, middleware=[], model="m") as llm:
            return await llm.embed(texts, **options)

    return run_virtual(scenario())


def sizes(transport):
    return [len(request.params["input"]) for request in transport.asked]


def test_a_long_list_goes_in_batches_and_comes_back_in_order():
    """Four batches at a time, whichever is ready first; vectors in the texts' order, usage that of all."""
    transport = Embedder()
    told = run(transport, [f"text {number}" for number in range(300)])
    assert told.vectors == [[float(number)] for number in range(300)]
    assert (told.model, told.usage) == ("m", rl.Usage(prompt_tokens=300, total_tokens=300))
    assert sizes(transport) == [32] * 9 + [12]
    assert transport.most == 4


def test_a_list_that_fits_is_one_request():
    """So is a text; nothing is split that need not be."""
    transport = Embedder()
    run(transport, TEXTS[:32])
    assert run(transport, "text 7").vectors == [[7.0]]
    assert sizes(transport) == [32, 1]


def test_the_callers_batch_size_wins():
    """Also over what the backend takes."""
    transport = Embedder(batch_limits=BatchLimits(2))
    run(transport, TEXTS, batch_size=50)
    assert sizes(transport) == [50, 50]


def test_a_failed_batch_ends_the_call_and_is_told():
    """The error is the batch's own, says which texts were in it, and what was under way is ended."""
    transport = Embedder(fails={"text 32"})
    with pytest.raises(rl.ModelAuthError, match=r"texts\[32:64\] of 100 failed"):
        run(transport, TEXTS)
    assert transport.running == 0
    assert transport.ended == len(transport.asked)


def test_no_batch_is_asked_for_after_a_failure():
    """What has not begun is not begun."""
    transport = Embedder(fails={"text 99"})
    with pytest.raises(rl.ModelAuthError):
        run(transport, ["text 99", *TEXTS], batch_size=1)
    assert len(transport.asked) < 10


def test_a_cancelled_call_ends_its_batches():
    """Nothing is left running."""
    transport = Embedder()

    async def scenario():
        async with rl.AsyncClient(transport=transport, middleware=[]) as llm:
            call = asyncio.create_task(llm.embed(TEXTS, batch_size=10))
            await asyncio.sleep(1)
            assert transport.running == 4
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert (transport.running, len(transport.asked)) == (0, 4)

    run_virtual(scenario())


def test_a_client_that_is_closed_ends_them_too():
    """The call is cancelled, as any other that is under way."""
    transport = Embedder()

    async def scenario():
        llm = rl.AsyncClient(transport=transport, middleware=[])
        call = asyncio.create_task(llm.embed(TEXTS, batch_size=10))
        await asyncio.sleep(1)
        await llm.aclose(grace=1)
        with pytest.raises((asyncio.CancelledError, RuntimeError)):
            await call
        assert transport.running == 0

    run_virtual(scenario())


def test_vectors_of_two_models_are_not_mixed():
    """They cannot be compared, so an answer that mixes them is none."""
    transport = Embedder(model=lambda texts: "other" if texts[0] == "text 64" else "m")
    with pytest.raises(rl.ModelResponseInvalidError, match=r"texts\[64:96\] were embedded by 'other'"):
        run(transport, TEXTS)


def test_options_of_a_call_are_options_here_too():
    """Headers and deadline go where those of a chat go, dimensions into the body, for each batch."""
    transport = Embedder()
    run(transport, TEXTS, deadline=500, extra_headers={"a": "b"}, dimensions=3, batch_size=50)
    for request in transport.asked:
        assert {**request.params, "input": None} == {"input": None, "dimensions": 3}
        assert request.extensions == {"headers": {"a": "b"}}
        assert request.deadline == transport.asked[0].deadline is not None


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ([], {}, "nothing to embed"),
        (["a", 1], {}, r"texts\[1\] must be a text, not int"),
        (b"abc", {}, "not bytes"),
        ({"a": 1}, {}, "not dict"),
        (["a"], {"batch_size": 0}, "batch_size must be a whole number of 1 or more, not 0"),
        (["a"], {"batch_size": "9"}, "batch_size"),
        (["a"], {"deadline": -1}, "deadline"),
    ],
)
def test_what_cannot_be_embedded_is_refused(texts, options, message):
    """Before anything is sent."""
    transport = Embedder()
    with pytest.raises(ModelInvalidRequestError, match=message):
        run(transport, texts, **options)
    assert not transport.asked


@pytest.mark.parametrize(
    ("backend", "expected"), [("openai", [2048, 952]), ("openai-compatible", [32] * 93 + [24])]
)
async def test_each_backend_has_its_limits(backend, expected):
    """OpenAI takes 2048 texts; others what the least of them takes."""
    async with (
        FaultServer() as server,
        rl.AsyncClient(backend, base_url=server.base_url, api_key="k", model="m") as llm,
    ):
        told = await llm.embed([str(number) for number in range(3000)])
    assert [len(seen.body["input"]) for seen in server.requests] == expected
    assert len(told.vectors) == 3000
    assert told.usage.prompt_tokens == sum(seen.tokens for seen in server.requests)


async def test_only_the_batch_that_failed_is_repeated():
    """Retries are each batch's own."""
    async with (
        FaultServer([Answer(), Status.overloaded(), Answer()]) as server,
        rl.AsyncClient("openai-compatible", base_url=server.base_url, model="m") as llm,
    ):
        told = await llm.embed(["a", "", "c"], batch_size=1, initial_backoff=0.01)
    asked = Counter(seen.body["input"][0] for seen in server.requests)
    assert sorted(asked.values()) == [1, 1, 2]
    assert len(told.vectors) == 3


async def test_a_backend_that_loses_a_vector_is_caught():
    """Fewer vectors than texts would be given to the wrong ones."""
    async with (
        FaultServer(reply=Reply(vectors=[[1.0], [2.0]])) as server,
        rl.AsyncClient("openai-compatible", base_url=server.base_url, model="m", max_retries=0) as llm,
    ):
        with pytest.raises(rl.ModelResponseInvalidError, match="2 vectors came for 3 texts"):
            await llm.embed(["a", "b", "c"])


def test_the_blocking_twin_does_the_same():
    """The same options, the same answer."""
    with rl.Client("offline") as llm:
        assert llm.embed(TEXTS, batch_size=7) == llm.embed(TEXTS)


@given(
    st.lists(st.text(max_size=40), max_size=60),
    st.integers(1, 9),
    st.one_of(st.none(), st.integers(1, 60)),
)
def test_batches_cover_the_list_within_the_limits(texts, inputs, tokens):
    """Each text once and in order; no batch is too large unless it is a single text; none could take the next."""
    places = list(batches(texts, BatchLimits(inputs, tokens)))
    covered = [text for begin, end in places for text in texts[begin:end]]
    assert covered == texts

    def size(begin, end):
        return sum(-(-len(text.encode("utf-8", "surrogatepass")) // 2) for text in texts[begin:end])

    for begin, end in places:
        assert 0 < end - begin <= inputs
        assert end - begin == 1 or tokens is None or size(begin, end) <= tokens
    for (begin, end), _ in itertools.pairwise(places):
        assert end - begin == inputs or (tokens is not None and size(begin, end + 1) > tokens)


def test_limits_are_values():
    """Two that say the same are the same."""
    assert attrs.evolve(CAUTIOUS, inputs=2) == BatchLimits(2)
