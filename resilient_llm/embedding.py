"""Embedding lists of any length: in batches, a few at once, put together in order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import attrs

from .errors import LLMError, ModelInvalidRequestError, ModelResponseInvalidError
from .models import Embeddings, Request, Usage
from .options import inputs
from .policy.batches import CAUTIOUS, BatchLimits, batches

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .response import Response

Send: TypeAlias = "Callable[[Request], Awaitable[Response]]"

AT_ONCE: Final = 4
"""How many batches of a call are under way at the same time."""


def limits_of(transport: object, size: object) -> BatchLimits:
    """What goes into one request: as the transport says, but no more texts than the caller wants.

    Raises:
        ModelInvalidRequestError: The caller's size is none.
    """
    told = getattr(transport, "batch_limits", CAUTIOUS)
    if size is None:
        return told
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        msg = f"batch_size must be a whole number of 1 or more, not {size!r}"
        raise ModelInvalidRequestError(msg)
    return attrs.evolve(told, inputs=size)


async def embed(send: Send, request: Request, texts: str | Sequence[str], limits: BatchLimits) -> Embeddings:
    """The texts' vectors, in their order; their usage is that of all batches.

    The first batch that fails ends the others.

    Args:
        send: Sends a request through the pipeline.
        request: The call's options, as a request.
        texts: What is to be embedded.
        limits: What goes into one request.

    Raises:
        LLMError: A batch failed; a note tells which texts were in it.
        ModelInvalidRequestError: There is nothing to embed, or something that is no text.
        ModelResponseInvalidError: Not all batches were embedded by the same model.
    """
    texts = inputs(texts)

    async def ask(begin: int, end: int) -> Embeddings:
        params = {**request.params, "input": texts[begin:end]}
        response = await send(attrs.evolve(request, operation="embed", params=params))
        return cast("Embeddings", await response.result())

    places = list(batches(texts, limits))
    if len(places) == 1:
        return await ask(*places[0])
    return _joined(await _all(ask, places), places)


async def _all(
    ask: Callable[[int, int], Awaitable[Embeddings]], places: Sequence[tuple[int, int]]
) -> list[Embeddings]:
    """The batches' results in order, a few asked for at once; the first failure is raised as it is."""
    found: dict[int, Embeddings] = {}
    left = iter(places)

    async def work() -> None:
        for begin, end in left:
            try:
                found[begin] = await ask(begin, end)
            except LLMError as error:
                error.add_note(f"texts[{begin}:{end}] of {places[-1][1]} failed")
                raise

    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(places))):
                group.create_task(work())
    except BaseExceptionGroup as failures:
        failure = failures.exceptions[0]
    if failure is not None:
        raise failure  # outside, so that its own cause stays
    if len(found) < len(places):
        raise asyncio.CancelledError  # as of any call that is under way when the client is closed
    return [found[begin] for begin, _ in places]


def _joined(parts: Sequence[Embeddings], places: Sequence[tuple[int, int]]) -> Embeddings:
    first = parts[0]
    for part, (begin, end) in zip(parts, places, strict=True):
        if (part.model, len(part.vectors[0])) != (first.model, len(first.vectors[0])):
            msg = (
                f"texts[{begin}:{end}] were embedded by {part.model!r} ({len(part.vectors[0])} dimensions), those "
                f"before by {first.model!r} ({len(first.vectors[0])}): such vectors do not belong together"
            )
            raise ModelResponseInvalidError(msg)
    vectors = [vector for part in parts for vector in part.vectors]
    return Embeddings(vectors, first.model, _sum([part.usage for part in parts]))


def _sum(usages: Sequence[Usage]) -> Usage:
    def total(name: str) -> int | None:
        told = [value for usage in usages if (value := getattr(usage, name)) is not None]
        return sum(told) if told else None

    return Usage(**{field.name: total(field.name) for field in attrs.fields(Usage)})
