"""`resilient-llm config`: its options."""

from __future__ import annotations

from typing import Annotated

import typer

from resilient_llm.settings.table import SETTINGS

from . import options

KEYS = tuple(setting.key for setting in SETTINGS)


def config(
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", autocompletion=options.begins(KEYS), help="The setting to write."),
    ] = None,
    value: Annotated[
        str | None, typer.Option(metavar="VALUE", help="Its value; asked for if left out at a terminal.")
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Write the working directory's file, not your own.")
    ] = False,
    list_models: Annotated[bool, typer.Option("--list-models", help="List the backend's models.")] = False,
    backend: options.Backend = None,
    base_url: options.BaseUrl = None,
    as_json: options.AsJson = False,
) -> None:
    """Show all settings and where each comes from, or write one.

    `config --key llm_model` lists the backend's models and asks which.

    Exit status: 0, 1 if something failed, 2 for wrong usage or a wrong value,
    130 if interrupted.
    """
    from . import config_run, models  # noqa: PLC0415 - other commands need not wait for it to be imported
    from .guard import guarded  # noqa: PLC0415

    if value is not None and key is None:
        raise typer.BadParameter("needs --key KEY", param_hint="--value")  # noqa: EM101, TRY003
    if list_models and key is not None:
        raise typer.BadParameter("is not for use with --key", param_hint="--list-models")  # noqa: EM101, TRY003
    if local and key is None:
        raise typer.BadParameter("needs --key KEY", param_hint="--local")  # noqa: EM101, TRY003
    settings = options.given(backend, base_url)
    if list_models:
        status = guarded(lambda screen: models.show(settings, screen, as_json=as_json), as_json=as_json)
    elif key is None:
        status = guarded(lambda _: config_run.show(settings, as_json=as_json), as_json=as_json)
    else:
        change = config_run.Change(key, value, local=local, as_json=as_json, given=settings)
        status = guarded(lambda screen: config_run.write(change, screen), as_json=as_json)
    raise typer.Exit(status)
