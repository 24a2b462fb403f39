"""A real, tiny, random model in Hugging Face's layout, in this process."""

from __future__ import annotations

import socket

import pytest
from real.in_process import CALLS, each_row_but, passes

import resilient_llm as rl

pytestmark = pytest.mark.real

torch = pytest.importorskip("torch", reason="nox -s real installs PyTorch")
transformers = pytest.importorskip("transformers", reason="nox -s real installs transformers")
tiny = pytest.importorskip("real.tiny")

HI = [{"role": "user", "content": "hi"}]
GREEDY = {"temperature": 0}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def kept(path):
    """Holds the model from test to test."""
    return rl.OfflineTransport(model_path=path)


@pytest.fixture
async def local(path, kept):
    await kept.count_tokens("")
    async with rl.AsyncClient("offline", model=str(path), max_retries=0) as client:
        yield client


async def test_whole_and_streamed_are_the_same(local):
    """Greedily; with usage by the model's own tokenizer."""
    whole = await local.complete(HI, max_tokens=12, **GREEDY)
    async with local.stream(HI, max_tokens=12, **GREEDY) as response:
        events = [event async for event in response]
        streamed = await response.completion()
    pieces = [event.text for event in events if isinstance(event, rl.TextDelta)]
    assert "".join(pieces) == whole.text == streamed.text
    assert len(pieces) > 3
    assert (whole.finish_reason, whole.usage.completion_tokens, whole.model) == ("length", 12, "tiny")
    assert whole.usage.prompt_tokens == await local.count_tokens(HI)
    assert whole.usage == streamed.usage


async def test_the_prompt_is_what_the_models_template_says(local, path):
    """Counted by the tokenizer itself."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    expected = tokenizer.apply_chat_template(HI, add_generation_prompt=True, tokenize=False)
    count = len(tokenizer(expected, add_special_tokens=False)["input_ids"])
    assert await local.count_tokens(HI) == count
    assert await local.count_tokens("the sea") == len(tokenizer("the sea")["input_ids"])


async def test_the_text_is_what_transformers_would_have_written(local, path):
    """The same tokens as its own greedy search."""
    tokenizer, model = (
        transformers.AutoTokenizer.from_pretrained(path),
        transformers.AutoModelForCausalLM.from_pretrained(path),
    )
    text = tokenizer.apply_chat_template(HI, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False)
    expected = tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)
    assert (await local.complete(HI, max_tokens=20, **GREEDY)).text == expected


async def test_a_seed_repeats_and_leaves_the_global_one_alone(local):
    """PyTorch's own random numbers are neither used nor moved."""
    options = {"max_tokens": 12, "temperature": 1.0, "top_p": 0.95, "top_k": 50}
    before = torch.get_rng_state()
    texts = [(await local.complete(HI, seed=seed, **options)).text for seed in (1, 2, 1)]
    assert texts[0] == texts[2] != texts[1]
    assert torch.equal(torch.get_rng_state(), before)
    assert (await local.complete(HI, max_tokens=12, **GREEDY)).text == (
        await local.complete(HI, max_tokens=12, temperature=1.0, top_p=0.0)
    ).text


async def test_a_stop_text_ends_the_answer(local):
    """It is not handed over, and the reason is `stop`."""
    text = (await local.complete(HI, max_tokens=30, **GREEDY)).text
    stop = text[len(text) // 2 :][:2]
    done = await local.complete(HI, max_tokens=30, stop=stop, **GREEDY)
    assert (done.text, done.finish_reason) == (text[: text.index(stop)], "stop")


async def test_the_end_token_ends_the_answer(local, kept):
    """With the reason `stop`, and nothing of it in the text."""
    settings = kept._shared.engine()._model.generation_config
    first = await local.complete(HI, max_tokens=12, **GREEDY)
    engine = kept._shared.engine()
    text = engine._tokenizer.apply_chat_template(HI, add_generation_prompt=True, tokenize=False)
    ids = torch.tensor([engine._tokens(text)])
    third = int(
        engine._model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=3, do_sample=False)[
            0, -1
        ]
    )
    settings.eos_token_id = [1, third]
    try:
        done = await local.complete(HI, max_tokens=12, **GREEDY)
    finally:
        settings.eos_token_id = 1
    assert done.finish_reason == "stop"
    assert done.usage.completion_tokens <= 3
    assert first.text.startswith(done.text)


async def test_a_closed_stream_and_a_full_window(local):
    """The model is free for the next call; without a limit an answer ends with the window."""
    async with local.stream(HI, **GREEDY) as response:
        await anext(response)
    done = await local.complete(HI, **GREEDY)
    assert done.usage.total_tokens == tiny.WINDOW
    assert done.finish_reason == "length"


async def test_an_overflow_is_typed(path, local):
    """With the window and the size; for embeddings, too."""
    async with rl.AsyncClient("offline", model=str(path), token_budget=None, max_retries=0) as unpruned:
        with pytest.raises(rl.ModelContextLengthError) as caught:
            await unpruned.complete("x" * 200)
        assert caught.value.context_limit == tiny.WINDOW
        assert (caught.value.context_requested or 0) > 200
        with pytest.raises(rl.ModelContextLengthError):
            await unpruned.embed("x" * 200)
    smaller = rl.OfflineTransport(model_path=path, context_length=20)
    with pytest.raises(rl.ModelContextLengthError):
        await smaller(rl.Request(messages=[{"role": "user", "content": "x" * 20}]))


async def test_embeddings_are_means_of_unit_length(local, kept):
    """Of the last layer, by PyTorch's own arithmetic."""
    done = await local.embed(["the sea", "the river", ""])
    engine = kept._shared.engine()
    states = engine._model.model(input_ids=torch.tensor([engine._tokens("the sea")])).last_hidden_state[0]
    expected = torch.nn.functional.normalize(states.mean(dim=0), dim=0).tolist()
    assert done.vectors[0] == pytest.approx(expected, abs=1e-5)
    assert [sum(x * x for x in vector) for vector in done.vectors] == pytest.approx([1, 1, 1])


async def test_what_it_cannot_do_is_refused(local, path):
    """Tools, schemas and pictures: an honest no, not a wrong answer."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]
    with pytest.raises(rl.ModelInvalidRequestError, match="tools"):
        await local.complete(HI, tools=tools)
    with pytest.raises(rl.ModelInvalidRequestError, match="response_format"):
        await local.complete(HI, response_format={"type": "json_object"})
    with pytest.raises(rl.ModelInvalidRequestError, match="image_url"):
        await rl.OfflineTransport(model_path=path)(rl.Request(messages=picture))


@pytest.mark.parametrize("wrong", [{"temperature": "hot"}, {"max_tokens": 1.5}, {"seed": True}], ids=str)
async def test_a_wrong_value_is_the_callers_mistake(local, wrong):
    """Named, and not taken for a model that failed."""
    with pytest.raises(rl.ModelInvalidRequestError, match=f"{next(iter(wrong))} must be a"):
        await local.transport(rl.Request(messages=HI, params=wrong))


async def test_a_beginning_is_gone_on_with(local):
    """Text that was said is the prompt's end, behind the template's beginning of the answer."""
    said = "the sea is wide"
    request = rl.Request(
        messages=HI, stream=True, params={"max_tokens": 4, **GREEDY}, extensions={"resume_from": said}
    )
    response = await local.transport(request)
    assert response.info.resumes
    done = await response.completion()
    assert done.text
    assert done.usage.prompt_tokens == await local.count_tokens(HI) + await local.count_tokens(said)


async def test_nothing_is_asked_of_any_network(tmp_path, monkeypatch):
    """Loading and answering open no socket."""
    path = tiny.make(tmp_path / "tiny")

    def refuse(*_: object) -> None:
        msg = "a socket was connected"
        raise AssertionError(msg)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    response = await rl.OfflineTransport(model_path=path)(rl.Request(messages=HI, params={"max_tokens": 2}))
    assert (await response.completion()).usage.completion_tokens == 2


async def test_a_model_without_a_template_gets_plain_lines(tmp_path):
    """As documented; a directory without weights is told."""
    path = tiny.make(tmp_path / "plain", template=None)
    transport = rl.OfflineTransport(model_path=path)
    plain = await transport.count_tokens("User: hi\n\nAssistant:")
    assert await transport.count_tokens(HI) == plain
    (path / "model.safetensors").unlink()
    with pytest.raises(rl.ModelNotFoundError, match="transformers does not load it"):
        await rl.OfflineTransport(model_path=path, context_length=64)(rl.Request(messages=HI))


@each_row_but(*CALLS, "a_json_schema")
async def test_it_conforms(local, kept, row):
    """The rows that every transport passes, with a real model in this process."""
    await passes(row, local, kept, tiny.WINDOW)
