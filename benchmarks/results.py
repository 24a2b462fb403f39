"""Where the sessions leave what they found, all in one way: in `results/SESSION/`, as JSON, Markdown and pictures.

`nox -s report` makes one page of whatever is there. No file has a date or a duration of the run in it, so that equal
findings make equal files.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from tables import markdown

HOME = Path(__file__).parent / "results"
"""Git ignores it."""


@attrs.frozen(kw_only=True)
class Table:
    """A table for people.

    Args:
        title: What it is about.
        head: The columns.
        rows: The cells, as texts.
        note: How to read it.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def versions(names: Iterable[str]) -> dict[str, str]:
    """The versions of distributions; those that are not installed are left out."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def save(
    session: str,
    *,
    told: Mapping[str, str],
    tables: Sequence[Table],
    data: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
    configurations: Mapping[str, str] | None = None,
    missing: Mapping[str, str] | None = None,
    home: Path = HOME,
) -> Path:
    """Write a session's findings, and its pictures where matplotlib is installed; gives the folder.

    Args:
        session: Its name.
        told: What was compared, and in which version.
        tables: For people.
        data: For machines, and the pictures.
        options: How the session was run.
        configurations: How each of what was compared was set up.
        missing: What was left out, and why.
        home: Where the folders of the sessions are.
    """
    import pictures

    folder = home / session
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    result = {
        "session": session,
        "machine": {
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "processors": os.cpu_count(),
        },
        "versions": dict(told),
        "options": {
            name: value
            for name, value in (options or {}).items()
            if isinstance(value, str | int | float) and value != ""
        },
        "configurations": dict(configurations or {}),
        "missing": dict(missing or {}),
        "tables": [attrs.asdict(table) for table in tables],
        "data": data,
    }
    drawn, problem = pictures.draw(json.loads(json.dumps(result)), folder)
    (folder / "result.json").write_text(json.dumps({**result, "pictures": drawn}, indent=1) + "\n")
    (folder / "tables.md").write_text("\n".join(map(_section, tables)))
    print(f"{problem}\nwritten: {folder}" if problem else f"written: {folder}")
    return folder


def _section(table: Table) -> str:
    note = f"{table.note}\n\n" if table.note else ""
    return f"## {table.title}\n\n{note}{markdown(table.head, table.rows)}"


def load(session: str, home: Path = HOME) -> dict[str, Any] | None:
    """What a session left, or None."""
    path = home / session / "result.json"
    return json.loads(path.read_text()) if path.exists() else None
