"""Which call meets which fault, from draws that are given."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_llm.policy.fault_plan import FaultPlan


class Draws:
    """Numbers in order; `uniform` is told its bounds."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)

    def random(self) -> float:
        return self.numbers.pop(0)

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self.numbers.pop(0)


@pytest.mark.parametrize(
    ("hit", "which", "fault"),
    [
        (0.0, 0.0, "a"),
        (0.29, 0.49, "a"),
        (0.29, 0.5, "b"),
        (0.0, 0.999, "b"),
        (0.3, 0.0, None),
        (0.9, 0.9, None),
    ],
)
def test_a_share_of_the_calls_meets_each_fault_as_often_as_the_others(hit, which, fault) -> None:
    """The first draw says whether, the second which."""
    assert FaultPlan(rate=0.3, faults="ab").fault(1, Draws(hit, which)) == fault


@given(st.floats(0, 1), st.integers(0, 2**32))
@settings(max_examples=10, deadline=None)
def test_the_rate_is_kept(rate, seed) -> None:
    """Of two thousand calls about the share that was asked for, whatever it is."""
    plan = FaultPlan(rate=rate, faults=["a"])
    hits = sum(plan.fault(1, random.Random(f"{seed}:{number}")) is not None for number in range(2000))
    assert abs(hits / 2000 - rate) < 0.08
    assert rate not in {0, 1} or hits == 2000 * rate


def test_a_script_is_followed_and_its_last_line_repeated() -> None:
    """Draws play no part in it."""
    plan = FaultPlan(script=["a", None, "b"])
    assert [plan.fault(number, Draws()) for number in range(1, 6)] == ["a", None, "b", "b", "b"]


def test_nothing_is_planned_by_default() -> None:
    """No fault, no latency."""
    assert FaultPlan().fault(1, Draws(0.0, 0.0)) is None
    assert FaultPlan().seconds(Draws()) == 0.0


@pytest.mark.parametrize(
    ("latency", "seconds"),
    [(1.5, 1.5), ((1.0, 3.0), 1.5), (lambda chance: chance.random() * 100, 25.0), (lambda chance: -1.0, 0.0)],
)
def test_latency_is_fixed_or_drawn(latency, seconds) -> None:
    """A number, a pair of bounds, or a function of the draws that is never less than nothing."""
    assert FaultPlan(latency=latency).seconds(Draws(0.25)) == seconds


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"rate": -0.1, "faults": "a"}, "rate"),
        ({"rate": 1.1, "faults": "a"}, "rate"),
        ({"rate": True, "faults": "a"}, "rate"),
        ({"rate": math.nan, "faults": "a"}, "rate"),
        ({"rate": "1", "faults": "a"}, "rate"),
        ({"rate": 0.5}, "errors"),
        ({"rate": 0.5, "faults": "a", "script": "a"}, "not both"),
        ({"latency": -1.0}, "latency"),
        ({"latency": (2.0, 1.0)}, "latency"),
        ({"latency": (1.0, 2.0, 3.0)}, "latency"),
        ({"latency": (-1.0, 2.0)}, "latency"),
        ({"latency": math.inf}, "latency"),
        ({"latency": "1"}, "latency"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, named) -> None:
    """The message names the option."""
    with pytest.raises(ValueError, match=named):
        FaultPlan(**options)
