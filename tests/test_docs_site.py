"""What the documentation is made of: tables and diagrams from the code, pages that can be found."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import typer.main

import resilient_llm
from resilient_llm.cli.app import app
from resilient_llm.client import AsyncClient
from resilient_llm.errors import ERROR_TYPES
from resilient_llm.options import _EXTENSIONS
from resilient_llm.policy.circuit_states import TRANSITIONS
from resilient_llm.stages import StackOptions
from resilient_llm.transports.http import HTTPOptions

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.syspath_prepend(str(DOCS / "_site"))
    tables, diagrams = (importlib.import_module(name) for name in ("made_tables", "diagrams"))
    return {**tables.TABLES, **diagrams.DIAGRAMS}


def labels(picture: str) -> list[str]:
    return [element.text for element in ET.fromstring(picture).iter("text")]  # noqa: S314 - our own


def test_pages_ask_for_what_can_be_made(generated) -> None:
    """Each marker in a page names a table or a diagram, and each of those is on some page."""
    asked = {
        name for page in PAGES for name in re.findall(r"(?m)^<!-- generated: (\S+) -->$", page.read_text())
    }
    assert asked == generated.keys()


def test_every_error_code_has_a_row(generated) -> None:
    """The table of errors has all codes, in the order of the code's own, each with its class."""
    rows = re.findall(r"^\| `(\w+)`<br>`(\w+)` \|", generated["errors"](), re.MULTILINE)
    assert rows == [(code.value, kind.__name__) for code, kind in ERROR_TYPES.items()]


def test_every_public_name_is_documented_once(generated) -> None:
    """The page of public names has every one of them, and the version."""
    names = re.findall(
        r"^\.\. auto\w+:: [\w.]+\.(\w+)(?:\(.*\))?$", generated["public-names"](), re.MULTILINE
    )
    assert sorted(names) == sorted([*resilient_llm.__all__, "__version__"])


def test_every_option_has_a_row() -> None:
    """The page of options has all of the stack, of the clients, of transports and of calls, and no others."""
    page = (DOCS / "reference" / "options.md").read_text()
    stack, client, call = (
        {name for row in re.findall(r"(?m)^\| (`.*?`) \|", part) for name in re.findall(r"`(\w+)`", row)}
        for part in page.split("\n## ")[1:]
    )
    assert stack == StackOptions.__annotations__.keys()
    named = {"self", "transport", "options"}
    assert client == inspect.signature(AsyncClient.__init__).parameters.keys() - named
    assert call == {*_EXTENSIONS, "system", "model", "deadline", "recovery"}
    assert all(f"`{name}" in page for name in HTTPOptions.__annotations__)


def test_every_command_has_its_options(generated) -> None:
    """The page of commands has every command, and every option with what it is for."""
    page = generated["commands"]()
    for name, command in typer.main.get_command(app).commands.items():
        section = page.split(f"## `resilient-llm {name}`")[1].split("\n## ")[0]
        for parameter in command.params:
            if parameter.name != "help":
                assert re.search(
                    rf"\| `.*?{re.escape(parameter.opts[0])}\b.*?` \| \S", section, re.IGNORECASE
                ), name


def test_the_circuits_picture_has_every_transition(generated) -> None:
    """Every state and every trigger of the table is in the picture, which is well formed."""
    texts = labels(generated["circuit"]())
    for (old, trigger), new in TRANSITIONS.items():
        assert old.replace("_", " ") in texts
        assert new.replace("_", " ") in texts
        assert any(trigger in text for text in texts), trigger


def test_the_stages_picture_has_the_order_of_the_standard_stack(generated) -> None:
    """The boxes stand in the order in which calls pass them, from the outermost stage to the transport."""
    texts = labels(generated["stages"]())[::2]
    names = [
        "Telemetry",
        "Logging",
        "Deadline",
        "TokenBudget",
        "Retry",
        "breaker.peek",
        "CircuitBreaker",
        "ErrorClassifier",
    ]
    assert [name for name in texts if name in names] == names
    assert texts[-1] == "transport"


def test_every_page_can_be_found() -> None:
    """The landing page leads to each page: by its folder, or by its name."""
    trees = "".join(
        re.findall(r"^```\{toctree\}(.*?)^```", (DOCS / "index.md").read_text(), re.MULTILINE | re.DOTALL)
    )
    listed = {line for line in trees.split("\n") if line and not line.startswith(":")}
    for page in PAGES:
        name = page.relative_to(DOCS).with_suffix("").as_posix()
        assert name == "index" or name in listed or f"{name.rpartition('/')[0]}/*" in listed, name


def test_links_of_pages_stay_among_the_pages() -> None:
    """The site has no README: what a page links to is another page, or a place elsewhere."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            assert "://" in target or (page.parent / target).resolve().is_relative_to(DOCS), (
                page.name,
                target,
            )
