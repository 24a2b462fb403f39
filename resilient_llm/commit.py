"""How a transport opens the response that it returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .body import Body, Ended, ResponseInfo
from .response import Response

if TYPE_CHECKING:
    from .events import Event
    from .request import Request


async def commit(body: Body, request: Request) -> Response:
    """Open the response that every transport returns: read up to the commit.

    For `stream=False` that is the last event, for `stream=True` the first that may be handed over. A failure on
    the way closes the body and is raised as the body raised it.
    """
    response = Response(body, request)
    await response.open()
    return response


def whole(events: list[Event], info: ResponseInfo, request: Request) -> Response:
    """The response to an answer that came in one piece: what `commit` gives, without a wait.

    Raises:
        LLMError: The answer is unusable: a tool call without its end, nothing but a filter's refusal.
    """
    response = Response(Ended(info), request)
    response.begin(events)
    response.check()
    return response
