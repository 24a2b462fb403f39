"""`resilient-llm batch`: its options."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from . import options


def batch(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN.JSONL", exists=True, dir_okay=False, readable=True, help="The questions."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.JSONL", dir_okay=False, help="Where answers go.")
    ],
    backend: options.Backend = None,
    base_url: options.BaseUrl = None,
    model: options.Model = None,
    parallel: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="Calls at a time.")] = 4,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask again what failed in an earlier run.")
    ] = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Answer a file of questions, a line each.

    A line is a JSON string, {"prompt": ...} or {"messages": ...} with any
    options of a call, or OpenAI's batch format: {"custom_id", "body"}.

    Each answer, or error, is a line of the output as soon as it is there. The
    same command goes on where it was stopped or killed.

    Exit status: 0 if all are answered, 1 if some failed, 2 for wrong usage,
    130 if interrupted.
    """
    from .batch_run import Batch, run  # noqa: PLC0415 - other commands need not wait for it to be imported
    from .guard import guarded  # noqa: PLC0415

    settings = options.given(backend, base_url, model)
    work = Batch(source, output, settings, parallel=parallel, retry_failed=retry_failed, as_json=as_json)
    raise typer.Exit(guarded(lambda screen: run(work, screen), as_json=as_json, quiet=quiet))
