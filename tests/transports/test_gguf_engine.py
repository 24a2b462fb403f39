"""The engine for GGUF files, over a module that stands in for xllamacpp."""

from __future__ import annotations

import json
import os
import sys
from http.client import HTTPException
from types import SimpleNamespace
from typing import Any

import pytest
from transports.answers import USAGE, delta, stop

from resilient_llm.errors import (
    BackendFailure,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelResponseInvalidError,
    ModelUnavailableError,
)
from resilient_llm.events import Finish, Result, TextDelta
from resilient_llm.models import Request
from resilient_llm.transports import gguf_engine
from resilient_llm.transports.engine import ModelFile

HI = Request(messages=[{"role": "user", "content": "Hi"}])
ANSWER = [delta("Rhi"), delta("ne"), stop(), USAGE]


class Binding:
    """xllamacpp as far as it is used; its listener's answers come from `listener`."""

    llama_pooling_type = SimpleNamespace(LLAMA_POOLING_TYPE_MEAN=1)

    def __init__(self) -> None:
        self.params: Any = None
        self.bodies: list[Any] = []
        self.chunks: list[Any] = ANSWER
        self.handed = 0
        self.refusal: Exception | None = None
        self.listener: dict[str, Any] = {"/props": (200, {"default_generation_settings": {"n_ctx": 512}})}
        self.asked: list[tuple[str, Any, str]] = []

    def CommonParams(self) -> Any:  # noqa: N802 - xllamacpp's name
        return SimpleNamespace(
            model=SimpleNamespace(), cpuparams=SimpleNamespace(), cpuparams_batch=SimpleNamespace()
        )

    def Server(self, params: Any) -> Any:  # noqa: N802 - xllamacpp's name
        if self.refusal is not None:
            raise self.refusal
        self.params = params
        self.listening_address = "http://127.0.0.1:7"
        return self

    def handle_chat_completions(self, body: bytes, take: Any) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.bodies.append(json.loads(body))
        for chunk in self.chunks:
            self.handed += 1
            if take(json.dumps(chunk).encode()):
                return

    def handle_embeddings(self, body: bytes) -> bytes:
        self.bodies.append(json.loads(body))
        return json.dumps(self.chunks.pop(0)).encode()

    # The listener ...

    def __call__(self, host: str, port: int, timeout: float) -> Any:
        assert (host, port) == ("127.0.0.1", 7)
        return self

    def request(self, method: str, path: str, data: bytes | None, headers: dict[str, str]) -> None:
        self.asked.append((path, None if data is None else json.loads(data), headers["Authorization"]))

    def getresponse(self) -> Any:
        answer = self.listener[self.asked[-1][0]]
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(status=answer[0], read=lambda: json.dumps(answer[1]).encode())

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def binding(monkeypatch):
    binding = Binding()
    monkeypatch.setitem(sys.modules, "xllamacpp", binding)
    monkeypatch.setattr(gguf_engine, "HTTPConnection", binding)
    return binding


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "river.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    return ModelFile(path)


@pytest.fixture
def engine(binding, file):
    return file.load()


def events_of(engine, request=HI, stop_after=99):
    seen = []

    def emit(events):
        seen.extend(events)
        return len(seen) >= stop_after

    engine.chat(request, emit)
    return seen


def test_a_chat_is_read_like_a_stream(engine, binding):
    """Text, usage and end; the body is a stream's, with progress so that it can be stopped in the prompt."""
    events = events_of(engine, Request(messages=HI.messages, params={"max_tokens": 3}))
    assert events[:2] == [TextDelta("Rhi"), TextDelta("ne")]
    assert events[-1] == Finish("stop")
    (body,) = binding.bodies
    assert body["stream"] is body["return_progress"] is True
    assert (body["max_tokens"], "cache_prompt" in body) == (3, False)


def test_a_seed_asks_for_the_same_answer_again(engine, binding):
    """A prompt that was evaluated in part before would change the numbers."""
    events_of(engine, Request(messages=HI.messages, params={"seed": 1}))
    assert binding.bodies[0]["cache_prompt"] is False


def test_functions_go_as_tools_and_come_back_as_a_function_call(engine, binding):
    """llama.cpp would drop the old kind without a word."""
    call = {"index": 0, "id": "call_1", "function": {"name": "rain", "arguments": "{}"}}
    binding.chunks = [{"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}]
    events = events_of(engine, Request(messages=HI.messages, params={"functions": [{"name": "rain"}]}))
    assert binding.bodies[0]["tools"] == [{"type": "function", "function": {"name": "rain"}}]
    assert "functions" not in binding.bodies[0]
    assert events[-1] == Finish("function_call")


def test_it_stops_when_nobody_wants_more(engine, binding):
    """At the very piece."""
    events_of(engine, stop_after=1)
    assert binding.handed == 1


def test_an_overflow_is_left_to_the_classifier(engine, binding):
    """As a stream's failure."""
    error = {"error": {"code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 5}}
    binding.chunks = [error]
    with pytest.raises(BackendFailure) as caught:
        events_of(engine)
    assert "exceed_context_size_error" in str(caught.value.body)


def test_what_ends_without_a_reason_is_invalid(engine, binding):
    """A stream that llama.cpp cut short."""
    binding.chunks = [{"choices": [{"index": 0, "delta": {"content": "Rhi"}, "finish_reason": None}]}]
    with pytest.raises(ModelResponseInvalidError):
        events_of(engine)


def test_what_the_binding_refuses_is_an_invalid_request(engine, binding):
    """Before anything was asked of the model."""
    binding.refusal = ValueError("'tools' is not allowed")
    with pytest.raises(ModelInvalidRequestError, match="not allowed"):
        events_of(engine)


def test_embeddings_are_made_text_by_text(engine, binding):
    """In order, their tokens added up, stopped in between."""
    binding.chunks = [
        {"model": "m", "data": [{"embedding": [float(i)], "index": 0}], "usage": {"prompt_tokens": 2}}
        for i in range(5)
    ]
    seen = []
    engine.embed(["a", "b"], lambda events: seen.extend(events) or False)
    result = next(event.value for event in seen if isinstance(event, Result))
    assert (result.vectors, result.usage.prompt_tokens) == ([[0.0], [1.0]], 4)
    engine.embed(["a", "b"], lambda events: True)
    assert [body["input"] for body in binding.bodies] == [["a"], ["b"], ["a"]]


def test_tokens_are_counted_by_the_listener_with_its_key(engine, binding):
    """A text bare, a conversation with its template and tools."""
    binding.listener["/tokenize"] = (200, {"tokens": [1, 2]})
    binding.listener["/v1/chat/completions/input_tokens"] = (200, {"input_tokens": 31})
    assert (engine.count("Hi", None), engine.count(HI.messages, [{"type": "function"}])) == (2, 31)
    assert binding.asked[1][1] == {"content": "Hi", "add_special": False, "parse_special": False}
    assert binding.asked[2][1] == {"messages": HI.messages, "tools": [{"type": "function"}]}
    assert {key for _, _, key in binding.asked} == {f"Bearer {binding.params.api_keys[0]}"}
    assert len(binding.params.api_keys[0]) > 30
    assert binding.params.hostnames == ["127.0.0.1"]


def test_a_listener_that_refuses_or_is_gone_is_told(engine, binding):
    """By its status, or as unavailable."""
    binding.listener["/tokenize"] = (400, {"error": {}})
    with pytest.raises(BackendFailure):
        engine.count("Hi", None)
    binding.listener["/tokenize"] = HTTPException("gone")
    with pytest.raises(ModelUnavailableError):
        engine.count("Hi", None)


@pytest.mark.parametrize(
    ("prompt", "goes_on"), [("user: Hi\nassistant: The Rhi", True), ("The Rhi</s>", False)]
)
def test_an_answer_is_gone_on_with_if_the_template_does(engine, binding, prompt, goes_on):
    """Else it is refused: a new answer would be glued to the old one."""
    binding.listener["/apply-template"] = (200, {"prompt": prompt})
    request = Request(messages=HI.messages, stream=True, extensions={"resume_from": "The Rhi"})
    if goes_on:
        assert events_of(engine, request)[-1] == Finish("stop")
        assert binding.bodies[0]["messages"][-1] == {"role": "assistant", "content": "The Rhi"}
        assert binding.bodies[0]["continue_final_message"] is True
    else:
        with pytest.raises(ModelInvalidRequestError, match="begun"):
            events_of(engine, request)


def test_options_reach_the_engine(binding, file, monkeypatch):
    """Window and threads; without them the window is bounded, and some cores are left for others."""
    assert file.load().window == 512
    assert binding.params.n_ctx == 8192
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    file.load()
    assert binding.params.cpuparams.n_threads == binding.params.cpuparams_batch.n_threads == 4
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(1))
    file.load()
    assert binding.params.cpuparams.n_threads == 1
    ModelFile(file.path, 128, 2).load()
    assert (binding.params.n_ctx, binding.params.cpuparams.n_threads) == (128, 2)


def test_a_file_that_llama_cpp_does_not_load_is_told(binding, file):
    """With what may be wrong with it."""
    binding.refusal = RuntimeError("Failed to init server")
    with pytest.raises(ModelNotFoundError, match="pip install -U xllamacpp"):
        file.load()
