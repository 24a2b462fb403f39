"""A batch's output: read to its last whole record, then only appended to."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from .batch_book import BEGINNING, Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO


class ForeignOutputError(ValueError):
    """The output is somebody else's file, or somebody else writes it."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, Ledger]]:
    """The output, ready for the next record, and what is in it.

    A last line that a kill tore is removed; a file that holds anything else than records is left alone.

    Raises:
        ForeignOutputError: See there.
        OSError: The file cannot be read or written.
    """
    with path.open("a+b", buffering=0) as file:
        _lock(file, path)
        ledger = Ledger()
        with path.open("rb") as reader:
            end = _read(reader, ledger, path)
        file.truncate(end)
        yield file, ledger


def append(file: BinaryIO, line: bytes) -> None:
    """Write a record; a process that is killed meanwhile leaves at most a torn last line."""
    while line:
        line = line[file.write(line) :]


def _read(reader: BinaryIO, ledger: Ledger, path: Path) -> int:
    end = 0
    for number, line in enumerate(reader, 1):
        whole = line.endswith(b"\n")
        if whole and ledger.note(line):
            end += len(line)
        elif whole or not (line.startswith(BEGINNING) or BEGINNING.startswith(line)):
            msg = f"{path} is no batch's output: see its line {number}; name another file (-o)"
            raise ForeignOutputError(msg)
    return end


def _lock(file: BinaryIO, path: Path) -> None:
    """Keep a second batch away, where the platform can."""
    try:
        import fcntl  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        msg = f"another batch is writing {path}"
        raise ForeignOutputError(msg) from None
