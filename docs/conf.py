"""How the documentation is built: `nox -s docs`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent / "_site"))

from diagrams import DIAGRAMS
from made_tables import TABLES, plain_markup

from resilient_llm import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "resilient_llm"
author = copyright = "The resilient_llm developers"  # noqa: A001 - Sphinx's name for it
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "_site", "examples/README.md"]
html_theme = "furo"
html_title = f"resilient_llm {release}"
html_copy_source = html_show_sourcelink = False

myst_heading_anchors = 4
suppress_warnings = ["misc.highlighting_failure"]  # answers shortened by an ellipsis are shown as JSON

autodoc_member_order = "bysource"
napoleon_use_rtype = False
python_maximum_signature_line_length = 100
add_module_names = False
toc_object_entries = False

GENERATED = {**TABLES, **DIAGRAMS}


def fill(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Put what is made from the code in the place of `<!-- generated: name -->`."""
    source[0] = re.sub(r"(?m)^<!-- generated: (\S+) -->$", lambda found: GENERATED[found[1]](), source[0])


def markup(_app: Sphinx, what: str, _name: str, _thing: object, _options: object, lines: list[str]) -> None:
    """Docstrings write code between single backticks. Of data, Napoleon takes what is before a colon for a type."""
    text = plain_markup("\n".join(lines))
    lines[:] = (text.replace(": ", ":\n", 1) if what in {"data", "attribute"} else text).split("\n")


def setup(app: Sphinx) -> None:
    """Before Napoleon reads the docstrings, which it does at 500."""
    app.connect("source-read", fill)
    app.connect("autodoc-process-docstring", markup, priority=400)
