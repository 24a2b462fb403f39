"""Playing a plan: two servers with the same schedule, two clients with the same calls."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from resilient_llm.client import AsyncClient
from resilient_llm.errors import ErrorCode, LLMError
from resilient_llm.testing import FaultServer, echo
from resilient_llm.testing.bare import BareClient
from resilient_llm.tokens import preload

from .phases import WINDOW
from .plan import MODEL
from .tally import UNNOTICED, Lane, Moves, Result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from typing import Any, TypeAlias

    from .plan import Call
    from .tally import Tally

    Ask: TypeAlias = Callable[[Call], Coroutine[Any, Any, tuple[str, bool]]]

TICK = 0.125
"""Seconds between two looks at how far things are."""


async def play(tally: Tally, look: Callable[[], None]) -> None:
    """Make all calls through both clients, and call `look` every now and then."""
    preload()  # as a server should before it takes traffic: building a vocabulary stops everything for a moment
    plan, clock = tally.plan, tally.clock
    async with _clients(tally) as lanes, asyncio.TaskGroup() as group:
        watching = group.create_task(_watch(tally, look))
        async with asyncio.TaskGroup() as calls:
            for call in plan.calls:
                await clock.sleep(max(0.0, call.at - tally.elapsed))
                for lane, ask in lanes:
                    calls.create_task(_run(tally, lane, call, ask))
        watching.cancel()


@asynccontextmanager
async def _clients(tally: Tally) -> AsyncIterator[list[tuple[Lane, Ask]]]:
    plan = tally.plan
    async with (
        FaultServer(plan.schedule, window=WINDOW) as one,
        FaultServer(plan.schedule, window=WINDOW) as other,
        BareClient(one.base_url, timeout=plan.limits.deadline) as bare,
        AsyncClient(
            "openai-compatible",
            base_url=other.base_url,
            model=MODEL,
            observers=[tally.stages.notice],
            **plan.limits.options(plan.seed, Moves(tally)),
        ) as stack,
    ):
        tally.bare.requests, tally.stack.requests = one.requests, other.requests
        one.begin()
        other.begin()
        tally.began = tally.clock.monotonic()
        try:
            yield [(tally.bare, _by_hand(bare)), (tally.stack, _through(stack))]
        finally:
            tally.over = tally.clock.monotonic()


async def _run(tally: Tally, lane: Lane, call: Call, ask: Ask) -> None:
    """Make a call and take note of how it ended; both clients are judged alike, by the text they give."""
    lane.started += 1
    error, healed = None, False
    try:
        text, healed = await ask(call)
    except LLMError as exc:
        error = str(exc.code)
    except Exception as exc:  # noqa: BLE001 - whatever it is, it is what a caller gets
        error = _name(exc)
    else:
        if text != echo({"messages": call.messages}):
            error = UNNOTICED
    lane.results.append(Result(call, tally.elapsed, error, error is None and healed))


def _name(exc: Exception) -> str:
    status = getattr(exc, "status", 0)
    return f"HTTP {status}" if status >= 400 else type(exc).__name__


def _by_hand(client: BareClient) -> Ask:
    async def ask(call: Call) -> tuple[str, bool]:
        body = {"model": MODEL, "messages": call.messages, "stream": call.kind == "stream"}
        return await client.ask(body), False

    return ask


def _through(client: AsyncClient) -> Ask:
    async def ask(call: Call) -> tuple[str, bool]:
        if call.kind == "stream":
            async with client.stream(call.messages) as response:
                done = await response.completion()
        else:
            done = await client.complete(call.messages)
        failures = [attempt.error for attempt in done.trace if attempt.error is not None]
        return done.text, any(error.code is not ErrorCode.MODEL_CONTEXT_LENGTH for error in failures)

    return ask


async def _watch(tally: Tally, look: Callable[[], None]) -> None:
    while True:
        look()
        await tally.clock.sleep(TICK)
