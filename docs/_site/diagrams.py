"""The diagrams of the docs, drawn from the code's own tables as SVG.

Colours are the theme's variables, so that light and dark pages both show them well.
"""

from __future__ import annotations

import math
import re
from html import escape
from typing import TYPE_CHECKING

from made_tables import first_sentence

import resilient_llm as rl
from resilient_llm.policy.circuit_states import TRANSITIONS, State, Trigger
from resilient_llm.testing import ScriptedTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

INK = "var(--color-foreground-primary, currentColor)"
PALE = "var(--color-foreground-secondary, gray)"
PAPER = "var(--color-background-secondary, none)"

BOX = 150, 40
MIDDLE = 360
LONGEST = 100
PLACES: Mapping[State, tuple[int, int]] = {
    State.CLOSED: (110, 60),
    State.OPEN: (610, 60),
    State.HALF_OPEN: (360, 250),
    State.FORCED_CLOSED: (110, 440),
    State.ISOLATED: (610, 440),
}
"""Where each state stands; one that is missing here stops the build."""

BY_HAND = (Trigger.FORCED_OPEN, Trigger.ISOLATED, Trigger.FORCED_CLOSED, Trigger.RESET)
"""These lead from every state to one and the same: a note, not five arrows each."""

ELSEWHERE = (Trigger.TOLD_OPEN, Trigger.TOLD_CLOSED)


def circuit() -> str:
    """The states of a circuit with what leads from one to another."""
    drawn: dict[tuple[State, State], list[str]] = {}
    for (old, trigger), new in TRANSITIONS.items():
        if trigger not in BY_HAND and trigger not in ELSEWHERE:
            drawn.setdefault((old, new), []).append(trigger)
    parts = [
        _arrow(PLACES[old], PLACES[new], labels, paired=(new, old) in drawn)
        for (old, new), labels in drawn.items()
    ]
    parts += [_box(PLACES[state], state.replace("_", " ")) for state in State]
    parts += [_text((360, 500 + 18 * row), note, PALE) for row, note in enumerate(_notes())]
    return _svg(720, 500 + 18 * len(_notes()), parts, "The states of a circuit")


def _notes() -> list[str]:
    """The triggers that lead to the same state from wherever they apply, as sentences."""
    lines = []
    for trigger in (*ELSEWHERE, *BY_HAND):
        sources = [old for old, found in TRANSITIONS if found is trigger]
        (target,) = {new for (_, found), new in TRANSITIONS.items() if found is trigger}
        where = "any state" if len(sources) == len(State) else ", ".join(sources).replace("_", " ")
        lines.append(f"{trigger}: from {where} to {target.replace('_', ' ')}")
    return lines


def stages() -> str:
    """The standard stack with everything that is optional, outermost first, and what each stage is for."""
    stack = rl.standard_stack(
        cache=rl.Cache(),
        coalesce=rl.Coalesce(),
        fallback=[ScriptedTransport("")],
        concurrency=8,
        state=rl.MemoryState(),
        telemetry=True,
    )
    rows = [(name_of(stage), purpose_of(stage)) for stage in stack]
    rows.append(("transport", "Knows one backend: sends, and reads the answer"))
    parts = []
    for number, (name, purpose) in enumerate(rows):
        top = 26 + 46 * number
        if number:
            parts.append(_line((100, top - 26), (100, top - 16)))
        parts += [_box((100, top), name, width=190, height=32), _text((210, top + 5), purpose, PALE, "start")]
    return _svg(960, 46 * len(rows) + 10, parts, "The order of the stages")


def name_of(stage: object) -> str:
    """A stage's name as people write it: `breaker.peek` for the look-only method of the breaker."""
    owner = getattr(stage, "__self__", None)
    if owner is None:
        return type(stage).__name__
    return f"{getattr(owner, 'role', type(owner).__name__)}.{getattr(stage, '__name__', '')}"


def purpose_of(stage: object) -> str:
    """What a stage is for, as its docstring begins; what would be too long is left out."""
    sentence = first_sentence(stage).replace("`", "")
    return sentence if len(sentence) < LONGEST else re.split("[:;,] ", sentence, maxsplit=1)[0]


def _svg(width: int, height: int, parts: Iterable[str], title: str) -> str:
    head = (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}" '
        'style="max-width: 100%; font: 14px sans-serif">'
    )
    marker = (
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
        f'orient="auto"><path d="M0 0L10 5L0 10z" style="fill: {INK}"/></marker></defs>'
    )
    return "\n".join([head, marker, *parts, "</svg>"])


def _box(centre: tuple[int, int], label: str, *, width: int = BOX[0], height: int = BOX[1]) -> str:
    x, y = centre
    shape = (
        f'<rect x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width}" height="{height}" rx="8" '
        f'style="fill: {PAPER}; stroke: {INK}"/>'
    )
    return shape + _text((x, y + 5), label, INK)


def _text(at: tuple[float, float], text: str, colour: str, anchor: str = "middle") -> str:
    return f'<text x="{at[0]:g}" y="{at[1]:g}" text-anchor="{anchor}" style="fill: {colour}">{escape(text)}</text>'


def _line(start: tuple[float, float], end: tuple[float, float]) -> str:
    return (
        f'<line x1="{start[0]:g}" y1="{start[1]:g}" x2="{end[0]:g}" y2="{end[1]:g}" '
        f'style="stroke: {INK}" marker-end="url(#tip)"/>'
    )


def _arrow(start: tuple[int, int], end: tuple[int, int], labels: Sequence[str], *, paired: bool) -> str:
    """An arrow with its label beside it; one of a pair keeps to its side, one that is alone is named on the outside."""
    if start == end:
        return _loop(start, labels)
    (x, y), (u, v) = start, end
    length = math.hypot(u - x, v - y)
    along, across = ((u - x) / length, (v - y) / length), (-(v - y) / length, (u - x) / length)
    shift, reach = (9.0 if paired else 0.0), _reach(along) + (8 if paired else 2)
    begin, finish = (
        (cx + side * reach * along[0] + shift * across[0], cy + side * reach * along[1] + shift * across[1])
        for cx, cy, side in ((x, y, 1), (u, v, -1))
    )
    out = -1 if not paired and (begin[0] + finish[0] - 2 * MIDDLE) * across[0] < 0 else 1
    at = [(begin[axis] + finish[axis]) / 2 + 14 * out * across[axis] for axis in (0, 1)]
    anchor = "middle" if abs(across[0]) < 0.2 else "start" if out * across[0] > 0 else "end"
    return _line(begin, finish) + _text((at[0], at[1] + 5), "; ".join(labels), PALE, anchor)


def _reach(along: tuple[float, float]) -> float:
    """How far a box's edge is from its centre in a direction."""
    return min(
        BOX[0] / 2 / abs(along[0]) if along[0] else math.inf,
        BOX[1] / 2 / abs(along[1]) if along[1] else math.inf,
    )


def _loop(centre: tuple[int, int], labels: Sequence[str]) -> str:
    x, y = centre[0], centre[1] + BOX[1] / 2
    path = (
        f'<path d="M{x - 25} {y:g} C{x - 40} {y + 50:g} {x + 40} {y + 50:g} {x + 25} {y:g}" '
        f'style="fill: none; stroke: {INK}" marker-end="url(#tip)"/>'
    )
    return path + "".join(_text((x, y + 55 + 18 * row), label, PALE) for row, label in enumerate(labels))


DIAGRAMS: Mapping[str, Callable[[], str]] = {"circuit": circuit, "stages": stages}
"""What pages can ask for by `<!-- generated: name -->`."""
