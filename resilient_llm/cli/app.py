"""The commands."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from resilient_llm.client import AsyncClient
from resilient_llm.errors import LLMError
from resilient_llm.events import TextDelta
from resilient_llm.presets import BACKENDS
from resilient_llm.version import __version__

from .demo import demo

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


app.command()(demo)


@app.command()
def chat(
    prompt: Annotated[str | None, typer.Argument(help="What to ask; read from a pipe if left out.")] = None,
    backend: Annotated[str, typer.Option(help=f"One of {', '.join(sorted(BACKENDS))}.")] = "lmstudio",
    base_url: Annotated[str | None, typer.Option(help="Where the backend is.")] = None,
    model: Annotated[str, typer.Option(help="The model; empty lets the backend choose.")] = "",
    system: Annotated[str | None, typer.Option(help="A system message.")] = None,
) -> None:
    """Ask, and print the answer while it is written."""
    text = prompt if prompt is not None else _piped()
    try:
        asyncio.run(_chat(text, backend, base_url, model, system))
    except LLMError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo(err=True)
        raise typer.Exit(130) from None


def _piped() -> str:
    text = "" if sys.stdin.isatty() else sys.stdin.read().strip()
    if not text:
        typer.echo('error: no prompt: resilient-llm chat "…", or send one through a pipe', err=True)
        raise typer.Exit(2)
    return text


async def _chat(text: str, backend: str, base_url: str | None, model: str, system: str | None) -> None:
    async with (
        AsyncClient(backend, base_url=base_url, model=model) as llm,
        llm.stream(text, system=system) as response,
    ):
        async for event in response:
            if isinstance(event, TextDelta):
                sys.stdout.write(event.text)
                sys.stdout.flush()
    sys.stdout.write("\n")
