"""The programs of the page about frameworks run, each where its framework is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.frameworks

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "use-with-frameworks.md"
FRAMEWORKS = (
    "langchain_openai",
    "langchain_anthropic",
    "pydantic_ai",
    "llama_index",
    "instructor",
    "litellm",
    "mistralai",
)
PROGRAMS = re.findall(r"^```py\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def framework_of(program: str) -> str:
    (name,) = set(re.findall(rf"^(?:from|import) ({'|'.join(FRAMEWORKS)})\b", program, re.MULTILINE))
    return name


def test_every_framework_has_a_program():
    """The page has one for each, and no other that nobody runs."""
    assert sorted(map(framework_of, PROGRAMS)) == sorted(FRAMEWORKS)


@pytest.mark.parametrize("program", PROGRAMS, ids=map(framework_of, PROGRAMS))
def test_the_documented_programs_run(program):
    """They end without an error."""
    name = framework_of(program)
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed: nox -s frameworks")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
