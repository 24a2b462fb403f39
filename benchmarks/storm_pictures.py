"""Pictures of the storms: goodput, latency, circuits, and what each stage buys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from pictures import INK, LINE, SERIES, TROUBLE, Picture, legend, panels
from storm_tables import middle

OURS = "resilient_llm"
DRAWN = "; bars: the median of the draws, lines: the least and the most"
LOOKS = {
    "no protection": {"color": SERIES[2]},
    "openai": {"color": SERIES[1]},
    "aiobreaker + backoff": {"color": SERIES[4]},
    "tenacity": {"color": SERIES[3]},
    OURS: {"color": SERIES[0], "linewidth": 2.6},
}
STATES = {"closed": SERIES[3], "open": SERIES[1], "half_open": SERIES[4]}
Runs = Mapping[str, Mapping[str, Any]]


def storms(result: dict[str, Any]) -> Iterator[Picture]:
    """For each storm at the middle load its course and its latencies; then the circuits, then the stages."""
    data = result["data"]
    middle = data["middle"]
    runs = {name: rates[middle] for name, rates in data["runs"].items() if middle in rates}
    if not runs:
        return
    share = f"{100 * float(middle):.0f}\N{NO-BREAK SPACE}% of the capacity"
    yield _success(runs, share)
    for number, (name, found) in enumerate(runs.items()):
        yield _course(f"{1 + number}-course", name, found, data, share)
    yield _latencies(runs, share)
    yield _circuits(runs, data, share)
    if any("without circuit" in found for found in runs.values()):
        yield from _stages(runs, share)


def _shade(axis: Any, incident: Mapping[str, Any]) -> None:
    for spell in incident["spells"]:
        axis.axvspan(spell["begins"], spell["ends"], color=TROUBLE, lw=0)


def _ranged(axis: Any, places: Any, draws: Sequence[Sequence[float]], height: float, **look: Any) -> Any:
    """Bars of the medians, with lines from the least to the most."""
    middles = [middle(values) for values in draws]
    below = [value - min(values) for value, values in zip(middles, draws, strict=True)]
    above = [max(values) - value for value, values in zip(middles, draws, strict=True)]
    line = {"ecolor": INK, "elinewidth": 0.9}
    return axis.barh(places, middles, height, xerr=[below, above], error_kw=line, **look)


def _success(runs: Mapping[str, Runs], share: str) -> Picture:
    figure, (axis,) = panels(1, 5.2)
    names = [name for name in reversed(LOOKS) if all(name in found for found in runs.values())]
    height = 0.82 / len(names)
    for number, name in enumerate(names):
        places = [place + number * height for place in range(len(runs))]
        draws = [[100 * share for share in found[name]["draws"]["success"]] for found in runs.values()]
        drawn = _ranged(axis, places, draws, height * 0.9, label=name, color=LOOKS[name]["color"])
        axis.bar_label(drawn, [f"{middle(shares):.0f} %" for shares in draws], padding=3, fontsize=8.5)
    axis.set_yticks([place + 0.33 for place in range(len(runs))], list(runs))
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    axis.margins(x=0.12)
    axis.set_title("Calls answered")
    legend(figure, axis)
    return Picture(
        "0-success", f"Calls that were answered, each client in each storm, at {share}{DRAWN}.", figure
    )


def _course(file: str, name: str, found: Runs, data: Mapping[str, Any], share: str) -> Picture:
    figure, axes = panels(2, 4.9)
    at = [place * data["bin"] + data["bin"] / 2 for place in range(len(found[OURS]["goodput"]))]
    for axis in axes:
        _shade(axis, data["incidents"][name])
    for policy, look in LOOKS.items():
        if policy in found:
            axes[0].plot(at, found[policy]["goodput"], label=policy, **look)
            axes[1].plot(at, found[policy]["sent"], label=policy, **look)
    axes[0].set_title(f"{name.capitalize()}: answers a second")
    axes[1].set_title("Requests a second")
    axes[1].set_xlabel("seconds; shaded: the cause")
    for axis in axes:
        axis.set_ylim(bottom=0)
        axis.margins(x=0.01)
    legend(figure, axes[0])
    return Picture(file, f"The course of a storm ({name}), at {share}, mean of the draws.", figure)


def _latencies(runs: Mapping[str, Runs], share: str) -> Picture:
    figure, axes = panels(len(runs), 1.0 + 1.55 * len(runs))
    for axis, (name, found) in zip(axes, runs.items(), strict=True):
        for policy, look in LOOKS.items():
            if policy in found:
                times, calls = found[policy]["times"], found[policy]["calls"]
                shares = [100 * place / calls for place in range(1, len(times) + 1)]
                axis.step(times, shares, where="post", label=policy, **look)
        axis.set_xscale("log")
        axis.set_xlim(0.4, 35)
        axis.set_ylim(0, 102)
        axis.set_title(name.capitalize())
        axis.set_xticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
        axis.minorticks_off()
    axes[-1].set_xlabel("seconds")
    legend(figure, axes[0])
    caption = f"Latency: the share of all calls (%) that was answered within so many seconds, at {share}."
    return Picture("6-latency", caption, figure)


def _circuits(runs: Mapping[str, Runs], data: Mapping[str, Any], share: str) -> Picture:
    shown = [
        (name, policy, found[policy])
        for name, found in runs.items()
        for policy in (OURS, "aiobreaker + backoff")
        if policy in found
    ]
    figure, (axis,) = panels(1, 1.3 + 0.34 * len(shown))
    for place, (name, _policy, told) in enumerate(shown):
        for spell in data["incidents"][name]["spells"]:
            axis.plot([spell["begins"], spell["ends"]], [place + 0.36] * 2, color=SERIES[4], lw=3, alpha=0.5)
        axis.axhline(place, color=LINE, lw=0.6)
        changes = [
            (0.0, "closed"),
            *((max(0.0, at), state) for at, state in told["states"]),
            (data["length"], ""),
        ]
        for (begins, state), (ends, _) in pairwise(changes):
            width = max(ends - begins, 0.6 if state == "half_open" else 0)
            axis.barh(place, width, 0.42, left=begins, color=STATES[state])
    axis.set_yticks(range(len(shown)), [f"{name}, {policy}" for name, policy, _ in shown], fontsize=9)
    axis.invert_yaxis()
    axis.set_xlim(0, data["length"])
    axis.grid(visible=False)
    axis.set_xlabel("seconds; thin line: the cause")
    axis.set_title("Circuits")
    for state, colour in STATES.items():
        axis.barh(0, 0, color=colour, label=state.replace("_", "-"))
    legend(figure, axis, columns=3)
    return Picture(
        "7-circuits",
        f"The states of the circuits, ours and aiobreaker's, at {share}, in the first draw.",
        figure,
    )


def _stages(runs: Mapping[str, Runs], share: str) -> Iterator[Picture]:
    names = [OURS, *(name for name in next(iter(runs.values())) if name.startswith("with"))]
    told = (
        ("8-stages-answered", "Calls answered, %", "success", 100, "{:.0f}"),
        ("9-stages-sent", "Requests per call", "amplification", 1, "{:.2f}"),
    )
    for file, title, key, scale, written in told:
        figure, axes = panels(len(runs), 0.6 + 1.75 * len(runs))
        for axis, (name, found) in zip(axes, runs.items(), strict=True):
            draws = [[scale * value for value in found[policy]["draws"][key]] for policy in names]
            colours = [SERIES[0] if policy == OURS else SERIES[2] for policy in names]
            drawn = _ranged(axis, names, draws, 0.7, color=colours)
            axis.bar_label(drawn, [written.format(middle(one)) for one in draws], padding=3, fontsize=9)
            axis.tick_params(axis="y", labelsize=9)
            axis.invert_yaxis()
            axis.grid(visible=False, axis="y")
            axis.margins(x=0.1)
            axis.set_title(f"{name.capitalize()}: {title[0].lower()}{title[1:]}")
        yield Picture(
            file, f"{title}: ours, with a stage taken away or a fallback added, at {share}{DRAWN}.", figure
        )
