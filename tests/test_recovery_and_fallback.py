"""StreamRecovery over Fallback: a broken stream goes on where it broke, and elsewhere if that gives it up."""

from __future__ import annotations

import asyncio

import attrs
import pytest
from middleware.streams import ASK, broken, read, reset, text_of, whole

import resilient_llm as rl
from resilient_llm.testing import FakeClock, ScriptedTransport, run_virtual

OPENED = rl.ModelUnavailableError("down")


def transports(*scripts, resumes=True):
    names = ("first", "second", "third")
    return [
        ScriptedTransport(*each, name=name, resumes=resumes)
        for each, name in zip(scripts, names, strict=False)
    ]


def play(mode, first, *others, request=ASK, **options):
    """What a reader sees, and the error that ends it."""

    async def scenario():
        clock = FakeClock()
        options_ = {
            "jitter": None,
            "max_retries": 0,
            "token_budget": None,
            "clock": clock,
            "recovery": mode,
            **options,
        }
        stack = rl.standard_stack(backend="first", fallback=others, **options_)
        seen = await read(rl.Pipeline(stack, first, clock=clock), request)
        assert [transport.open_bodies for transport in (first, *others)] == [0] * (1 + len(others))
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return seen

    return run_virtual(scenario())


def test_a_stream_that_breaks_at_the_fallback_goes_on_there() -> None:
    """The first backend is not asked again."""
    first, second = transports([OPENED], [broken("Rhine, |Danu"), whole("Rhine, |Danube")])
    seen, error = play("restart", first, second, max_retries=1)
    assert (text_of(seen), error, len(first.requests), len(second.requests)) == ("Rhine, Danube", None, 2, 2)
    assert [type(event).__name__ for event in seen].count("Restarted") == 1


@pytest.mark.parametrize("mode", ["restart", "resume"])
@pytest.mark.parametrize("resumes", [True, False])
def test_where_a_backend_gives_a_broken_stream_up_the_next_begins_anew(mode, resumes) -> None:
    """The reader is told to drop what came, even if the next backend could go on with a beginning of its own."""
    first, second = transports([broken("Rhine, |Danu")], [whole("Elbe, |Oder")], resumes=resumes)
    seen, error = play(mode, first, second)
    assert (text_of(seen), error) == ("Elbe, Oder", None)
    restarts = [event for event in seen if isinstance(event, rl.Restarted)]
    assert [(each.reason.message, each.attempt) for each in restarts] == [("the connection was reset", 1)]
    assert "resume_from" not in second.requests[0].extensions
    assert [len(first.requests), len(second.requests)] == [1, 1]


def test_a_resumed_stream_stays_with_its_backend() -> None:
    """Its beginning goes to the one that wrote it, and the reader sees one answer."""
    first, second = transports([OPENED], [broken("Rhine, |Danube"), whole(" and |Elbe")])
    seen, error = play("resume", first, second, max_retries=1)
    assert (text_of(seen), error) == ("Rhine, Danube and Elbe", None)
    assert second.requests[1].extensions["resume_from"] == "Rhine, Danube"


def test_a_stream_that_all_give_up_ends_with_its_error() -> None:
    """What broke first is raised, with notes on the others and all that had come."""
    first, second = transports([broken("Rhine")], [rl.ModelNotFoundError("no such model")])
    seen, error = play("restart", first, second)
    assert (type(error), error.partial.text, text_of(seen)) == (rl.ModelUnavailableError, "Rhine", "Rhine")
    assert "second failed: MODEL_NOT_FOUND" in str(error)
    assert [(a.number, a.backend) for a in error.trace] == [(1, "first"), (2, "second")]


def test_a_stream_may_break_at_one_backend_after_the_other() -> None:
    """Each that gives it up passes it on."""
    first, second, third = transports([broken("a")], [broken("b")], [broken("c"), whole("x")])
    request = attrs.evolve(ASK, extensions={"recovery": "restart"})
    seen, error = play("raise", first, second, third, request=request)
    assert text_of(seen) == "c"
    assert error.message == reset().message
    assert [attempt.backend for attempt in error.trace] == ["first", "second", "third"]
