"""What a fault server remembers of the requests it saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

Ending: TypeAlias = Literal["completed", "reset", "cut", "left"]
"""How an answer ended: sent to its end (errors too), reset or cut by the server, or left by the client."""


@attrs.define(eq=False)
class SeenRequest:
    """A request to a model that the server saw.

    Args:
        number: 1 for the first.
        at: When it arrived, in seconds since the schedule began.
        connection: Which connection it came by; 1 for the first.
        headers: Its headers, names in lower case.
        body: Its decoded body.
        path: What was asked: `/v1/chat/completions`, `/v1/messages`, `/api/chat`, ...
        stream: Was a stream asked for?
        tokens: Its size as the server counts.
        fault: What the server was told to do, in words.
        status: The status of the answer, or None if no head was sent.
        ending: How the answer ended, or None while it has not.
        ended: When, in seconds since the schedule began.
    """

    number: int
    at: float
    connection: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: Mapping[str, Any] = attrs.field(repr=False)
    path: str = ""
    stream: bool = False
    tokens: int = 0
    fault: str = ""
    status: int | None = None
    ending: Ending | None = None
    ended: float | None = None
