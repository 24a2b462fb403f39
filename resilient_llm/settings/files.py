"""Settings in TOML files: which files are read, and what may stand in them."""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from .errors import SettingsError
from .sources import Found
from .table import SETTINGS, Setting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CONFIG_VARIABLE: Final = "RESILIENT_LLM_CONFIG"
"""Names the user's file, if it is not where the platform keeps such files."""

PROJECT_FILE: Final = "resilient-llm.toml"
PYPROJECT_TABLE: Final = ("tool", "resilient_llm")


@attrs.frozen
class File:
    """A file's settings, all of them checked."""

    found: Mapping[str, Found]

    def find(self, setting: Setting, provider: str) -> Found | None:
        """What the file says."""
        del provider
        return self.found.get(setting.key)


def project_file() -> File | None:
    """The working directory's `resilient-llm.toml`, else the table in its `pyproject.toml`."""
    return _read(Path(PROJECT_FILE)) or _read(Path("pyproject.toml"), PYPROJECT_TABLE)


def user_file() -> File | None:
    """The user's file.

    Raises:
        SettingsError: `RESILIENT_LLM_CONFIG` names a file that is not there.
    """
    path = user_path()
    file = None if path is None else _read(path)
    if file is None and (named := _named()):
        msg = f"{CONFIG_VARIABLE} must be the path of a TOML file, not {named!r}: there is no such file"
        raise SettingsError(msg)
    return file


def user_path() -> Path | None:
    """Where the user's file is, or would be; None if there is no home directory."""
    if named := _named():
        return Path(named).expanduser()
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "win32":
        folder = Path(os.environ.get("APPDATA") or home / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        folder = home / "Library" / "Application Support"
    else:
        said = Path(os.environ.get("XDG_CONFIG_HOME", ""))
        folder = said if said.is_absolute() else home / ".config"  # the XDG standard ignores relative ones
    return folder / "resilient-llm" / "config.toml"


def project_target() -> tuple[Path, Sequence[str]]:
    """Where a setting of the working directory is written: the file, and the tables that it stands in there."""
    if not Path(PROJECT_FILE).exists() and _read(Path("pyproject.toml"), PYPROJECT_TABLE) is not None:
        return Path("pyproject.toml"), PYPROJECT_TABLE
    return Path(PROJECT_FILE), ()


def _named() -> str:
    return os.environ.get(CONFIG_VARIABLE, "").strip()


def _read(path: Path, table: Sequence[str] = ()) -> File | None:
    """A file, or a table of it; None if there is none."""
    if not os.path.isfile(path):  # noqa: PTH113 - unlike Path.is_file, False in a directory that may not be read
        return None
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        msg = f"{path} cannot be read: {exc}"
        raise SettingsError(msg) from exc
    values: Any = _parse(path, text)
    for name in table:
        values = values.get(name) if isinstance(values, dict) else None
    if values is None:
        return None
    if not isinstance(values, dict):
        msg = f"{'.'.join(table)} ({path}) must be a table of settings, not {type(values).__name__}"
        raise SettingsError(msg)
    return File(dict(_checked(path, text, values, table)))


def _parse(path: Path, text: str) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - only who has a file needs it

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        msg = f"{path} is no valid TOML: {exc}"
        raise SettingsError(msg) from exc


def _checked(
    path: Path, text: str, values: Mapping[str, Any], table: Sequence[str]
) -> Iterator[tuple[str, Found]]:
    known = {setting.key: setting for setting in SETTINGS}
    for key, value in _flat(values):
        line = line_of(text, [*table, *key.split(".")])
        origin = f"{key} ({path}{f', line {line}' if line else ''})"
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            help_ = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            msg = f"unknown setting {origin}: {help_}"
            raise SettingsError(msg)
        found = Found(value, origin, known[key].kind, text=False)
        found.read()
        yield key, found


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Keys with dots for the tables that they stand in."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def line_of(text: str, path: Sequence[str]) -> int | None:
    """The line on which a key is set, as far as can be told without a parser that keeps lines."""
    table: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            table = _parts(stripped.partition("]")[0].lstrip("["))
        elif "=" in stripped and [*table, *_parts(stripped.partition("=")[0])] == list(path):
            return number
    return None


def _parts(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]
