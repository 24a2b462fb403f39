"""The page of the fault server names all that there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_args

import pytest

from resilient_llm import testing
from resilient_llm.testing.fault_server import floods, routes, words
from resilient_llm.testing.fault_server.faults import Pace
from resilient_llm.testing.fault_server.server import FaultServer

PAGE = (Path(__file__).parents[2] / "docs/reference/fault-server.md").read_text()
FAULTS = sorted(
    name for name in testing.__all__ if hasattr(getattr(testing, name), "play") and name != "Fault"
)
COMMON = set(inspect.signature(Pace).parameters)


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_has_a_row_with_its_options(name: str) -> None:
    """The table's row shows the signature, but for the options that all answers share."""
    kind = getattr(testing, name)
    (row,) = re.findall(rf"^\| `{name}\((.*?)\)` \|", PAGE, re.MULTILINE)
    shared = COMMON if issubclass(kind, Pace) else set()
    assert {word.rstrip("=") for word in row.split(", ") if word} == set(
        inspect.signature(kind).parameters
    ) - shared
    assert all(f"`{option}`" in PAGE for option in shared)


def test_reasons_floods_paths_and_options_are_named() -> None:
    """Every word that a test may use is on the page."""
    options = [name for name in inspect.signature(FaultServer).parameters if name != "schedule"]
    spoken = [path for _, path in (*routes.dialects("openai"), *routes.LISTINGS)]
    said = [*get_args(words.Reason), *get_args(floods.Kind), *spoken, *(f"{option}=" for option in options)]
    assert not [word for word in said if f"`{word}`" not in PAGE]
