"""Target: what it asks for, which stages it has."""

from __future__ import annotations

import pytest

import resilient_llm as rl
from resilient_llm.composition import role_of
from resilient_llm.policy.retry_budget import RetryBudget
from resilient_llm.stages import target_stages
from resilient_llm.targets import OpenTarget
from resilient_llm.testing import ScriptedTransport


class Known(ScriptedTransport):
    """A transport with a model and a window of its own."""

    model = "its-own"

    def context_window(self, model):
        return {"its-own": 1000}.get(model)


def test_a_target_is_called_like_its_transport() -> None:
    """Unless it has a name of its own."""
    transport = ScriptedTransport("hi", name="laptop")
    assert [rl.Target(transport).name, rl.Target(transport, name="spare").name] == ["laptop", "spare"]
    assert "stack" not in repr(rl.Target(transport, stack=[rl.Retry()]))


@pytest.mark.parametrize("transport", ["ollama", None, ScriptedTransport])
def test_what_cannot_be_called_is_no_transport(transport) -> None:
    """A name or a class instead of an object is refused at once."""
    with pytest.raises(TypeError, match="a target's transport is an object"):
        rl.Target(transport)


@pytest.mark.parametrize(
    ("transport", "own", "backend", "expected"),
    [
        (ScriptedTransport("hi", name="b"), "told", "a", "told"),
        (ScriptedTransport("hi", name="a"), "", "a", ""),
        (ScriptedTransport("hi", name="b"), None, "a", ""),
        (ScriptedTransport("hi", name="a"), None, "a", "asked"),
        (ScriptedTransport("hi", name="a"), None, None, ""),
        (Known("hi", name="a"), None, "a", "its-own"),
        (Known("hi", name="a"), "told", "a", "told"),
    ],
)
def test_the_model_that_a_target_is_asked_for(transport, own, backend, expected) -> None:
    """Its own, else its transport's, else the request's of the same kind of backend, else the server's choice."""
    assert rl.Target(transport, model=own).model_for("asked", backend) == expected


def test_the_window_is_the_transports_or_the_published_one() -> None:
    """What the server told goes before the table; what nobody knows is None."""
    target = OpenTarget(rl.Target(Known("hi")), {})
    assert [target.window(model) for model in ("its-own", "gpt-4o", "unheard-of", "")] == [
        1000,
        128_000,
        None,
        None,
    ]
    assert OpenTarget(rl.Target(ScriptedTransport("hi")), {}).window("gpt-4o") == 128_000


def test_a_target_has_the_standard_stages_made_with_the_same_options() -> None:
    """Values are the same; what remembers a backend is its own."""
    first = {
        "breaker": rl.CircuitBreaker(),
        "retry_budget": RetryBudget(),
        "token_budget": rl.TokenBudget(context_window=5),
    }
    target = OpenTarget(
        rl.Target(Known("hi")), {"max_retries": 7, "context_window": 9, "deadline": 1, **first}
    )
    by_role = {role_of(stage): stage for stage in target.stages}
    assert [role_of(stage) for stage in target.stages] == [role_of(stage) for stage in target_stages()]
    assert by_role["retry"].policy.max_retries == 7
    assert by_role["retry"].budget is not first["retry_budget"]
    assert by_role["breaker"] is not first["breaker"]
    assert by_role["token_budget"].context_window("its-own") == 1000
    assert by_role["classifier"].backend == "scripted"


def test_what_the_first_target_does_not_have_the_others_do_not_have() -> None:
    """None switches a stage off for all."""
    options = dict.fromkeys(("breaker", "token_budget", "retry_budget", "rate_limit", "concurrency"))
    target = OpenTarget(rl.Target(ScriptedTransport("hi")), options)
    assert [role_of(stage) for stage in target.stages] == ["retry", "attempt_timeout", "classifier"]
    assert target.stages[0].budget is None


def test_the_stages_of_a_target_are_checked() -> None:
    """An order that cannot work is refused when the target is put to work."""
    with pytest.raises(rl.CompositionError, match="put Retry before CircuitBreaker"):
        OpenTarget(rl.Target(ScriptedTransport("hi"), stack=[rl.CircuitBreaker(), rl.Retry()]), {})
