"""`resilient-llm models`: what the backend offers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

from . import options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resilient_llm.models import ModelInfo

    from .chat_screen import Screen


def models(
    backend: options.Backend = None,
    base_url: options.BaseUrl = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """List the backend's models: ids, names, owners, context, loaded or not.

    The context is in tokens. A dash stands for what the backend does not tell.

    Exit status: 0, 1 if the backend does not answer, 2 for wrong usage,
    130 if interrupted.
    """
    from .guard import guarded  # noqa: PLC0415 - other commands need not wait for it to be imported

    settings = options.given(backend, base_url)
    status = guarded(lambda screen: show(settings, screen, as_json=as_json), as_json=as_json, quiet=quiet)
    raise typer.Exit(status)


def show(settings: Mapping[str, object], screen: Screen, *, as_json: bool) -> int:
    """List the models of the backend that the settings name; the exit status."""
    from . import chat_json  # noqa: PLC0415
    from .table import write_table  # noqa: PLC0415

    found = asyncio.run(listed(settings, screen))
    if as_json:
        chat_json.write({"models": [_entry(model) for model in found]})
    elif found:
        write_table(("ID", "NAME", "OWNER", "CONTEXT", "LOADED"), [_row(model) for model in found])
    else:
        screen.notice("no models: the server is there, but offers none; download or load one there")
    return 0


async def listed(settings: Mapping[str, object], screen: Screen) -> Sequence[ModelInfo]:
    """The models of the backend that the settings name."""
    from resilient_llm.client import AsyncClient  # noqa: PLC0415

    async with AsyncClient.from_settings(None, observers=[screen.observe], **settings) as llm:
        return await llm.models()


def _row(model: ModelInfo) -> list[str]:
    window = "" if model.context_length is None else str(model.context_length)
    loaded = "" if model.loaded is None else "yes" if model.loaded else "no"
    return [model.id, model.name, model.owned_by, window, loaded]


def _entry(model: ModelInfo) -> dict[str, object]:
    fields = ("id", "name", "owned_by", "context_length", "loaded", "kind")
    return {field: getattr(model, field) for field in fields}
