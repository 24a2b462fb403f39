"""Pictures of the sessions that compare figures: who passes how much, what a call costs, how time grows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pictures import SERIES, Picture, bars, legend, panels

OURS = "resilient_llm"


def _colours(names: object) -> dict[str, str]:
    return {name: SERIES[0] for name in names if name.startswith(OURS)}


def _passed(result: dict[str, Any], title: str, caption: str) -> Iterator[Picture]:
    shares = {}
    for client in result["data"]["clients"]:
        cells = [row[client]["passed"] for row in result["data"]["rows"].values() if client in row]
        taken = [passed for passed in cells if passed is not None]
        if taken:
            shares[f"{client} ({sum(taken)} of {len(taken)})"] = 100 * sum(taken) / len(taken)
    if shares:
        figure = bars(title, shares, unit=" %", colours=_colours(shares), digits=0)
        yield Picture("0-passed", caption, figure)


def faults(result: dict[str, Any]) -> Iterator[Picture]:
    yield from _passed(result, "Scenarios passed", "The share of the scenarios that each client passes.")


def verdict(result: dict[str, Any]) -> Iterator[Picture]:
    yield from _passed(
        result, "Faults passed", "The share of llmock's faults that each client passes, strict."
    )


def bench_overhead(result: dict[str, Any]) -> Iterator[Picture]:
    """A picture for each way of answering."""
    words = {
        "whole": "A whole answer",
        "burst": "A stream, all at once",
        "trickle": "A stream, piece by piece",
    }
    for number, (name, times) in enumerate(result["data"]["cpu_seconds"].items()):
        base = times["bare aiohttp"]
        ratios = {contestant: seconds / base for contestant, seconds in times.items()}
        figure = bars(words.get(name, name), ratios, unit=" x", colours=_colours(ratios))
        bound = result["data"]["bounds"].get(name)
        if bound:
            figure.axes[0].axvline(bound, color=SERIES[1], linestyle="--", linewidth=1.2)
        yield Picture(
            f"{number}-{name}",
            f"{words.get(name, name)}: CPU against bare aiohttp; dashed: our bound.",
            figure,
        )


def bench_tokens(result: dict[str, Any]) -> Iterator[Picture]:
    """How the time grows, and what is kept."""
    peers, sizes = result["data"]["peers"], result["data"]["sizes"]
    figure, axes = panels(2, 6.0)
    for axis, share in zip(axes, ("90%", "25%"), strict=True):
        for number, (name, told) in enumerate(peers.items()):
            points = [(size, told["times"].get(f"{size} at {share}")) for size in sizes]
            measured = [(size, 1e3 * seconds) for size, seconds in points if isinstance(seconds, float)]
            if measured:
                axis.plot(
                    *zip(*measured, strict=True),
                    marker="o",
                    markersize=4,
                    label=name,
                    color=SERIES[number % 8],
                )
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_title(f"Milliseconds to prune to {share[:-1]} %")
        axis.minorticks_off()
    axes[-1].set_xlabel("messages")
    legend(figure, axes[0])
    yield Picture(
        "0-growth", "How the time to prune grows with the conversation (CPU; both axes logarithmic).", figure
    )
    kept = {name: told["kept"]["all six"] for name, told in peers.items()}
    figure = bars("Conversations with all six properties", kept, unit=" %", colours=_colours(kept), digits=0)
    yield Picture("1-kept", "How often a pruned conversation keeps all six properties.", figure)
