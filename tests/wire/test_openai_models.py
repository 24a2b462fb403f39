"""Lists of models."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError
from resilient_llm.models import ModelInfo
from resilient_llm.wire.openai import decode_models


def models(*entries: Any) -> list[ModelInfo]:
    return decode_models(json.dumps({"object": "list", "data": entries}).encode())


def test_openai():
    """OpenAI tells the id and the owner; the rest is unknown."""
    entry = {"id": "gpt-4o", "object": "model", "owned_by": "system"}
    assert models(entry) == [ModelInfo("gpt-4o", owned_by="system", kind="chat", raw=entry)]


@pytest.mark.parametrize(
    "entry",
    [{"context_length": 8192}, {"max_model_len": 8192}, {"meta": {"n_ctx_train": 9, "n_ctx": 8192}},
     {"context_window": 8192}, {"loaded_context_length": 8192, "max_context_length": 40960}],
)  # fmt: skip
def test_window(entry: dict[str, Any]):
    """The window in use is read wherever a backend tells it."""
    assert models({"id": "m", **entry})[0].context_length == 8192


@pytest.mark.parametrize(
    "entry", [{"max_model_len": None}, {"meta": {"n_ctx_train": 9}}, {"meta": {"n_ctx": 0}}]
)
def test_window_not_told(entry: dict[str, Any]):
    """What the model was trained for is not the window in use."""
    assert models({"id": "m", **entry})[0].context_length is None


@pytest.mark.parametrize(
    ("entry", "loaded"),
    [({"state": "loaded"}, True), ({"state": "not-loaded"}, False), ({"status": {"value": "loaded"}}, True),
     ({"status": {"value": "sleeping"}}, False), ({}, None)],
)  # fmt: skip
def test_loaded(entry: dict[str, Any], loaded: bool | None):
    """Where a backend tells whether the model is in memory, that is read."""
    assert models({"id": "m", **entry})[0].loaded is loaded


@pytest.mark.parametrize(
    ("name", "kind"),
    [("text-embedding-3-small", "embedding"), ("nomic-embed-text-v1.5", "embedding"), ("whisper-1", "other"),
     ("gpt-image-1", "other"), ("bge-reranker-v2", "other"), ("Qwen3-8B", "chat")],
)  # fmt: skip
def test_kind_by_name(name: str, kind: str):
    """The kind is guessed from the name."""
    assert models({"id": name})[0].kind == kind


@pytest.mark.parametrize(("told", "kind"), [("vlm", "chat"), ("embeddings", "embedding"), ("model", "chat")])
def test_kind_as_told(told: str, kind: str):
    """A kind that the backend tells wins over the name."""
    assert models({"id": "m", "type": told})[0].kind == kind
    assert models({"id": "an-embedder", "type": "llm"})[0].kind == "chat"


def test_names():
    """Names for people and owners are read under several keys."""
    info = models({"id": "m", "display_name": "M", "publisher": "acme"})[0]
    assert (info.name, info.owned_by) == ("M", "acme")


@pytest.mark.parametrize("body", [b'[{"id":"m"}]', b'{"models":[{"id":"m"},{"id":""},{},null]}'])
def test_other_lists(body: bytes):
    """A bare list and a list named `models` are read; entries without an id are not."""
    assert [info.id for info in decode_models(body)] == ["m"]


def test_no_models():
    """A server without a model has an empty list."""
    assert models() == []


@pytest.mark.parametrize("body", [b"", b"{}", b"3", b'{"data":{}}', b"<html>"])
def test_no_list(body: bytes):
    """What holds no list is no answer."""
    with pytest.raises(ModelResponseInvalidError):
        decode_models(body)


def test_error_with_status_200():
    """An error in the body goes to the classifier."""
    with pytest.raises(BackendFailure):
        decode_models(b'{"error":"Unexpected endpoint or method. (GET /models)"}')


@given(st.binary(max_size=40))
def test_any_bytes(body: bytes):
    """Any bytes are a list or one of the two failures."""
    with suppress(BackendFailure, ModelResponseInvalidError):
        assert isinstance(decode_models(body), list)
