"""Programs that are forked end and fail as programs do that are started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from programs import Programs


@pytest.mark.skipif(not hasattr(os, "fork"), reason="they are started")
@pytest.mark.parametrize(
    ("program", "code", "out", "err"),
    [
        ("import sys; print(sys.argv, __name__, sys.stdin.read())", 0, "['-c', 'a', 'b'] __main__ hi\n", ""),
        ("import sys; assert not [name for name in sys.modules if 'resilient' in name]", 0, "", ""),
        ("import warnings; warnings.warn('old')", 1, "", "UserWarning: old"),
        ("raise SystemExit(3)", 3, "", ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -15, "", ""),
        ("import atexit; atexit.register(print, 'ended')", 0, "ended\n", ""),
        ("import threading; threading.Timer(0.01, print, ['late']).start()", 0, "late\n", ""),
        ("open('/dev/null')", 0, "", "unclosed file"),
    ],
)
def test_a_program_runs_as_if_it_were_started(programs: Programs, program, code, out, err) -> None:
    """Its arguments, input, warnings, exit code, last words, and a package that nobody has imported."""
    done = programs.run(program, "a", "b", stdin=b"hi")
    assert (done.code, done.out) == (code, out)
    assert err in done.err
    assert bool(err) == bool(done.err)
