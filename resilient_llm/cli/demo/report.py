"""The report at the end: tables, the timeline, and two lines that say it all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .timeline import timeline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from .tally import Tally

BOTH = ("bare", "stack")


def intro(tally: Tally) -> Text:
    """What is about to happen, and with which options."""
    plan, limits = tally.plan, tally.plan.limits
    return Text.assemble(
        (f"{len(plan.calls):,} calls in {plan.seconds:g} s", "bold"),
        f" through a bare client and through the standard stack, seed {plan.seed}\n",
        f"bare   aiohttp: post, raise_for_status, read; timeout={limits.deadline:g}\n",
        f"stack  deadline={limits.deadline:g}, first_token_timeout={limits.first_token_timeout:g}, ",
        f"idle_timeout={limits.idle_timeout:g}, attempt_timeout={limits.attempt_timeout:g},\n",
        f"       wait=expo(factor={limits.backoff_factor:g}), ",
        f"breaker=CircuitBreaker(timeout_duration={limits.breaker_timeout_duration:g},\n",
        f"       max_timeout_duration={limits.breaker_max_timeout_duration:g}); the rest by default\n",
    )


def print_report(console: Console, tally: Tally, facts: Mapping[str, Any]) -> None:
    """Print tables, timeline and verdict; what matters most stands last, where the eye is."""
    console.print(_phases(facts))
    console.print()
    for title, table in (
        ("What the stages did", _stages(facts)),
        ("What callers got instead", _errors(facts)),
    ):
        console.print(Text(title, "bold"))
        console.print(Padding(table, (0, 0, 0, 2)))
    console.print()
    console.print(timeline(tally, console.width, ascii_only=console.options.ascii_only), soft_wrap=True)
    console.print()
    console.print(_verdict(facts))
    if facts["interrupted"]:
        finished = "; ".join(f"{name} {facts[name]['finished']}" for name in BOTH)
        console.print(f"Interrupted after {facts['seconds']:.1f} s; calls that had ended: {finished}")


def _table(*, header: bool = False) -> Table:
    return Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=header)


def _phases(facts: Mapping[str, Any]) -> Table:
    table = _table(header=True)
    table.add_column("\nphase", no_wrap=True)
    table.add_column("\nthe backend")
    for name in ("\ncalls", "succeeded\nbare", "\nstack", "requests\nbare", "\nstack"):
        table.add_column(name, justify="right", no_wrap=True)
    for phase in facts["phases"]:
        good = [_colored(phase[lane]["succeeded"], phase["calls"]) for lane in BOTH]
        sent = [str(phase[lane]["requests"]) for lane in BOTH]
        table.add_row(phase["name"], phase["what"], str(phase["calls"]), *good, *sent)
    totals = [str(facts[lane][what]) for what in ("succeeded", "requests") for lane in BOTH]
    table.add_row("all", "", str(facts["bare"]["started"]), *totals, style="bold")
    return table


def _colored(count: int, calls: int) -> str:
    style = "green" if count == calls else "red" if count * 2 < calls else "dark_orange3"
    return f"[{style}]{count}[/]"


def _stages(facts: Mapping[str, Any]) -> Table:
    did = facts["stack"]["stages"]
    moves = [move["state"] for move in did["circuit"]]
    probes = moves.count("half_open")
    openings = moves.count("open")
    lines = {
        "TokenBudget": f"conversations pruned: {did['conversations_pruned']}, tokens: {did['tokens_pruned']:,}",
        "Retry": f"retries: {did['retries']} (timed by the server: {did['retries_after_server_delay']}), "
        f"calls saved: {did['calls_saved_by_retry']}, waits: {did['waited_seconds']:.1f} s",
        "RateLimit": f"calls held back: {did['calls_held_back']}, for {did['held_back_seconds']:.1f} s in all",
        "CircuitBreaker": f"opened: {openings}, probes: {probes}, "
        f"calls rejected at once: {did['calls_rejected_by_open_circuit']}",
        "ErrorClassifier": f"failed attempts: {_counts(did['failed_attempts']) or 'none'}",
    }
    table = _table()
    for stage, line in lines.items():
        table.add_row(stage, line)
    return table


def _errors(facts: Mapping[str, Any]) -> Table:
    table = _table()
    for name in BOTH:
        table.add_row(name, _counts(facts[name]["errors"]) or "nothing: every call succeeded")
    return table


def _counts(errors: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in errors.items())


def _verdict(facts: Mapping[str, Any]) -> Table:
    table = _table(header=True)
    table.add_column("")
    for name in ("succeeded", "requests per call", "median", "slowest call"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, title in zip(BOTH, ("bare client", "standard stack"), strict=True):
        lane = facts[name]
        table.add_row(
            Text(title, "bold"),
            Text(f"{lane['success_rate']:.1%}", "bold"),
            f"{lane['requests_per_call']:.2f}",
            _seconds(lane["median_seconds"]),
            _seconds(lane["slowest_seconds"]),
        )
    return table


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} s"
