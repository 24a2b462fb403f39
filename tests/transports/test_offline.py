"""The backend without a network."""

from __future__ import annotations

import asyncio
import math
import pickle
import subprocess
import sys

import attrs
import pytest
from transports.answers import CHAT, MESSAGES, STREAM

import resilient_llm as rl
from resilient_llm.errors import BackendFailure, ModelInvalidRequestError, ModelNotFoundError
from resilient_llm.events import Finish, TextDelta
from resilient_llm.models import Request
from resilient_llm.token_counts import NO_SUCH_ROUTE
from resilient_llm.transports import OfflineTransport


async def complete(request):
    return await (await OfflineTransport()(request)).completion()


def ask(text):
    return attrs.evolve(CHAT, messages=[{"role": "user", "content": text}])


async def test_the_same_prompt_gets_the_same_answer():
    """Twice the same, and another for another prompt."""
    texts = [(await complete(ask(text))).text for text in ("a", "a", "b", "c")]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3


async def test_answers_are_the_same_in_every_process():
    """Nothing depends on the hash seed of the interpreter."""
    program = (
        "import asyncio; from resilient_llm.transports import OfflineTransport as O; "
        "from resilient_llm.models import Request as R\n"
        "async def main():\n"
        f"    r = await O()(R(messages={MESSAGES!r})); print((await r.completion()).text)\n"
        "asyncio.run(main())"
    )
    command = [sys.executable, "-c", program]
    shown = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == (await complete(CHAT)).text


async def test_a_stream_comes_word_by_word_and_makes_the_same_text():
    """Each event is a word; together they are the whole answer."""
    response = await OfflineTransport()(STREAM)
    assert response.outcome is None
    events = [event async for event in response]
    pieces = [event.text for event in events if isinstance(event, TextDelta)]
    assert "".join(pieces) == (await complete(CHAT)).text
    assert len(pieces) == len("".join(pieces).split())
    assert events[-1] == Finish("stop")


async def test_max_tokens_cuts_the_answer():
    """The answer's beginning, and the reason `length`."""
    whole = await complete(CHAT)
    cut = await complete(attrs.evolve(CHAT, params={"max_tokens": 3}))
    assert whole.text.startswith(cut.text)
    assert (len(cut.text.split()), cut.finish_reason, cut.usage.completion_tokens) == (3, "length", 3)
    assert (whole.finish_reason, whole.usage.prompt_tokens) == ("stop", 3)


async def test_content_in_parts_counts_as_its_text():
    """Parts that are no text are passed over."""
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}]
    assert (await complete(ask(parts))).text != (await complete(ask("b"))).text


async def test_vectors_are_of_unit_length_and_repeatable():
    """Texts that differ point elsewhere."""
    request = Request("embed", params={"input": ["a", "b", "a"]})
    result = await (await OfflineTransport()(request)).result()
    first, second, third = result.vectors
    assert first == third != second
    assert math.isclose(math.hypot(*first), 1.0)
    assert len(first) == 384


async def test_a_single_text_and_a_size_may_be_asked_for():
    """`input` may be a string; `dimensions` is honoured."""
    request = Request("embed", params={"input": "a", "dimensions": 8})
    result = await (await OfflineTransport()(request)).result()
    assert [len(vector) for vector in result.vectors] == [8]


@pytest.mark.parametrize("size", [-1, "8", 0.5])
async def test_a_size_that_is_none_is_refused(size):
    """In words, and with the backend's name."""
    with pytest.raises(ModelInvalidRequestError, match=f"whole number above 0, not {size!r}") as caught:
        await OfflineTransport()(Request("embed", params={"input": "a", "dimensions": size}))
    assert caught.value.backend == "offline"


async def test_it_lists_itself():
    """One model, loaded."""
    (model,) = await (await OfflineTransport()(Request("models"))).result()
    assert (model.id, model.loaded) == ("offline", True)


@pytest.mark.parametrize("request_", [Request(), Request("raw")], ids=["no messages", "raw"])
async def test_what_it_cannot_answer_is_refused(request_):
    """No messages, no answer; no server, no routes."""
    with pytest.raises(ModelInvalidRequestError):
        await OfflineTransport()(request_)


async def test_without_a_model_there_is_no_tokenizer_to_ask():
    """As a server would say that lacks the route: clients count with the best tokenizer here instead."""
    with pytest.raises(BackendFailure) as caught:
        await OfflineTransport().count_tokens("a b")
    assert caught.value.status in NO_SUCH_ROUTE


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"model": "models/river.gguf"}, "river"),
        ({"model": "river.gguf"}, "river"),
        ({"model": "org/river-1.5b"}, "river-1.5b"),
        ({"model_path": "river-1.5b"}, "river-1.5b"),
        ({"model_path": "river.gguf", "model": "mine"}, "mine"),
        ({"model": "gpt-4o"}, None),
        ({}, None),
    ],
    ids=str,
)
async def test_a_path_is_a_model(options, name):
    """By its own option, or as the model's name; a plain name is a name. A missing one is told at the call."""
    transport = OfflineTransport(**options)
    if name is None:
        assert (await (await transport(CHAT)).completion()).model == transport.model
        return
    for request in (CHAT, Request("embed", params={"input": "a"}), Request("models")):
        with pytest.raises(ModelNotFoundError, match=r"it does not exist\. Put the model there") as caught:
            await transport(request)
        assert (caught.value.model, caught.value.backend) == (name, "offline")
    with pytest.raises(ModelNotFoundError, match="does not exist"):
        await transport.count_tokens("a")


@pytest.mark.parametrize("kind", ["empty directory", "text", "directory", "file"])
async def test_what_cannot_be_loaded_says_what_to_do(tmp_path, monkeypatch, kind):
    """No model, or no engine for it: what is wrong and the next step, also behind a pickle."""
    path, step = tmp_path / "m.gguf", "Give"
    if kind == "text":
        path.write_text("hello")
    elif kind == "empty directory":
        path.mkdir()
    elif kind == "directory":
        path.mkdir()
        (path / "config.json").write_text("{}")
        monkeypatch.setitem(sys.modules, "torch", None)
        step = 'pip install "resilient-llm[hf]"'
    else:
        path.write_bytes(b"GGUF")
        monkeypatch.setitem(sys.modules, "xllamacpp", None)
        step = 'pip install "resilient-llm[gguf]"'
    with pytest.raises(ModelNotFoundError) as caught:
        await OfflineTransport(model_path=path)(CHAT)
    assert step in str(pickle.loads(pickle.dumps(caught.value)))
    assert not caught.value.retryable


async def test_an_empty_conversation_is_refused_before_anything_is_loaded(tmp_path):
    """The file is not looked for."""
    with pytest.raises(ModelInvalidRequestError, match="messages is empty"):
        await OfflineTransport(model_path=tmp_path / "no.gguf")(Request())


async def test_a_model_that_is_there_is_listed_without_being_loaded(tmp_path):
    """Not in memory yet, so its window is not known."""
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    (model,) = await (await OfflineTransport(model_path=tmp_path / "m.gguf")(Request("models"))).result()
    assert (model.id, model.loaded, model.context_length) == ("m", False, None)


def test_settings_and_environment_lead_to_the_model(monkeypatch):
    """`offline_provider.model_path` by its variable, and as an option of the provider."""
    monkeypatch.setenv("RESILIENT_LLM_OFFLINE", "1")
    monkeypatch.setenv("RESILIENT_LLM_OFFLINE_MODEL_PATH", "models/river.gguf")
    assert rl.AsyncClient.from_settings().transport.model == "river"
    provider = rl.LLMBackendAdapter().create_provider("offline", {"model_path": "no/such.gguf"})
    with pytest.raises(ModelNotFoundError, match=r"no/such\.gguf"):
        provider.generate("Hi")


async def test_options_of_other_backends_are_ignored():
    """Going offline takes one change, whatever else is configured."""
    transport = OfflineTransport(base_url="http://x", api_key="k", headers={}, session=None)
    assert repr(transport) == "<OfflineTransport offline>"
    await transport.aclose()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
async def test_an_answer_goes_on_from_any_beginning(share):
    """Whatever was said of the answer, in the middle of a word even, what follows completes it."""
    whole = (await complete(STREAM)).text
    beginning = whole[: round(len(whole) * share)].rstrip()
    response = await OfflineTransport()(attrs.evolve(STREAM, extensions={"resume_from": beginning}))
    assert response.info.resumes
    assert beginning + (await response.completion()).text == whole


async def test_another_answer_is_not_gone_on_with():
    """A beginning that is not this backend's own is refused."""
    with pytest.raises(ModelInvalidRequestError, match="otherwise"):
        await complete(attrs.evolve(CHAT, extensions={"resume_from": "Once upon a time"}))
