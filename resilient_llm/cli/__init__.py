"""The command line; needs the extra `cli` (typer, rich, tomlkit)."""

from __future__ import annotations

import sys


def main() -> None:
    """Run `resilient-llm`, or say what to install."""
    try:
        from .app import app  # noqa: PLC0415 - typer is an extra

        app()  # commands import what they need when they run
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except ModuleNotFoundError as exc:
        if exc.name not in {"typer", "rich", "tomlkit"}:
            raise
        print(f"resilient-llm needs {exc.name}: pip install 'resilient-llm[cli]'", file=sys.stderr)
        raise SystemExit(2) from None
