"""The fault matrix as a picture, from its table in how-it-is-measured.md; run it when the table has changed."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

DOCS = Path(__file__).parents[1]
TABLE = DOCS / "explanation" / "how-it-is-measured.md"
PICTURE = DOCS / "matrix.svg"

INK, PAPER, NONE = "#1f2430", "#ffffff", "#f3f4f6"
LIGHT, DARK = (0xE4, 0xEE, 0xF8), (0x1B, 0x5E, 0x9E)
LABELS, HEAD, WIDTH, HEIGHT = 290, 118, 54, 26
MUCH = 0.6
"""The share from which a cell is dark enough for white letters."""


def rows() -> list[list[str]]:
    """The table: the groups, then for each client its name and `passed/scenarios` in each group."""
    (table,) = re.findall(r"(?m)^\|.*\| all \|\n\|[-|]+\|\n(?:\|.*\|\n)+", TABLE.read_text())
    head, _, *clients = table.splitlines()
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in (head, *clients)]


def picture() -> str:
    """The matrix as SVG: the darker a cell, the more of its scenarios went right."""
    (_, *groups), *clients = rows()
    width, height = LABELS + WIDTH * len(groups) + 70, HEAD + HEIGHT * len(clients) + 12
    title = "Which share of the scenarios of each group each client handles"
    view = f'viewBox="0 0 {width} {height}" role="img" aria-label="{title}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {view} font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" rx="6" fill="{PAPER}"/>',
    ]
    for column, group in enumerate(groups):
        x = LABELS + WIDTH * (column + 0.5)
        turn = f'transform="rotate(-35 {x:g} {HEAD - 10})"'
        parts.append(f'<text x="{x:g}" y="{HEAD - 10}" {turn} fill="{INK}">{escape(group)}</text>')
    for number, (name, *cells) in enumerate(clients):
        y = HEAD + HEIGHT * number
        bold = ' font-weight="bold"' if name.startswith("resilient_llm") else ""
        parts.append(f'<text x="12" y="{y + 18}" fill="{INK}"{bold}>{escape(name)}</text>')
        parts += [_cell(LABELS + WIDTH * column, y, cell) for column, cell in enumerate(cells)]
    return "\n".join([*parts, "</svg>\n"])


def _cell(x: int, y: int, text: str) -> str:
    passed, _, of = text.partition("/")
    share = int(passed) / int(of) if of else 0.0
    mixed = (round(light + (dark - light) * share) for light, dark in zip(LIGHT, DARK, strict=True))
    colour = "#" + "".join(f"{part:02x}" for part in mixed) if of else NONE
    ink = PAPER if share >= MUCH else INK
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="3" fill="{colour}"/>'
        f'<text x="{x + WIDTH / 2 - 1:g}" y="{y + 17}" text-anchor="middle" fill="{ink}">{text}</text>'
    )


if __name__ == "__main__":
    PICTURE.write_text(picture())
