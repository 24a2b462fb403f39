"""The options that several commands have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from resilient_llm.settings.kinds import ADDRESS, PROVIDER, PROVIDERS, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def checked(kind: Kind) -> Callable[[Any], Any]:
    """An option's callback that checks a value as settings are checked."""

    def check(value: object) -> object:
        try:
            return None if value is None else kind.read(value, "it")
        except ValueError as exc:
            raise typer.BadParameter(str(exc)) from None

    return check


def begins(names: Iterable[str]) -> Callable[[str], list[str]]:
    """What a shell completes to: those of the names that begin as typed."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


Backend = Annotated[
    str | None,
    typer.Option(
        callback=checked(PROVIDER),
        autocompletion=begins(PROVIDERS),
        metavar="NAME",
        help=f"One of {', '.join(PROVIDERS)}.",
    ),
]
BaseUrl = Annotated[
    str | None, typer.Option(callback=checked(ADDRESS), metavar="URL", help="Where the backend is.")
]
Model = Annotated[str | None, typer.Option(metavar="NAME", help="The model to ask for.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for an error as well.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No notices, only errors.")]


def given(backend: str | None, base_url: str | None, model: str | None = None) -> dict[str, object]:
    """The settings that the options stand for; None is left to the other sources."""
    return {"llm_provider": backend, "llm_api_base": base_url, "llm_model": model}
