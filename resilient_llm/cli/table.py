"""Tables: columns of text that a person reads and `awk` cuts; never cut off to fit."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, TypeVar

from rich.cells import cell_len

from resilient_llm.policy.scrub import scrub

from .chat_screen import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence


T = TypeVar("T")


def without_secrets(value: T) -> T | str:
    """An address without the user, the password and the key that it may hold; anything else as it is."""
    if not isinstance(value, str) or "://" not in value:
        return value
    return scrub(re.sub(r"//[^/?#]*@", "//***@", value))


def write_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write rows below their headings, which are bold on a terminal; an empty cell is shown as `-`."""
    cells = [list(headings), *([one_line(cell) or "-" for cell in row] for row in rows)]
    widths = [max(cell_len(row[column]) for row in cells) for column in range(len(headings))]
    bold = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for number, row in enumerate(cells):
        padded = [cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        line = "  ".join(padded).rstrip()
        sys.stdout.write(f"\x1b[1m{line}\x1b[0m\n" if bold and not number else f"{line}\n")
    sys.stdout.flush()
