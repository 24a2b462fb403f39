"""Showing the demo: live on a terminal, a line per phase elsewhere, figures for scripts."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from resilient_llm.clock import SYSTEM_CLOCK

from .figures import figures
from .phases import place_of
from .plan import Plan
from .play import play
from .report import intro, print_report
from .tally import Tally
from .timeline import timeline

if TYPE_CHECKING:
    from collections.abc import Callable

INTERRUPTED = 130
"""The exit status of a program that Ctrl-C ended."""


class Screen(Console):
    """A console on which a reader who left (`| head`) is an ordinary error: exits do not belong into a loop."""

    def on_broken_pipe(self) -> None:
        """Say so, after rich has made sure that nothing more is written."""
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise BrokenPipeError from None


def show(*, seed: int, calls: int, seconds: float, as_json: bool) -> int:
    """Play the demo and show it. Gives the exit status."""
    tally = Tally(Plan.of(seed=seed, calls=calls, seconds=seconds), SYSTEM_CLOCK)
    console = Screen(stderr=as_json, highlight=False)
    interrupted = False
    try:
        _play(tally, console, quiet=as_json and not console.is_terminal)
    except KeyboardInterrupt:
        interrupted = True
    except BrokenPipeError:
        return 1
    facts = figures(tally, interrupted=interrupted)
    if as_json:
        json.dump(facts, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        print_report(console, tally, facts)
    return INTERRUPTED if interrupted else 0


def _play(tally: Tally, console: Console, *, quiet: bool) -> None:
    if quiet:
        _run(tally, lambda: None)
        return
    console.print(intro(tally))
    if not console.is_terminal:
        _run(tally, _lines(tally, console))
        console.print()
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        _run(tally, lambda: live.update(_screen(tally, console), refresh=True))


def _run(tally: Tally, look: Callable[[], None]) -> None:
    try:
        asyncio.run(play(tally, look))
    except BaseExceptionGroup as group:
        if group.subgroup(BrokenPipeError):
            raise BrokenPipeError from None
        raise


def _screen(tally: Tally, console: Console) -> Group:
    chart = timeline(tally, console.width, ascii_only=console.options.ascii_only)
    return Group(chart, Text(), _status(tally))


def _status(tally: Tally) -> Text:
    plan, elapsed = tally.plan, tally.elapsed
    part = plan.stretches[place_of(plan.stretches, elapsed)]
    phase = (f"{part.phase.name} - the backend: {part.what}", "bold")
    if elapsed > plan.seconds:
        phase = ("waiting for the last answers", "bold")
    parts: list[str | tuple[str, str]] = [f"{elapsed:5.1f} s  ", phase, "\n"]
    for lane in (tally.bare, tally.stack):
        under_way = lane.started - len(lane.results)
        parts.append(f"{lane.name:<16}{_score(lane.succeeded, len(lane.results))}, {under_way} under way\n")
    return Text.assemble(*parts)


def _score(succeeded: int, finished: int) -> str:
    return f"{succeeded:>4} of {finished:>4} succeeded ({succeeded / max(1, finished):4.0%})"


def _lines(tally: Tally, console: Console) -> Callable[[], None]:
    """Print a line when a phase is over."""
    seen = [0]

    def look() -> None:
        place = place_of(tally.plan.stretches, tally.elapsed)
        if tally.elapsed >= tally.plan.seconds:
            place += 1
        while seen[0] < place:
            part = tally.plan.stretches[seen[0]]
            seen[0] += 1
            bare, stack = (
                f"{lane.succeeded:>4}/{len(lane.results):<4}" for lane in (tally.bare, tally.stack)
            )
            console.print(
                f"{tally.elapsed:5.1f} s  {part.phase.name:<10} succeeded: bare {bare} stack {stack}"
            )

    return look
