"""Importing the package."""

from __future__ import annotations

import subprocess
import sys

import pytest

from resilient_llm import tokens


def test_importing_loads_nothing():
    """Neither tiktoken nor any module of the package is loaded before it is used."""
    program = (
        "import sys, resilient_llm\n"
        "before = set(sys.modules)\n"
        "import resilient_llm.tokens\n"
        "loaded = set(sys.modules) - before\n"
        "print(sorted(name for name in loaded if name.startswith(('resilient_llm.', 'tiktoken', 'attr'))))\n"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() in {"['resilient_llm.tokens']", "[]"}


def test_every_exported_name_is_there():
    """The lazy table and the list of exports agree."""
    assert sorted(tokens.__all__) == tokens.__all__
    assert all(getattr(tokens, name) is not None for name in tokens.__all__)


def test_other_names_are_not_there():
    """A misspelt name is an ordinary AttributeError."""
    with pytest.raises(AttributeError, match="has no attribute 'TokenTraker'"):
        tokens.TokenTraker  # noqa: B018
