"""Which requests are equal, and which are the same call."""

from __future__ import annotations

import json
import math
from types import MappingProxyType

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_llm.errors import ModelUnavailableError
from resilient_llm.models import Request
from resilient_llm.policy.request_key import INDIFFERENT, answer_key, call_key, repeatable
from resilient_llm.request import Extensions

ASK = Request("chat", ({"role": "user", "content": "Hello"},), "m", params={"temperature": 0})

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def shape(value: object) -> object:
    """An independent reading of what is equal: kinds count, the order of keys does not."""
    if isinstance(value, dict):
        return ("object", frozenset((key, shape(item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return ("array", tuple(map(shape, value)))
    return (type(value).__name__, repr(value))


def with_params(**params: object) -> Request:
    return attrs.evolve(ASK, params=params)


@given(values, values)
@settings(max_examples=50, deadline=None)
def test_keys_are_equal_just_if_the_parameters_are(one, other) -> None:
    """No two different values share a key, and equal ones do."""
    same = answer_key(with_params(x=one)) == answer_key(with_params(x=other))
    assert same == (shape(one) == shape(other))


@given(st.dictionaries(st.text(max_size=3), values, max_size=4), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_the_order_of_keys_does_not_matter(params, rng) -> None:
    """A mapping written in another order is the same mapping; tuples and lists are the same array."""
    shuffled = list(params.items())
    rng.shuffle(shuffled)
    assert answer_key(with_params(**params)) == answer_key(with_params(**dict(shuffled)))
    assert answer_key(with_params(x=[1, [2]])) == answer_key(with_params(x=(1, (2,))))


def test_a_key_shows_nothing_and_stays_the_same() -> None:
    """64 hexadecimal digits, the same in every process and version: stored answers are found again."""
    assert answer_key(ASK) == "23f566186a0b8fa5991f7330ae4910b7fa76b6aad830713f88a64cedd1698b57"


@pytest.mark.parametrize(
    "other",
    [
        attrs.evolve(ASK, operation="embed"),
        attrs.evolve(ASK, model="n"),
        attrs.evolve(ASK, messages=({"role": "user", "content": "Hi"},)),
        attrs.evolve(ASK, messages=({"role": "user", "content": "Hello", "name": "Ada"},)),
        attrs.evolve(ASK, messages=(*ASK.messages, *ASK.messages)),
        attrs.evolve(ASK, params={"temperature": 0, "tools": []}),
        attrs.evolve(ASK, extensions=Extensions(body={"top_k": 1})),
        attrs.evolve(ASK, extensions=Extensions(query={"version": "2"})),
        attrs.evolve(ASK, extensions={"of_ones_own": 1}),
    ],
)
def test_what_decides_the_answer_is_in_the_key(other) -> None:
    """Operation, model, messages, parameters, extra body and query, and whatever else nobody knows to be harmless."""
    assert answer_key(other) is not None
    assert answer_key(other) != answer_key(ASK)
    assert call_key(other) != call_key(ASK)
    assert answer_key(other) != answer_key(other, "elsewhere")


def test_what_leaves_the_answer_alone_is_not_in_the_key() -> None:
    """Streaming, deadlines, attempts, limits, headers: the answer is the same."""
    extensions: dict[str, object] = dict.fromkeys(INDIFFERENT, 1)
    other = attrs.evolve(ASK, stream=True, deadline=5.0, attempt=2, extensions=extensions, observers=(print,))
    assert answer_key(other) == answer_key(ASK)


def test_a_call_is_the_same_only_with_the_same_headers_and_limits() -> None:
    """Another caller's key or patience is another call; its deadline is not."""
    for options in ({"headers": {"Authorization": "Bearer b"}}, {"max_retries": 0}, {"attempt_timeout": 1.0}):
        assert call_key(attrs.evolve(ASK, extensions=Extensions(**options))) != call_key(ASK)
    assert call_key(attrs.evolve(ASK, deadline=5.0, extensions=Extensions(max_wait=1.0))) == call_key(ASK)


class Opaque:
    """Nothing that JSON can say."""


cycle: list[object] = []
cycle.append(cycle)
deep: object = None
for _ in range(100_000):
    deep = [deep]


@pytest.mark.parametrize(
    "value",
    [Opaque(), b"bytes", {1, 2}, math.nan, math.inf, cycle, deep, {1: 1, "1": 2}],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_say_has_no_key(value) -> None:
    """Such a request is neither remembered nor shared, and nothing is raised."""
    assert answer_key(with_params(x=value)) is None
    assert call_key(with_params(x=value)) is None
    assert answer_key(attrs.evolve(ASK, messages=({"role": "user", "content": value},))) is None


def test_any_mapping_is_a_mapping() -> None:
    """Read-only views and the like are written as what they are."""
    assert answer_key(with_params(x=MappingProxyType({"a": 1}))) == answer_key(with_params(x={"a": 1}))


def test_recoveries_and_other_operations_have_no_key() -> None:
    """A request that goes on with a broken answer, and lists of models, are nobody else's."""
    recovering = attrs.evolve(ASK, extensions=Extensions(recovers=ModelUnavailableError("cut")))
    for request in (recovering, Request("models"), Request("raw", params={"path": "x"})):
        assert answer_key(request) is None
        assert call_key(request) is None


def test_half_a_surrogate_pair_does_no_harm() -> None:
    """Text that is no UTF-8 has a key like any other."""
    assert answer_key(with_params(x="\ud800")) not in {None, answer_key(with_params(x="\ud801"))}


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (ASK, True),
        (with_params(temperature=0.0), True),
        (with_params(temperature=0.1), False),
        (with_params(), False),
        (with_params(temperature=None), False),
        (Request("embed", params={"input": ["a"]}), True),
        (attrs.evolve(ASK, extensions=Extensions(body={"temperature": 1})), False),
        (attrs.evolve(with_params(), extensions=Extensions(body={"temperature": 0})), True),
    ],
)
def test_temperature_0_and_embeddings_are_repeatable(request_, expected) -> None:
    """The extra body has the last word on the temperature, as it has in what is sent."""
    assert repeatable(request_) is expected


def test_json_is_what_keys_are_made_of() -> None:
    """A round trip through JSON, as a wrapped client or a queue does it, changes no key."""
    assert answer_key(with_params(**json.loads(json.dumps({"a": [1, 2.5, None, True, "ü"]})))) == answer_key(
        with_params(a=(1, 2.5, None, True, "ü"))
    )
