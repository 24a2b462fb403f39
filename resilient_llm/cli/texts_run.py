"""`resilient-llm embed` and `count`: doing it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import attrs

from resilient_llm.client import AsyncClient

from . import chat_input, chat_json
from .guard import OK, USAGE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from resilient_llm.models import Embeddings, Message

    from .chat_screen import Screen


def embed(
    texts: Sequence[str] | None, settings: Mapping[str, object], screen: Screen, *, as_json: bool
) -> int:
    """Print the texts' vectors; the exit status."""
    asked = list(texts or ())
    if not asked and not chat_input.at_a_terminal():
        asked = [line for line in chat_input.question(None, screen).splitlines() if line.strip()]
    if not asked:
        screen.error('no text: resilient-llm embed "...", or send lines through a pipe')
        return USAGE
    done = asyncio.run(_embedded(asked, settings, screen))
    if as_json:
        chat_json.write({"vectors": done.vectors, "model": done.model, "usage": attrs.asdict(done.usage)})
    else:
        for vector in done.vectors:
            print(" ".join(f"{number:.6g}" for number in vector))
    return OK


async def _embedded(texts: Sequence[str], settings: Mapping[str, object], screen: Screen) -> Embeddings:
    async with AsyncClient.from_settings(None, observers=[screen.observe], **settings) as llm:
        return await llm.embed(texts)


def count(
    text: str | None, file: Path | None, settings: Mapping[str, object], screen: Screen, *, as_json: bool
) -> int:
    """Print the tokens of a text or of a file's messages; the exit status."""
    if text is not None and file is not None:
        screen.error("give a text or --messages, not both")
        return USAGE
    prompt: str | list[Message]
    if file is not None:
        try:
            prompt = _messages(file)
        except ValueError as exc:
            screen.error(f"{file} {exc}")
            return USAGE
    elif text is None and chat_input.at_a_terminal():
        screen.error('no text: resilient-llm count "...", send one through a pipe, or give --messages FILE')
        return USAGE
    else:
        prompt = text if text is not None else chat_input.piped(screen)
    tokens = asyncio.run(_counted(prompt, settings))
    if as_json:
        chat_json.write({"tokens": tokens})
    else:
        print(tokens)
    return OK


async def _counted(prompt: str | list[Message], settings: Mapping[str, object]) -> int:
    async with AsyncClient.from_settings(None, **settings) as llm:
        return await llm.count_tokens(prompt)


def _messages(file: Path) -> list[Message]:
    try:
        value: Any = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        msg = "is no JSON"
        raise ValueError(msg) from None
    if isinstance(value, dict):
        value = value.get("messages")
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        msg = "must hold a list of messages, or an object with one"
        raise ValueError(msg)
    return value
