"""The key of a backend: a string or a function, and never shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeAlias

from resilient_llm.errors import ModelAuthError

ApiKey: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""A key, or a function (sync or async) that is asked for one before each attempt."""

HIDDEN = "**********"
SHORTEST_SECRET = 8


class Credential:
    """A key whose repr hides it.

    Args:
        source: The key or the function that gives it; None and an empty string mean that there is none.
    """

    __slots__ = ("_ask", "known")

    def __init__(self, source: ApiKey | None) -> None:
        if source is not None and not isinstance(source, str) and not callable(source):
            msg = f"api_key must be a string or a function that returns one, not {type(source).__name__}"
            raise TypeError(msg)
        self.known = _clean(source) if isinstance(source, str) else ""
        self._ask = source if callable(source) else None

    def __repr__(self) -> str:
        return f"Credential({HIDDEN if self else ''})"

    def __bool__(self) -> bool:
        return self._ask is not None or bool(self.known)

    @property
    def changes(self) -> bool:
        """Must it be asked for before each attempt?"""
        return self._ask is not None

    async def reveal(self) -> str:
        """The key as it is now; empty if there is none.

        Raises:
            ModelAuthError: The function gave something that is no key. What the function itself raises passes.
        """
        if self._ask is None:
            return self.known
        answer = self._ask()
        key = await answer if isawaitable(answer) else answer
        if not isinstance(key, str):
            msg = f"the function given as api_key returned {type(key).__name__}, not a string"
            raise ModelAuthError(msg)
        try:
            self.known = _clean(key)
        except ValueError as exc:
            raise ModelAuthError(str(exc)) from None
        return self.known

    def scrub(self, text: str) -> str:
        """The text without the key; a stand-in such as `"x"`, which servers without keys are given, is no secret."""
        return text.replace(self.known, HIDDEN) if len(self.known) >= SHORTEST_SECRET else text


def _clean(key: str) -> str:
    """Keys read from files end with a line break."""
    key = key.strip()
    if not key.isascii() or not key.isprintable():
        msg = "api_key must consist of printable ASCII characters; was something else pasted?"
        raise ValueError(msg)
    return key
