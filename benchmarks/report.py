"""One page of all that the sessions found: self-contained, for a screen, a phone and paper, light and dark.

    python benchmarks/report.py [--results DIR] [--out FILE] [--against DIR]

Takes whatever results there are; what was not run is named with its command. With the results of another run of the
same seed it also says which rows differ; exit code 1 if any does.
"""

from __future__ import annotations

import argparse
import datetime as dt
import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import results
from agreement import COMPARED, differing
from pictures import INK, LINE, PAPER, SERIES, TROUBLE

STYLE = Path(__file__).parent / "report.css"
SESSIONS: Mapping[str, tuple[str, str]] = {
    "verdict": (
        "An independent judge",
        "llmock, a server by other authors, breaks its answers over real HTTP and says what each client did wrong.",
    ),
    "faults": (
        "The fault matrix",
        "What a caller gets and what the backend sees under each fault, over real sockets, clients side by side.",
    ),
    "storms": (
        "Load under failure",
        "Calls, a third of them streams, keep coming while the backend is slow, limits, or is gone; medians of draws.",
    ),
    "fleet": (
        "Beyond one machine",
        "Ten thousand clients, each for itself, and hours of incidents, simulated with the project's own policies.",
    ),
    "bench_overhead": (
        "What a call costs",
        "The client's CPU time as a multiple of a bare aiohttp call, medians of rounds in which all take turns.",
    ),
    "bench_tokens": (
        "What pruning keeps and costs",
        "Long conversations cut to a budget: which properties hold, and how the time grows.",
    ),
}
MANY, BROAD = 9, 12
"""Columns; a table with more lets its cells break, or is printed across the paper."""
VARIABLES = {INK: "--ink", LINE: "--line", PAPER: "--clear", TROUBLE: "--trouble"} | {
    colour: f"--s{number}" for number, colour in enumerate(SERIES)
}
MARKS = {
    "pass": "good",
    "kept": "good",
    "FAIL": "bad",
    "MISSED": "bad",
    "never": "bad",
    "not": "bad",
    "cannot": "dim",
    "-": "dim",
}


def inlined(svg: str, prefix: str, caption: str) -> str:
    """A picture as part of a page: its colours follow the page's, its ids are its own."""
    body = svg[svg.index("<svg") :]
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", body)
    body = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', body)
    opening = re.match(r"<svg[^>]*>", body)[0]
    slim = re.sub(r'\s(?:width|height|version)="[^"]*"', "", opening)
    return body.replace(opening, f'{slim[:-1]} role="img" aria-label="{html.escape(caption)}">', 1)


def cell(text: str, tag: str = "td") -> str:
    """A cell; what was passed, kept or missed shows it, and long words may break where they have joints."""
    mark = MARKS.get(text.split(" ", 1)[0]) if tag == "td" else None
    broken = re.sub("([_/])", r"\1<wbr>", html.escape(text))
    return f"<{tag}{f' class={mark}' if mark else ''}>{broken}</{tag}>"


def table(one: Mapping[str, Any]) -> str:
    """A table that scrolls by itself where it is too wide, its first column staying."""
    head = "".join(cell(text, "th") for text in one["head"])
    rows = "".join(
        f"<tr>{cell(row[0], 'th')}{''.join(cell(text) for text in row[1:])}</tr>" for row in one["rows"]
    )
    note = f"<p>{html.escape(one['note'])}</p>" if one["note"] else ""
    columns = len(one["head"])
    page, kind = " class=broad" if columns > BROAD else "", " class=many" if columns > MANY else ""
    return (
        f"<div{page}><h3>{html.escape(one['title'])}</h3>{note}"
        f"<div class=wide tabindex=0><table{kind}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        "</div></div>"
    )


def picture(session: str, one: Mapping[str, str], folder: Path) -> str:
    """A picture and its caption."""
    drawn = inlined((folder / one["file"]).read_text(), f"{session}-{one['file'][0]}", one["caption"])
    return f"<figure>{drawn}<figcaption>{html.escape(one['caption'])}</figcaption></figure>"


def terms(title: str, told: Mapping[str, object]) -> str:
    """A list of names and what belongs to them."""
    if not told:
        return ""
    rows = "".join(f"<dt>{html.escape(name)}<dd>{html.escape(str(what))}" for name, what in told.items())
    return f"<h4>{title}</h4><dl>{rows}</dl>"


def section(session: str, result: Mapping[str, Any], folder: Path) -> str:
    """All that one session found."""
    title, text = SESSIONS[session]
    when = dt.datetime.fromtimestamp((folder / "result.json").stat().st_mtime, dt.UTC)
    machine = result["machine"]
    run = (
        f"{when:%Y-%m-%d %H:%M} UTC, Python {machine['python']}, {machine['system']}, "
        f"{machine['processors']} processors"
    )
    figures = "".join(picture(session, one, folder) for one in result["pictures"])
    return (
        f"<section id={session}><h2>{title}</h2><p>{text} <code>nox -s {session}</code></p>"
        f"<div class=figures>{figures}</div>{''.join(map(table, result['tables']))}"
        f"<aside>{terms('Versions', result['versions'])}{terms('Configurations', result['configurations'])}"
        f"{terms('Left out', result['missing'])}{terms('Options', result['options'])}<p>{run}</p></aside></section>"
    )


def page(home: Path) -> str:
    """The whole page."""
    found = {session: results.load(session, home) for session in SESSIONS}
    there = {session: result for session, result in found.items() if result}
    links = "".join(f'<li><a href="#{session}">{SESSIONS[session][0]}</a>' for session in there)
    absent = [session for session in SESSIONS if session not in there]
    missing = (
        f"<p>Not run: {', '.join(f'<code>nox -s {session}</code>' for session in absent)}.</p>"
        if absent
        else ""
    )
    sections = "".join(section(session, result, home / session) for session, result in there.items())
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f'<meta name=color-scheme content="light dark"><title>resilient_llm: measured</title><style>{STYLE.read_text()}'
        "</style><header><h1>resilient_llm: measured</h1><p>Each section is what one command found, on loopback, "
        "seeded; what it judges, and its limits, are in <code>docs/explanation/how-it-is-measured.md</code>.</p>"
        f"<nav><ul>{links}</ul></nav>{missing}</header><main>{sections}</main></html>\n"
    )


def against(home: Path, other: Path) -> int:
    """Say in which rows two runs differ; gives how many."""
    number = 0
    for session in COMPARED:
        one, its = results.load(session, home), results.load(session, other)
        if one and its:
            rows = differing(session, one, its)
            print("\n  ".join([f"{session}: {len(rows)} rows differ", *rows]))
            number += len(rows)
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=results.HOME, help="where the sessions left theirs")
    parser.add_argument("--out", type=Path, help="the page; default: report.html beside the results")
    parser.add_argument("--against", type=Path, metavar="DIR", help="the results of another run")
    options = parser.parse_args(arguments)
    out = options.out or options.results / "report.html"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page(options.results))
    print(f"written: {out}")
    return 1 if options.against and against(options.results, options.against) else 0


if __name__ == "__main__":
    raise SystemExit(main())
