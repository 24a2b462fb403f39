"""The stacks of a client's hosts."""

from __future__ import annotations

import attrs

import resilient_llm as rl
from resilient_llm.integrations import client_stack
from resilient_llm.integrations.client_stack import Pipelines
from resilient_llm.pipeline import Pipeline
from resilient_llm.state.memory import MemoryState
from resilient_llm.testing import ScriptedTransport


@attrs.define
class Closed:
    """Counts."""

    times: int = 0


async def test_what_all_stacks_share_outlives_the_stack_of_a_host(monkeypatch):
    """A stack that is forgotten because there are too many takes nothing along; the last ones close what all have."""
    closed = Closed()

    class State(MemoryState):
        async def aclose(self) -> None:
            closed.times += 1

    state = State()
    monkeypatch.setattr(client_stack, "MOST_HOSTS", 2)
    pipelines = Pipelines(
        lambda: Pipeline(rl.standard_stack(state=state), ScriptedTransport("hi")), shared=False
    )
    first = pipelines.of("a")
    assert pipelines.of("a") is first
    others = [pipelines.of(host) for host in "bcd"]
    assert pipelines.of("d") is others[-1]
    assert pipelines.of("a") is not first
    assert closed.times == 0
    await pipelines.aclose()
    assert closed.times == 2
