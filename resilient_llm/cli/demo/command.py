"""The command: options, and what is printed when."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    seed: Annotated[int, typer.Option(help="Another seed, another schedule.")] = 7,
    calls: Annotated[int, typer.Option(min=1, max=2000, help="Calls that each client makes.")] = 300,
    seconds: Annotated[float, typer.Option(min=2, max=300, help="How long calls are made.")] = 24,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as JSON, and nothing else.")
    ] = False,
) -> None:
    """See what failures do to a bare client and to the standard stack.

    Two servers of this process fail in the same way, on a seeded schedule:
    rate limits, a brown-out, an outage, broken streams, a window that is too
    small. The same calls go to one through plain aiohttp and to the other
    through the standard stack. No network, no key, half a minute.

    Ctrl-C ends the demo with what is known by then.
    """
    from .show import show  # noqa: PLC0415 - other commands need not wait for it to be imported

    raise typer.Exit(show(seed=seed, calls=calls, seconds=seconds, as_json=as_json))
