"""`resilient-llm doctor`: its options."""

from __future__ import annotations

import typer

from . import options


def doctor(
    backend: options.Backend = None,
    base_url: options.BaseUrl = None,
    model: options.Model = None,
    as_json: options.AsJson = False,
) -> None:
    """Find out why it does not work, or what is slow.

    Checks in this order: the settings, the way to the backend, what answers
    there, the model, a short chat, the speed. Each line says what was found,
    and what to do about it. It ends where the next checks would be pointless.

    Exit status: 0 if nothing is wrong, warnings aside, 1 if something is,
    2 for wrong usage, 130 if interrupted.
    """
    from .doctor_run import run  # noqa: PLC0415 - other commands need not wait for it to be imported
    from .guard import guarded  # noqa: PLC0415

    settings = options.given(backend, base_url, model)
    raise typer.Exit(guarded(lambda screen: run(settings, screen, as_json=as_json), as_json=as_json))
