"""Logging: structured, silent by default, without prompts."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys

import attrs
import pytest
import structlog

import resilient_llm as rl
from resilient_llm.testing import FakeClock, ScriptedTransport, run_virtual

SECRET = "the secret prompt"
ASK = rl.Request(messages=[{"role": "user", "content": SECRET}], model="m")


def logged(
    caplog: pytest.LogCaptureFixture,
    *scripts,
    request: rl.Request = ASK,
    level: int = logging.DEBUG,
    context_window: int = 200,
):
    """Run a call through the standard stack; gives the structured events."""

    async def scenario() -> None:
        clock = FakeClock()
        stack = rl.standard_stack(clock=clock, jitter=None, context_window=context_window)
        response = await rl.Pipeline(stack, ScriptedTransport(*scripts), clock=clock)(request)
        await response.completion()

    with caplog.at_level(level, logger="resilient_llm"), contextlib.suppress(rl.LLMError):
        run_virtual(scenario())
    return [record.llm for record in caplog.records]


def test_a_call_is_logged_with_its_attempts_and_waits(caplog) -> None:
    """One event per attempt, wait and call, with fields that machines can read."""
    events = logged(caplog, rl.ModelOverloadedError("busy", status=503, backend="scripted"), "Hello")
    assert [event["event"] for event in events] == ["llm.attempt", "llm.wait", "llm.attempt", "llm.call"]
    assert events[0]["code"] == "MODEL_OVERLOADED"
    assert events[0]["status"] == 503
    assert events[1]["seconds"] == 0.5
    assert events[3] | {"outcome": "completed", "attempts": 2, "duration": 0.5, "model": "m"} == events[3]


def test_a_failed_call_is_a_warning(caplog) -> None:
    """At level WARNING only what went wrong is seen, with its code."""
    events = logged(caplog, rl.ModelAuthError("wrong key"), level=logging.WARNING)
    assert [(event["event"], event["outcome"], event["code"]) for event in events] == [
        ("llm.call", "failed", "MODEL_AUTH")
    ]
    assert caplog.records[0].levelno == logging.WARNING


def test_pruning_is_logged(caplog) -> None:
    """How many messages went is told, not what they said."""
    messages = [{"role": "user", "content": f"{SECRET} " * 30} for _ in range(5)]
    events = logged(caplog, "Hello", request=attrs.evolve(ASK, messages=messages, model="gpt-4o"))
    assert next(event for event in events if event["event"] == "llm.pruned")["dropped"] == 3


def test_a_prompt_that_the_backend_cut_is_logged_as_a_warning(caplog) -> None:
    """The sizes are told, not what was said."""
    request = attrs.evolve(ASK, messages=[{"role": "user", "content": f"{SECRET} " * 3_000}])
    usage = rl.UsageEvent(rl.Usage(prompt_tokens=2_000))
    with pytest.warns(RuntimeWarning, match="has cut the conversation"):
        logged(caplog, [rl.TextDelta("ok"), usage, rl.Finish("stop")], request=request, context_window=10**6)
    (record,) = [record for record in caplog.records if record.llm["event"] == "llm.prompt_cut"]
    assert (record.llm["tokens"], record.llm["window"]) == (2_000, 2_048)
    assert record.levelno == logging.WARNING
    assert SECRET not in caplog.text


def test_no_prompt_and_no_answer_is_logged(caplog) -> None:
    """Nothing of what was said appears in any message."""
    logged(caplog, rl.ModelOverloadedError("busy"), "the secret answer")
    assert "secret" not in caplog.text
    assert "llm.call" in caplog.text


def test_bound_context_comes_along(caplog) -> None:
    """Fields that the application bound with structlog are part of each event."""
    with structlog.contextvars.bound_contextvars(user="u1"):
        events = logged(caplog, "Hello")
    assert all(event["user"] == "u1" for event in events)


def test_a_percent_sign_does_no_harm(caplog) -> None:
    """Field values are not taken for formats."""
    logged(caplog, "Hello", request=attrs.evolve(ASK, model="100%s"))
    assert "model=100%s" in caplog.text


def test_nothing_is_printed_unless_logging_is_configured() -> None:
    """A program that configures nothing sees nothing, even for failures."""
    program = (
        "import asyncio, resilient_llm as rl\n"
        "from resilient_llm.testing import ScriptedTransport\n"
        "async def main():\n"
        "    async with rl.AsyncClient(transport=ScriptedTransport(rl.ModelAuthError('wrong key'))) as llm:\n"
        "        try: await llm.complete('Hello')\n"
        "        except rl.LLMError: pass\n"
        "asyncio.run(main())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
