"""Pictures of what the sessions found, as SVG: narrow enough for a phone, in colours that `report.py` can exchange.

A session's pictures are functions of its `result.json` alone. Without matplotlib there are none.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

INK, LINE, PAPER, TROUBLE = "#1b1b1a", "#d8d6d0", "#fdfdfc", "#f3e3c8"
SERIES = ("#0b62a4", "#d1495b", "#5f6b76", "#2e8b57", "#c47f00", "#7b4fa3", "#00868b", "#a0522d")
"""The first is ours, wherever something of ours is in the picture."""

WIDTH = 5.6
SESSIONS = ("fleet", "storms", "faults", "verdict", "bench_overhead", "bench_tokens")


class Picture(NamedTuple):
    """A figure, and what is to be seen in it."""

    name: str
    caption: str
    figure: Any


Painter = Callable[[dict[str, Any]], Iterator[Picture]]


def draw(result: dict[str, Any], folder: Path) -> tuple[list[dict[str, str]], str]:
    """Draw a session's pictures; gives their files and captions, and why there are none."""
    painter = _painter(result["session"])
    if painter is None:
        return [], ""
    try:
        import matplotlib as mpl
    except ImportError:
        return [], "no pictures: matplotlib is not installed (extra `bench`)"
    mpl.use("svg")
    drawn = []
    with mpl.rc_context(_style(result["session"])):
        for picture in painter(result):
            file = f"{picture.name}.svg"
            picture.figure.savefig(folder / file, metadata={"Date": None}, facecolor=PAPER)
            drawn.append({"file": file, "caption": picture.caption})
    return drawn, ""


def _painter(session: str) -> Painter | None:
    if session not in SESSIONS:
        return None
    module = (
        "storm_pictures"
        if session == "storms"
        else "fleet_pictures"
        if session == "fleet"
        else "bar_pictures"
    )
    return getattr(importlib.import_module(module), session)


def _style(salt: str) -> dict[str, Any]:
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "font.family": "sans-serif",
        "font.size": 10.5,
        "axes.titlesize": 11.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": LINE,
        "axes.facecolor": "none",
        "axes.labelcolor": INK,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": LINE,
        "grid.linewidth": 0.6,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "legend.frameon": False,
        "legend.fontsize": 10,
        "lines.linewidth": 1.8,
        "figure.constrained_layout.use": True,
    }


def panels(
    rows: int, height: float, *, ratios: Sequence[float] | None = None, share: bool = True
) -> tuple[Any, Any]:
    """A figure with panels one above the other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height))
    axes = figure.subplots(rows, 1, sharex=share, squeeze=False, height_ratios=ratios)[:, 0]
    return figure, axes


def legend(figure: Any, axis: Any, columns: int = 2) -> None:
    """One legend for all panels, below them."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def bars(
    title: str,
    values: dict[str, float],
    *,
    unit: str = "",
    colours: dict[str, str] | None = None,
    digits: int = 2,
) -> Any:
    """Horizontal bars, in order, each with its value."""
    figure, (axis,) = panels(1, 0.75 + 0.33 * len(values))
    names = list(values)
    paints = [(colours or {}).get(name, SERIES[2]) for name in names]
    drawn = axis.barh(names, list(values.values()), color=paints, height=0.65)
    axis.bar_label(drawn, [f"{value:.{digits}f}{unit}" for value in values.values()], padding=3)
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    axis.margins(x=0.16)
    axis.set_title(title)
    return figure
