"""Every fenced Python block of the README and the docs runs."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from programs import Programs

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks() -> list[tuple[str, str]]:
    return [
        (f"{page.relative_to(ROOT)}:{number}", block)
        for page in PAGES
        for number, block in enumerate(
            re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL), 1
        )
    ]


@pytest.mark.parametrize(("name", "block"), blocks(), ids=[name for name, _ in blocks()])
def test_the_documented_code_runs(programs: Programs, name: str, block: str) -> None:
    """Each block is a program that ends without an error, with warnings as errors."""
    done = programs.run(block)
    assert done.code == 0, f"{name}\n{done.err}"


def test_the_readme_names_its_two_commands() -> None:
    """The command that runs the main job and the one that runs the tests can be found by machines."""
    readme = (ROOT / "README.md").read_text()
    for marker in ("main job", "tests"):
        assert re.search(rf"<!-- {marker} -->\n```bash\n.+?\n```", readme, re.DOTALL), marker


def test_the_picture_of_the_matrix_is_that_of_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes the table draws the picture anew: `python docs/_site/matrix.py`."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_site"))
    matrix = importlib.import_module("matrix")
    assert matrix.PICTURE.read_text() == matrix.picture(), "run: python docs/_site/matrix.py"


def test_links_lead_somewhere() -> None:
    """Relative links of all pages name files that exist."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
