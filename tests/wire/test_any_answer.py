"""Every decoder over sound answers with something wrong in them: an answer or a typed failure, never anything else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire.mutated import shape, variants

from resilient_llm.errors import BackendFailure, LLMError, ModelResponseInvalidError
from resilient_llm.models import Embeddings, ModelInfo, Usage
from resilient_llm.testing import Call, Reply
from resilient_llm.testing.fault_server import listings
from resilient_llm.testing.fault_server.anthropic import AnthropicMessages
from resilient_llm.testing.fault_server.listings import Asked
from resilient_llm.testing.fault_server.ollama import OllamaChat, OllamaEmbed
from resilient_llm.testing.fault_server.openai import OpenAIChat, OpenAIEmbeddings
from resilient_llm.testing.fault_server.reply import Turn
from resilient_llm.transports.lmstudio import decode_native
from resilient_llm.transports.openai_compatible import _count as decode_vllm_count
from resilient_llm.wire import anthropic, ollama, openai
from resilient_llm.wire.assembly import Assembler

if TYPE_CHECKING:
    from collections.abc import Callable

REPLY = Reply(
    "Rhein, Волга",
    reasoning="Hm.",
    calls=[Call("look", {"a": [1, {"b": "ä"}]}), Call("stop")],
    usage=Usage(9, 8, 17, 3, 2),
)
BODY = {"messages": [{"role": "user", "content": "Hi"}], "input": ["a", "b"]}
TURN = Turn(1, "m", BODY | {"stream_options": {"include_usage": True}}, REPLY, 9)
ASKED = Asked("m", 4096, {}, {"model": "m"})
CLAUDE = attrs.evolve(ASKED, headers={"anthropic-version": "1"})
NATIVE = {
    "key": "k",
    "display_name": "K",
    "type": "llm",
    "loaded_instances": [{"config": {"context_length": 9}}],
}


def told(listing: Callable[[Asked], tuple[int, bytes]], asked: Asked = ASKED) -> Any:
    return json.loads(listing(asked)[1])


BODIES: dict[str, tuple[Callable[[bytes], object], Any]] = {
    "openai chat": (openai.decode_chat, json.loads(OpenAIChat("openai").whole(TURN))),
    "openai embeddings": (openai.decode_embeddings, json.loads(OpenAIEmbeddings("openai").whole(TURN))),
    "openai models": (openai.decode_models, told(listings.models)),
    "vllm count": (decode_vllm_count, {"count": 3, "max_model_len": 9}),
    "lmstudio models": (decode_native, {"models": [NATIVE]}),
    "anthropic chat": (anthropic.decode_chat, json.loads(AnthropicMessages("anthropic").whole(TURN))),
    "anthropic models": (anthropic.decode_page, told(listings.models, CLAUDE)),
    "anthropic count": (anthropic.decode_count, told(listings.anthropic_count)),
    "ollama chat": (ollama.decode_chat, json.loads(OllamaChat("ollama").whole(TURN))),
    "ollama embeddings": (ollama.decode_embeddings, json.loads(OllamaEmbed("ollama").whole(TURN))),
    "ollama tags": (ollama.decode_tags, told(listings.tags)),
    "ollama ps": (ollama.decode_ps, told(listings.running)),
    "ollama show": (ollama.decode_show, told(listings.show)),
    "ollama prompt": (ollama.decode_rendered, {"_debug_info": {"rendered_template": "Hi"}}),
}
STREAMS: dict[str, tuple[Callable[[], Any], bytes]] = {
    "openai": (openai.ChatStreamDecoder, OpenAIChat("openai").stream(TURN).all),
    "anthropic": (anthropic.ChatStreamDecoder, AnthropicMessages("anthropic").stream(TURN).all),
    "ollama": (ollama.ChatStreamDecoder, OllamaChat("ollama").stream(TURN).all),
}


@pytest.mark.parametrize("name", BODIES)
def test_the_sound_answer_is_read(name: str):
    """What is spoiled below is sound."""
    decode, sound = BODIES[name]
    assert decode(json.dumps(sound).encode()) is not None


@pytest.mark.parametrize("name", BODIES)
def test_any_wrong_answer(name: str):
    """Each part of a sound one missing or odd: a result whose fields are of their types, or one of the two failures."""
    decode, sound = BODIES[name]
    for wrong in variants(sound):
        _judged(decode, json.dumps(wrong).encode())


@pytest.mark.parametrize("name", BODIES)
@given(data=st.data())
def test_any_damaged_answer(name: str, data: st.DataObject):
    """The same with bytes put in or missing."""
    decode, sound = BODIES[name]
    body = json.dumps(sound).encode()
    begin = data.draw(st.integers(0, len(body)))
    lost = data.draw(st.integers(0, 9))
    _judged(decode, body[:begin] + data.draw(st.binary(max_size=4)) + body[begin + lost :])


def _judged(decode: Callable[[bytes], object], body: bytes) -> None:
    try:
        result = decode(body)
    except (BackendFailure, ModelResponseInvalidError):
        return
    if isinstance(result, Embeddings):
        assert result.vectors, body
        assert all(isinstance(number, float) for vector in result.vectors for number in vector), body
    for model in result if isinstance(result, list) else ():
        assert isinstance(model, ModelInfo)
        told = (model.id, model.name, model.owned_by)
        assert all(isinstance(text, str) for text in told), body
        assert model.context_length is None or isinstance(model.context_length, int), body
    if isinstance(result, int | str):
        assert not isinstance(result, bool), body
    if hasattr(result, "events"):
        _sound(result.events, result.model)


@pytest.mark.parametrize("name", STREAMS)
def test_any_wrong_stream(name: str):
    """Each part of each event missing or odd, each event missing or said twice: typed events, an end or a failure."""
    make, sound = STREAMS[name]
    lines = sound.split(b"\n")
    seen = set()
    for place, line in enumerate(lines):
        head, brace, rest = line.partition(b"{")
        if not brace or (kind := shape(json.loads(brace + rest))) in seen:
            continue
        seen.add(kind)
        others = [head + json.dumps(wrong).encode() for wrong in variants(json.loads(brace + rest))]
        for other in (*others, b"", line + b"\n\n" + line):
            _read(make, b"\n".join([*lines[:place], other, *lines[place + 1 :]]))


def _read(make: Callable[[], Any], wire: bytes) -> None:
    """The same outcome in one piece and in three."""
    third = len(wire) // 3
    outcomes = []
    for pieces in ([wire], [wire[:third], wire[third : 2 * third], wire[2 * third :]]):
        decoder = make()
        events = [event for piece in pieces for event in decoder.feed(piece)] + decoder.eof()
        assert decoder.done != (decoder.failure is not None), wire
        assert decoder.failure is None or isinstance(
            decoder.failure, BackendFailure | ModelResponseInvalidError
        )
        _sound(events, decoder.model)
        outcomes.append((events, repr(decoder.failure)))
    assert outcomes[0] == outcomes[1], wire


def _sound(events: list[Any], model: object) -> None:
    """Every field of every event is of its type, and the assembler can take them."""
    assert isinstance(model, str)
    for event in events:
        for name, value in attrs.asdict(event, recurse=False).items():
            wanted = {"index": int, "usage": Usage}.get(name, str)
            assert isinstance(value, wanted), event
        if hasattr(event, "usage"):
            assert all(value is None or isinstance(value, int) for value in attrs.astuple(event.usage))
    assembler = Assembler(tool_deltas=True)
    assembler.feed(events)
    assert assembler.failure is None or isinstance(assembler.failure, LLMError)
