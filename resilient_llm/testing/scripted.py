"""A transport that does what a script says."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import attrs

from resilient_llm.commit import commit
from resilient_llm.errors import ModelResponseInvalidError
from resilient_llm.events import Event, Finish, TextDelta
from resilient_llm.response import Response, ResponseInfo

if TYPE_CHECKING:
    from resilient_llm.models import Request

Step: TypeAlias = Event | Exception | float
"""One thing that happens in a scripted answer: an event arrives, an error is raised, or seconds pass.

After `math.inf` seconds nothing comes any more: a stall.
"""

Script: TypeAlias = str | Exception | Sequence[Step]
"""A scripted answer: a text (a word per event), an error, or steps."""


class ScriptedTransport:
    """Answers each call with the next script, and the calls after the last with the last.

    `requests` holds what was asked, `open_bodies` counts answers that were begun and not closed.

        transport = ScriptedTransport(ModelOverloadedError("busy"), "Hello, world!")

    Args:
        scripts: One for each call, at least one.
        name: The backend's name.
        resumes: Says of its answers that they go on from a request's `resume_from`; the scripts have to do so.
    """

    def __init__(self, *scripts: Script, name: str = "scripted", resumes: bool = False) -> None:
        if not scripts:
            msg = "a ScriptedTransport needs at least one script"
            raise ValueError(msg)
        self.name = name
        self.resumes = resumes
        self.requests: list[Request] = []
        self.open_bodies = 0
        self._scripts = scripts

    async def __call__(self, request: Request) -> Response:
        """Play the next script."""
        script = self._scripts[min(len(self.requests), len(self._scripts) - 1)]
        self.requests.append(request)
        return await commit(_ScriptedBody(self, _steps(script)), request)

    async def aclose(self) -> None:
        """Nothing to close."""


def _steps(script: Script) -> list[Step]:
    if isinstance(script, Exception):
        return [script]
    if isinstance(script, str):
        words = script.split(" ")
        texts = [word + " " for word in words[:-1]] + words[-1:]
        return [*(TextDelta(text) for text in texts if text), Finish("stop")]
    return list(script)


@attrs.define
class _ScriptedBody:
    transport: ScriptedTransport
    steps: list[Step]
    info: ResponseInfo = attrs.field(init=False)
    closed: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.info = ResponseInfo(
            backend=self.transport.name, model="scripted-model", resumes=self.transport.resumes
        )
        self.transport.open_bodies += 1

    async def receive(self) -> list[Event]:
        while self.steps:
            step = self.steps.pop(0)
            if isinstance(step, Exception):
                raise step
            if isinstance(step, int | float):
                await _pass(step)
            else:
                return [step]
        msg = "the stream ended without a finish reason"
        raise ModelResponseInvalidError(msg)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.transport.open_bodies -= 1


async def _pass(seconds: float) -> None:
    if math.isinf(seconds):
        await asyncio.get_running_loop().create_future()
    await asyncio.sleep(seconds)
