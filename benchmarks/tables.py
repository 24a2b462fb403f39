"""Tables for people, Markdown and progress: what all benchmarks print with."""

from __future__ import annotations

import sys
from collections.abc import Sequence

COLOURS = {"pass": "32", "FAIL": "31"}


def progress(text: str) -> None:
    """One line that replaces itself, on a terminal only; an empty text removes it."""
    if sys.stderr.isatty():
        print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned, the first word of a cell in colour on a terminal."""
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    colour = sys.stdout.isatty()

    def cell(text: str, width: int) -> str:
        word = text.split(" ", 1)[0]
        padded = text.ljust(width)
        return (
            padded.replace(word, f"\033[{COLOURS[word]}m{word}\033[0m", 1)
            if colour and word in COLOURS
            else padded
        )

    lines = ["  ".join(text.ljust(width) for text, width in zip(head, widths, strict=True))]
    lines.append("  ".join("-" * width for width in widths))
    lines += ["  ".join(cell(text, width) for text, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same as a Markdown table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(head), line(["---"] * len(head)), *map(line, rows)]) + "\n"
