"""The commands."""

from __future__ import annotations

from typing import Annotated

import typer

from resilient_llm.version import __version__

from .batch import batch
from .chat import chat
from .config import config
from .demo import demo
from .doctor import doctor
from .models import models
from .texts import count, embed

app = typer.Typer(
    name="resilient-llm",
    help="Call language models through retry, circuit breaker, token budget and error classification.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"resilient-llm {__version__}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Options before a command."""


app.command()(chat)
app.command()(demo)
app.command()(models)
app.command()(config)
app.command()(doctor)
app.command()(batch)
app.command()(embed)
app.command()(count)
