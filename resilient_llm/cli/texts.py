"""`resilient-llm embed` and `count`: their options."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from . import options


def embed(
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="What to embed; without any, each line of a pipe.", show_default=False),
    ] = None,
    backend: options.Backend = None,
    base_url: options.BaseUrl = None,
    model: options.Model = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Print vectors for texts: a line of numbers for each, in their order.

    Exit status: 0, 1 if the call failed, 2 for wrong usage, 130 if interrupted.
    """
    from . import texts_run  # noqa: PLC0415 - other commands need not wait for it to be imported
    from .guard import guarded  # noqa: PLC0415

    settings = options.given(backend, base_url, model)
    status = guarded(
        lambda screen: texts_run.embed(texts, settings, screen, as_json=as_json), as_json=as_json, quiet=quiet
    )
    raise typer.Exit(status)


def count(
    text: Annotated[
        str | None,
        typer.Argument(help="What to count; without it, the text of a pipe.", show_default=False),
    ] = None,
    messages: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="A JSON list of messages to count instead."
        ),
    ] = None,
    backend: options.Backend = None,
    base_url: options.BaseUrl = None,
    model: options.Model = None,
    as_json: options.AsJson = False,
) -> None:
    """Count tokens: by the backend's tokenizer, else the best one here.

    With --model and no --backend nothing is asked: a vocabulary that is here
    counts, or an estimate that is rather too high.

    Exit status: 0, 1 if the backend does not answer, 2 for wrong usage,
    130 if interrupted.
    """
    from . import texts_run  # noqa: PLC0415 - other commands need not wait for it to be imported
    from .guard import guarded  # noqa: PLC0415

    here = model is not None and backend is None and base_url is None
    settings = options.given("offline" if here else backend, base_url, model)
    status = guarded(
        lambda screen: texts_run.count(text, messages, settings, screen, as_json=as_json), as_json=as_json
    )
    raise typer.Exit(status)
