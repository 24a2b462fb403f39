"""Pictures of the fleet: what was answered, what was sent, and which circuits were open, minute by minute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pictures import SERIES, TROUBLE, Picture, legend, panels

SHOWN = {
    "no retries": {"color": SERIES[2]},
    "retries, backoff and jitter": {"color": SERIES[1]},
    "+ cool-down": {"color": SERIES[4], "linestyle": ":"},
    "+ circuit": {"color": SERIES[3], "linewidth": 4.0, "alpha": 0.5},
    "all of them": {"color": SERIES[0]},
}


def fleet(result: dict[str, Any]) -> Iterator[Picture]:
    """One picture for each incident, and one that compares them."""
    data = result["data"]
    for number, (incident, runs) in enumerate(data["runs"].items(), 1):
        spells = data["incidents"][incident]["spells"]
        cause = (spells[0]["begins"] / 60, spells[-1]["ends"] / 60)
        yield Picture(f"{number}-{incident.replace(' ', '-')}", *_course(incident, runs, cause))
    yield _after(data["runs"])


def _course(incident: str, runs: dict[str, Any], cause: tuple[float, float]) -> tuple[str, Any]:
    figure, axes = panels(3, 6.2, ratios=(3, 3, 2))
    minutes = range(len(runs["all of them"]["goodput"]))
    for axis in axes:
        axis.axvspan(*cause, color=TROUBLE, lw=0)
    for name, look in SHOWN.items():
        style = {"label": name, **look}
        axes[0].plot(minutes, runs[name]["goodput"], **style)
        axes[1].plot(minutes, runs[name]["sent"], **style)
        axes[2].plot(minutes, runs[name]["open"], **style)
    axes[0].set_title("Answers a second")
    axes[1].set_title("Requests a second")
    axes[2].set_title("Clients whose circuit is open")
    axes[2].set_xlabel("minutes; shaded: the cause")
    for axis in axes:
        axis.set_ylim(bottom=0)
        axis.margins(x=0.01)
    legend(figure, axes[0])
    return f"A fleet whose backend is {incident}.", figure


def _after(runs: dict[str, Any]) -> Picture:
    figure, (axis,) = panels(1, 4.4)
    names = list(next(iter(runs.values())))
    height = 0.8 / len(runs)
    for number, (incident, found) in enumerate(runs.items()):
        places = [place + number * height for place in range(len(names))]
        shares = [100 * found[name]["success after"] for name in names]
        drawn = axis.barh(places, shares, height * 0.9, label=incident, color=SERIES[(0, 4, 3)[number % 3]])
        axis.bar_label(drawn, [f"{share:.0f} %" for share in shares], padding=3, fontsize=9)
    axis.set_yticks([place + height for place in range(len(names))], names)
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    axis.margins(x=0.12)
    axis.set_title("Calls answered after the cause was gone")
    legend(figure, axis, columns=1)
    return Picture(
        "0-after",
        "What each protection buys: the share of calls that is answered once the cause is gone.",
        figure,
    )
