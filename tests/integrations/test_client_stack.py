"""The stacks of a client's hosts."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

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


def test_threads_that_meet_hosts_at_the_same_time_have_a_stack_for_each():
    """Neither one for two hosts, nor two for one."""

    def make() -> Any:
        time.sleep(0.01)
        return object()

    pipelines = Pipelines(make, shared=False)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda number: (number % 2, pipelines.of(number % 2)), range(8)))
    assert len(set(found)) == 2
    assert len({id(pipeline) for _, pipeline in found}) == 2
