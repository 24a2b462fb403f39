"""`resilient-llm chat`: its options."""

from __future__ import annotations

from typing import Annotated

import typer

from resilient_llm.settings.kinds import SECONDS

from . import options as shared


def chat(
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="What to ask. Text from a pipe follows it, or takes its place.", show_default=False
        ),
    ] = None,
    backend: shared.Backend = None,
    base_url: shared.BaseUrl = None,
    model: shared.Model = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="A system message.")] = None,
    max_retries: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Attempts after the first; 3 if left out.")
    ] = None,
    deadline: Annotated[
        float | None,
        typer.Option(
            callback=shared.checked(SECONDS), metavar="SECONDS", help="For all attempts; 600 if left out."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the answer, or the error, as one JSON object.")
    ] = False,
    quiet: shared.Quiet = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every event of a call.")] = False,
) -> None:
    """Ask, and print the answer while it is written; without a prompt, hold a conversation.

    What is left out comes from the settings: environment, resilient-llm.toml, your file.

    Retries, waits and pruning are told on standard error. Ctrl-C stops an answer.

    Exit status: 0, 1 if the call failed, 2 for wrong usage, 130 if interrupted.
    """
    from .chat_run import Options, run  # noqa: PLC0415 - other commands need not wait for it to be imported

    settings = shared.given(backend, base_url, model)
    limits = {"max_retries": max_retries, "deadline": deadline}
    options = Options(settings, limits, system=system, as_json=as_json, quiet=quiet, verbose=verbose)
    raise typer.Exit(run(prompt, options))
