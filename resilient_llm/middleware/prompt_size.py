"""What TokenBudget asks of a request, and says of it."""

from __future__ import annotations

import asyncio
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

from resilient_llm.errors import ModelInvalidRequestError
from resilient_llm.models import PromptCut, PruneReport, Request
from resilient_llm.tokens import ContextWindow, MalformedMessageError

from .call_size import answer_limit, offered

if TYPE_CHECKING:
    from resilient_llm.tokens import ChatCounter


@attrs.define(eq=False)
class Fit:
    """A request as it is sent.

    Args:
        request: The request.
        report: What was dropped, if anything was.
        tokens: Our count of all that it holds; None if bytes proved that it fits.
    """

    request: Request
    report: PruneReport | None = None
    tokens: int | None = None


def answer_tokens(request: Request, default: int | None = None) -> int | None:
    """What the caller asked for as the answer's length; `default` if that is left to others."""
    asked = answer_limit(request)
    return default if asked is None else asked


def definitions(request: Request, counter: ChatCounter) -> int:
    """What the request holds beside its messages.

    Raises:
        ModelInvalidRequestError: A tool, or the system prompt, is malformed.
    """
    parts = offered(request)
    try:
        return counter.definitions(**parts) if parts else 0
    except TypeError as exc:
        raise ModelInvalidRequestError(str(exc), model=request.model or None) from exc


def must_count(request: Request, window: ContextWindow | int, counter: ChatCounter) -> bool:
    """Will bytes not do, so that a vocabulary is needed that is not loaded yet?"""
    if counter.ready:
        return False
    if offered(request):
        return True
    size = window.tokens if isinstance(window, ContextWindow) else window
    try:
        return not counter.fits_by_bytes(request.messages, size // 2)
    except MalformedMessageError:
        return False


async def loaded(counter: ChatCounter) -> None:
    """Build the vocabularies beside the event loop: its other calls have time limits that go on."""
    if not counter.ready:
        await asyncio.to_thread(counter.load)


def warn_of_cut(request: Request, tokens: int, window: int) -> None:
    """Tell the observers, and whoever runs the program, that a backend cut a prompt without saying so."""
    request.tell(PromptCut(tokens, window))
    msg = (
        f"model {request.model!r}: the backend reports a prompt of {tokens} tokens, far fewer than were sent: it has "
        f"cut the conversation without saying so, and its window is taken for {window} tokens from now on; raise "
        "the server's context length, or set context_window"
    )
    with suppress(RuntimeWarning):  # where warnings are errors: an account that raised would spoil the answer
        warnings.warn(msg, RuntimeWarning, stacklevel=2)
