"""Ollama's lists of models."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError
from resilient_llm.models import ModelInfo
from resilient_llm.wire.ollama import decode_ps, decode_show, decode_tags, full_name, with_state
from resilient_llm.wire.ollama_models import Details


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def tags(*entries: Any) -> list[ModelInfo]:
    return decode_tags(encoded({"models": entries}))


def test_a_model():
    """The name to ask for has its tag, the name for people may do without."""
    entry = {"name": "llama3.2:latest", "model": "llama3.2:latest", "details": {"family": "llama"}}
    assert tags(entry) == [ModelInfo("llama3.2:latest", name="llama3.2", kind="chat", raw=entry)]
    assert tags({"name": "qwen3"})[0].id == "qwen3:latest"
    assert tags({}, None, {"name": 3})[0].id == "3:latest"


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ({"capabilities": ["completion", "tools"]}, "chat"),
        ({"capabilities": ["embedding"]}, "embedding"),
        ({"capabilities": ["image"]}, "other"),
        ({"capabilities": []}, "chat"),
        ({"capabilities": "embedding"}, "chat"),
        ({"details": {"family": "nomic-bert"}}, "embedding"),
        ({"name": "qwen3-embedding:8b"}, "embedding"),
        ({}, "chat"),
    ],
)
def test_kinds(entry: dict[str, Any], kind: str):
    """Told by capabilities, else guessed from family and name."""
    assert tags({"name": "m", **entry})[0].kind == kind


def test_models_in_the_cloud_are_always_loaded():
    """Their host is who owns them."""
    cloud = tags({"name": "gpt-oss:120b-cloud", "remote_host": "https://ollama.com:443"})
    assert [(model.loaded, model.owned_by) for model in with_state(cloud, {})] == [
        (True, "https://ollama.com:443")
    ]


def test_state_and_window():
    """What is loaded has a window; the rest is not loaded."""
    body = {"models": [{"model": "a:latest", "context_length": 4096}, {"name": "b", "context_length": 0}]}
    loaded = decode_ps(encoded(body))
    assert loaded == {"a:latest": 4096, "b:latest": None}
    models = with_state(tags({"name": "a"}, {"name": "b"}, {"name": "c"}), loaded)
    assert [(model.id, model.loaded, model.context_length) for model in models] == [
        ("a:latest", True, 4096),
        ("b:latest", True, None),
        ("c:latest", False, None),
    ]


@pytest.mark.parametrize(
    ("model", "full"),
    [
        ("a", "a:latest"),
        ("a:8b", "a:8b"),
        ("hf.co/x/y", "hf.co/x/y:latest"),
        ("box:5000/a", "box:5000/a:latest"),
        ("", ""),
    ],
)
def test_full_names(model: str, full: str):
    """A name without a tag means the latest; a port is no tag."""
    assert full_name(model) == full


@pytest.mark.parametrize(
    ("answer", "details", "window"),
    [
        (
            {
                "model_info": {
                    "general.architecture": "qwen3",
                    "qwen3.context_length": 40960,
                    "x.context_length": 1,
                },
                "parameters": 'num_ctx                        8192\nstop "<|im_end|>"',
                "capabilities": ["completion"],
            },
            Details(8192, 40960, "chat"),
            8192,
        ),
        (
            {"model_info": {"llama.context_length": 2048}, "parameters": "num_ctx 8192"},
            Details(8192, 2048),
            2048,
        ),
        ({"model_info": {"general.architecture": "x", "y.context_length": 5}}, Details(None, 5), None),
        ({"parameters": "num_ctx many"}, Details(), None),
        ({"parameters": "top_k 5"}, Details(), None),
        ({"model_info": {"a.context_length": 0, "b.context_length": 7}}, Details(None, 7), None),
        ({"parameters": "num_ctx 4096", "model_info": None}, Details(4096), 4096),
        ({}, Details(), None),
    ],
)
def test_details(answer: Any, details: Details, window: int | None):
    """The window is the Modelfile's, but never beyond what the model was trained for; else it is not known."""
    assert decode_show(encoded(answer)) == details
    assert details.window == window


def test_an_empty_list():
    """Go writes null for a list without entries."""
    assert decode_tags(b'{"models":null}') == decode_tags(b'{"models":[]}') == []
    assert decode_ps(b'{"models":null}') == {}


@pytest.mark.parametrize(
    "body", [b"{}", b"<html>", b'{"data":[]}', b'{"models":3}', b"[]", b'{"version":"0.5"}']
)
def test_what_is_no_list(body: bytes):
    """Another server's answer is not taken for an empty list."""
    for decode in (decode_tags, decode_ps):
        with pytest.raises(ModelResponseInvalidError):
            decode(body)


def test_errors():
    """They are the classifier's."""
    for decode in (decode_tags, decode_ps, decode_show):
        with pytest.raises(BackendFailure):
            decode(b'{"error":"unauthorized"}')


FIELDS = st.sampled_from(
    [
        "models",
        "model",
        "name",
        "details",
        "family",
        "capabilities",
        "context_length",
        "model_info",
        "general.architecture",
        "a.context_length",
        "parameters",
        "remote_host",
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["a", "num_ctx 5", "\ud83d", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5),
    max_leaves=20,
)


@given(VALUES.map(encoded) | st.binary(max_size=30))
def test_any_bytes(body: bytes):
    """A list, an error of the backend, or an invalid response; never anything else."""
    for decode in (decode_tags, decode_ps, decode_show):
        with suppress(BackendFailure, ModelResponseInvalidError):
            decode(body)
