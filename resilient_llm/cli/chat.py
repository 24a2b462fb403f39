"""`resilient-llm chat`: its options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from resilient_llm.settings.kinds import ADDRESS, PROVIDER, PROVIDERS, SECONDS, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def _checked(kind: Kind) -> Callable[[Any], Any]:
    """An option's callback that checks a value as settings are checked."""

    def check(value: object) -> object:
        try:
            return None if value is None else kind.read(value, "it")
        except ValueError as exc:
            raise typer.BadParameter(str(exc)) from None

    return check


def chat(
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="What to ask. Text from a pipe follows it, or takes its place.", show_default=False
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(callback=_checked(PROVIDER), metavar="NAME", help=f"One of {', '.join(PROVIDERS)}."),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(callback=_checked(ADDRESS), metavar="URL", help="Where the backend is.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="The model to ask for.")] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="A system message.")] = None,
    max_retries: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Attempts after the first; 3 if left out.")
    ] = None,
    deadline: Annotated[
        float | None,
        typer.Option(
            callback=_checked(SECONDS), metavar="SECONDS", help="For all attempts; 600 if left out."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the answer, or the error, as one JSON object.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notices, only errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every event of a call.")] = False,
) -> None:
    """Ask, and print the answer while it is written; without a prompt, hold a conversation.

    What is left out comes from the settings: environment, resilient-llm.toml, your file.

    Retries, waits and pruning are told on standard error. Ctrl-C stops an answer.

    Exit status: 0, 1 if the call failed, 2 for wrong usage, 130 if interrupted.
    """
    from .chat_run import Options, run  # noqa: PLC0415 - other commands need not wait for it to be imported

    settings = {"llm_provider": backend, "llm_api_base": base_url, "llm_model": model}
    limits = {"max_retries": max_retries, "deadline": deadline}
    options = Options(settings, limits, system=system, as_json=as_json, quiet=quiet, verbose=verbose)
    raise typer.Exit(run(prompt, options))
