"""How the documentation is built: `nox -s docs`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent / "_site"))

import attrs
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
autodoc_preserve_defaults = True  # `OUTCOMES`, not what is in it
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
    if what in {"data", "attribute", "property"}:
        text = text.replace(": ", ":\n", 1)
    lines[:] = text.split("\n")


def defaults(
    _app: Sphinx,
    _what: str,
    _name: str,
    thing: object,
    _options: object,
    signature: str | None,
    returns: object,
) -> tuple[str | None, object] | None:
    """The defaults of attrs' classes, which are not in their source as others' are."""
    if not (isinstance(thing, type) and attrs.has(thing) and signature):
        return None
    values = {field.name: field.default for field in attrs.fields(thing)}
    told = re.sub(r"attr_dict\['(\w+)'\]\.default", lambda found: _told(values[found[1]]), signature)
    return told.replace("= NOTHING", "= ..."), returns


def _told(value: object) -> str:
    text = repr(value)
    return getattr(value, "__name__", f"{type(value).__name__}()") if text.startswith("<") else text


def setup(app: Sphinx) -> None:
    """Before Napoleon reads the docstrings, which it does at 500."""
    app.connect("autodoc-process-signature", defaults)
    app.connect("source-read", fill)
    app.connect("autodoc-process-docstring", markup, priority=400)
