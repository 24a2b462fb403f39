"""`resilient-llm doctor`: running the checks, showing what they find."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Final

import attrs

from . import chat_json
from .chat_screen import one_line
from .doctor_checks import Doctor
from .guard import FAILED, OK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .chat_screen import Screen
    from .doctor_finding import Finding

COLOURS: Final = {"ok": 32, "warning": 33, "wrong": 31}


def run(given: Mapping[str, object], screen: Screen, *, as_json: bool) -> int:
    """Make all checks and show them; the exit status."""
    findings = asyncio.run(_examined(given, screen, as_json=as_json))
    well = all(finding.state != "wrong" for finding in findings)
    if as_json:
        chat_json.write({"ok": well, "checks": [attrs.asdict(finding) for finding in findings]})
    return OK if well else FAILED


async def _examined(given: Mapping[str, object], screen: Screen, *, as_json: bool) -> list[Finding]:
    findings: list[Finding] = []
    async for finding in Doctor(given, [screen.observe]).findings():
        findings.append(finding)
        if not as_json:
            _show(finding)
    return findings


def _show(finding: Finding) -> None:
    state = f"{finding.state:8}"
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        state = f"\x1b[{COLOURS[finding.state]}m{state}\x1b[0m"
    print(f"{state} {finding.check:9} {one_line(finding.finding)}")
    if finding.next_step:
        print(f"{'':18} -> {one_line(finding.next_step)}")
    sys.stdout.flush()
