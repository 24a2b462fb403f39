"""Changing one value of a TOML file: all else, comments too, stays as it is."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from resilient_llm.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence


def set_value(path: Path, keys: Sequence[str], value: object) -> None:
    """Set a value in a file, which is made if there is none.

    Args:
        path: The file.
        keys: The names of the tables that the value stands in, and its own.
        value: A text, a number or a truth.

    Raises:
        SettingsError: The file is no TOML, or has something else where a table belongs.
        OSError: It cannot be read or written; then it is as it was.
    """
    path = Path(os.path.realpath(path))  # a link stays a link
    document = _read(path)
    place: Any = document
    for name in keys[:-1]:
        if name not in place:
            place[name] = tomlkit.table()
        place = place[name]
        if not isinstance(place, dict):
            msg = f"{name} ({path}) must be a table"
            raise SettingsError(msg)
    place[keys[-1]] = value
    _replace(path, tomlkit.dumps(document))


def _read(path: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        return tomlkit.document()
    except (TOMLKitError, UnicodeDecodeError) as exc:
        msg = f"{path} is no valid TOML: {exc}; put it right first"
        raise SettingsError(msg) from exc


def _replace(path: Path, text: str) -> None:
    """Write a new file and move it to its place, so that a reader or a full disk never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(13, "the file is read-only", str(path))
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        Path(name).chmod(path.stat().st_mode & 0o777 if path.exists() else _usual_mode())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _usual_mode() -> int:
    """The permissions that a new file would have had: addresses may hold passwords, and a umask keeps others out."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask
