"""What every framework is shown, and how it is given a wrapped client."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import pydantic
import pytest

import resilient_llm as rl
from resilient_llm.testing import Call, FaultServer, Reply

RIVERS = "The Rhine, the Elbe, the Danube and some more."
QUESTION = "Name three rivers."


class Weather(pydantic.BaseModel):
    """Tell the weather of a city."""

    city: str


BONN = Reply(calls=[Call("Weather", {"city": "Bonn"})])


def needed(name: str) -> Any:
    """A module of a framework; without it the tests are skipped. What it warns of when imported is its own affair."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError:
            pytest.skip(f"{name} is not installed: nox -s frameworks", allow_module_level=True)


def wrapped(kind: Any, server: FaultServer, **options: Any) -> Any:
    """A client of an SDK for this server, wrapped, with waits that are short."""
    url = server.url if "anthropic" in kind.__module__ else server.base_url
    return kept(kind(base_url=url, api_key="k"), **options)


def kept(client: Any, **options: Any) -> Any:
    """Any client, wrapped, with waits that are short; closed at the test's end."""
    made.append(rl.wrap(client, **quick(options)))
    return made[-1]


made: list[Any] = []
"""What is to be closed at the test's end."""


def quick(options: dict[str, Any]) -> dict[str, Any]:
    """Options with short waits."""
    return {"wait": _soon, "jitter": None, **options}


def _soon() -> Any:
    while True:
        yield 0.01
