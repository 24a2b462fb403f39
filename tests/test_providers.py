"""Providers by name: parameters, defaults, refusals, providers of one's own."""

from __future__ import annotations

import copy
import pickle

import attrs
import pytest

import resilient_llm as rl
from resilient_llm.providers import KINDS
from resilient_llm.testing import Stall

CONTEXT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def create(name: str, **parameters) -> rl.LLMProvider:
    return rl.LLMBackendAdapter().create_provider(name, parameters)


def test_a_provider_answers_prompts(fault_server) -> None:
    """With and without a conversation before the prompt; the parameters are in the requests."""
    parameters = {"model": "m", "max_tokens": 7, "temperature": 0.3, "api_key": "sk-one"}
    with create("lmstudio", api_base=fault_server.base_url, **parameters) as provider:
        assert provider.generate("Hello", stop=["."]).endswith("Hello")
        assert provider.generate_with_context("Tell me a joke", CONTEXT, max_tokens=9).endswith("joke")
        first, second = (seen.body for seen in fault_server.requests)
        assert (first["model"], first["max_tokens"], first["temperature"]) == ("m", 7, 0.3)
        assert first["stop"] == ["."]
        assert (len(second["messages"]), second["max_tokens"]) == (3, 9)
        assert fault_server.requests[0].headers["authorization"] == "Bearer sk-one"


def test_a_config_does_as_well() -> None:
    """A name and parameters in one value; not given twice."""
    config = rl.LLMProviderConfig(provider_type="offline", parameters={"max_tokens": 3})
    adapter = rl.LLMBackendAdapter()
    with adapter.create_provider(config) as provider:
        assert len(provider.generate("Hello").split()) == 3
    with pytest.raises(TypeError, match="not both"):
        adapter.create_provider(config, {})


def test_lm_studio_has_its_users_defaults(fault_server) -> None:
    """1024 tokens; `local_model` is whichever is loaded, unless nothing is to be selected."""
    for parameters in (
        {},
        {"model": "local_model"},
        {"model": "local_model", "auto_select_model": False},
    ):
        with create("lmstudio", base_url=fault_server.base_url, **parameters) as provider:
            provider.generate("Hello")
    with create("lmstudio", api_base=fault_server.base_url, auto_select_model=False) as provider:
        provider.generate("Hello")
    asked = [seen.body["model"] for seen in fault_server.requests]
    assert "local_model" not in asked[:2]
    assert asked[2:] == ["local_model", "local_model"]
    assert [seen.body["max_tokens"] for seen in fault_server.requests] == [1024] * 4


def test_ollama_is_a_provider_like_any_other(fault_server) -> None:
    """Its parameters become its options; an address with `/v1` does as well."""
    parameters = {"model": "m", "max_tokens": 7, "temperature": 0.3}
    with create("ollama", api_base=f"{fault_server.url}/v1", **parameters) as provider:
        assert provider.generate("Hello").endswith("Hello")
    (seen,) = fault_server.requests
    assert (seen.path, seen.body["options"]) == ("/api/chat", {"num_predict": 7, "temperature": 0.3})


def test_the_automatic_provider_looks_around(fault_server, monkeypatch) -> None:
    """The variables of the servers' users name where."""
    nobody = "http://127.0.0.1:9"
    monkeypatch.setenv("LMSTUDIO_URL", nobody)
    monkeypatch.setenv("OLLAMA_HOST", fault_server.url)
    with create("auto", max_tokens=7) as provider:
        assert provider.client.complete("Hello").backend == "ollama"


def test_anthropic_is_a_provider_like_any_other(fault_server, monkeypatch) -> None:
    """Its key from the parameters or the environment, its address, model, limits; a conversation with it."""
    parameters = {"model": "claude-haiku-4-5", "max_tokens": 7, "temperature": 0.3, "timeout": 5}
    with create("anthropic", api_base=fault_server.url, api_key="sk-one", **parameters) as provider:
        assert provider.generate("Hello").endswith("Hello")
        assert provider.generate_with_context("Tell me a joke", CONTEXT).endswith("joke")
        first, second = fault_server.requests
        sent = {name: first.body[name] for name in ("model", "max_tokens", "temperature")}
        assert sent == {name: parameters[name] for name in sent}
        assert first.headers["x-api-key"] == "sk-one"
        assert len(second.body["messages"]) == 3
    with pytest.raises(rl.ModelAuthError, match="ANTHROPIC_API_KEY"):
        create("anthropic", **parameters)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-two")
    create("anthropic", **parameters).close()


@pytest.mark.faults(Stall())
def test_the_timeout_bounds_an_attempt(fault_server) -> None:
    """In seconds, for answers that come whole and for the first token of a stream."""
    options = {"api_base": fault_server.base_url, "timeout": 0.1, "max_retries": 0}
    with create("openai-compatible", **options) as provider:
        with pytest.raises(rl.ModelTimeoutError):
            provider.generate("Hello", model="m")
        with pytest.raises(rl.ModelTimeoutError):
            provider.client.stream("Hello", model="m").__enter__()


def test_a_long_timeout_moves_the_deadline() -> None:
    """Else the deadline would cut an attempt that was given longer."""
    with create("offline", timeout=1800) as provider:
        assert [
            stage.seconds for stage in provider.client.pipeline.middleware if isinstance(stage, rl.Deadline)
        ] == [1800]
    with create("offline", timeout=1800, deadline=5) as provider:
        assert provider.client.pipeline.middleware[1].seconds == 5


def test_the_automatic_provider_takes_an_address(fault_server) -> None:
    """Whatever is there."""
    with create("auto", api_base=fault_server.base_url) as provider:
        assert provider.generate("Hello").endswith("Hello")


@pytest.mark.parametrize(
    ("name", "parameters", "problem"),
    [
        ("lm-studio", {}, "unknown provider 'lm-studio'; known are .*auto, .*lmstudio, mine"),
        ("lmstudio", {"api_bse": "http://a"}, "unknown parameter 'api_bse', known are api_base, "),
        ("lmstudio", {"max_tokens": "many"}, "max_tokens must be a whole number above 0, not 'many'"),
        (
            "lmstudio",
            {"max_tokens": 0, "timeout": -1},
            "max_tokens must .*; timeout must be a number of seconds",
        ),
        ("lmstudio", {"temperature": True}, "temperature must be a number"),
        ("lmstudio", {"auto_select_model": "yes"}, "auto_select_model must be true or false"),
        ("lmstudio", {"api_base": "localhost"}, "api_base must be an absolute URL"),
        ("lmstudio", {"api_key": 5}, "api_key must be a text or a function that gives one, not int"),
        ("lmstudio", {"headers": "a: b"}, "headers must be a mapping, not str"),
        ("openai-compatible", {}, "api_base is missing"),
        ("offline", {"max_retries": -1}, "max_retries"),
        ("openai", {}, "OPENAI_API_KEY"),
    ],
)
def test_what_cannot_be_is_named(name, parameters, problem) -> None:
    """The provider, the parameter, what was given, and what would be accepted."""
    adapter = rl.LLMBackendAdapter()
    adapter.register("mine", create)
    with pytest.raises((rl.LLMError, ValueError), match=problem):
        adapter.create_provider(name, parameters)


def test_none_counts_as_not_given() -> None:
    """As configurations without a value have it."""
    with create("offline", **dict.fromkeys(KINDS)) as provider:
        assert provider.generate("Hello")


def test_no_key_is_shown() -> None:
    """Neither by a config, nor a provider, nor an error."""
    parameters = {
        "api_key": "sk-secret",
        "headers": {"x-key": "secret"},
        "password": "secret",
        "api_base": "http://me:secret@a/v1",
        "model": "m",
    }
    config = rl.LLMProviderConfig("lmstudio", parameters)
    assert "secret" not in repr(config)
    assert "'model': 'm'" in repr(config)
    with pytest.raises(rl.ModelInvalidRequestError) as caught:
        rl.LLMBackendAdapter().create_provider("lmstudio", {**parameters, "api_base": "me:secret@a"})
    assert "secret" not in str(caught.value)
    with create("lmstudio", api_key="sk-secret") as provider:
        assert "secret" not in repr(provider)


def test_a_config_is_a_value() -> None:
    """It keeps its parameters as they were, compares, copies, pickles."""
    parameters = {"model": "m"}
    config = rl.LLMProviderConfig("lmstudio", parameters)
    parameters["model"] = "n"
    assert config.parameters == {"model": "m"}
    assert config == copy.copy(config) == pickle.loads(pickle.dumps(config))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        config.provider_type = "openai"


def test_providers_of_ones_own() -> None:
    """A factory is registered under a name with one adapter; it gets the parameters as they are."""
    seen = []

    def factory(parameters) -> rl.LLMProvider:
        seen.append(parameters)
        return create("offline")

    adapter = rl.LLMBackendAdapter()
    adapter.register("mine", factory)
    with adapter.create_provider("mine", {"colour": "red"}) as provider:
        assert provider.generate("Hello")
    assert seen == [{"colour": "red"}]
    with pytest.raises(rl.ModelInvalidRequestError, match="unknown provider"):
        create("mine")
