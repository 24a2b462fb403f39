"""The parts of `chat`, in this process."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import sys
import threading

import attrs
import pytest
from typer.testing import CliRunner

import resilient_llm as rl
from resilient_llm.cli import chat_input, chat_json, chat_run
from resilient_llm.cli.app import app
from resilient_llm.cli.chat_screen import Screen, one_line, printable
from resilient_llm.testing import ScriptedTransport

BUSY = rl.ModelOverloadedError("busy", backend="here", status=503)


@pytest.fixture
def typed(monkeypatch):
    """Somebody at a terminal who types these lines; an exception is pressed."""

    def script(*lines: str | type[BaseException]) -> None:
        left = list(lines)

        def ask(prompt: str = "") -> str:
            del prompt
            line = left.pop(0) if left else EOFError
            if isinstance(line, str):
                return line
            raise line

        monkeypatch.setattr("builtins.input", ask)
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)

    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return script


class Backend(ScriptedTransport):
    """Where a script has a plain None, Ctrl-C is pressed while the backend works."""

    async def __call__(self, request):
        if self._scripts[min(len(self.requests), len(self._scripts) - 1)] is not None:
            return await super().__call__(request)
        self.requests.append(request)
        signal.raise_signal(signal.SIGINT)
        return await asyncio.Event().wait()


@pytest.fixture
def scripted(monkeypatch):
    """A backend that answers by script, whatever the settings say."""

    def use(*scripts) -> Backend:
        transport = Backend(*scripts)
        monkeypatch.setattr("resilient_llm.settings.clients.transport_for", lambda *_: transport)
        return transport

    return use


def options(**limits) -> chat_run.Options:
    return chat_run.Options({}, limits)


def test_a_conversation(typed, scripted, capsys) -> None:
    """Questions and answers alternate; interruptions and errors do not end it; the end of input does."""
    transport = scripted("one", rl.ModelAuthError("no key"), None, "two")
    typed("first", KeyboardInterrupt, "", "second", "third", "fourth")
    assert chat_run.run(None, options()) == 0
    shown = capsys.readouterr()
    assert shown.out == "one\ntwo\n"
    for part in ("scripted; Ctrl-C", "Ctrl-C once more", "error: MODEL_AUTH", "stopped"):
        assert part in shown.err
    assert [message["content"] for message in transport.requests[-1].messages] == ["first", "one", "fourth"]


@pytest.mark.parametrize("ending", [["/quit"], ["/exit"], [KeyboardInterrupt, KeyboardInterrupt], []])
def test_the_ways_out_of_a_conversation(typed, scripted, ending) -> None:
    """A word, Ctrl-C twice, the end of input: all end well, and nothing is asked."""
    transport = scripted("one")
    typed(*ending, *(["never"] if ending else []))
    assert chat_run.run(None, options()) == 0
    assert transport.requests == []


def test_an_interrupted_call_is_130(scripted, monkeypatch) -> None:
    """Outside a conversation."""
    scripted(None)
    monkeypatch.setattr(sys, "stdin", None)
    assert chat_run.run("Hello", options()) == 130


def test_empty_and_filtered_answers_are_told(scripted, monkeypatch, capsys) -> None:
    """Nobody has to wonder about silence."""
    monkeypatch.setattr(sys, "stdin", None)
    scripted([rl.TextDelta("a"), rl.Finish("content_filter")])
    chat_run.run("Hello", options())
    call = rl.ToolCall(0, "id", "tool", "{}")
    scripted([call, rl.Finish("tool_calls")])
    chat_run.run("Hello", options())
    assert (
        capsys.readouterr().err
        == "cut off: by the backend's content filter\nthe answer is empty (tool_calls)\n"
    )


def test_json_has_every_field_that_can_be_told(capsys) -> None:
    """Answers and errors round-trip; what the next request needs (messages, extras) and raw bytes are left out."""
    left_out = {"sent", "body", "function_call", "extra"}
    done = rl.Completion(
        text="é", pruned=rl.PruneReport(1, 10, 5, 6), tool_calls=(rl.ToolCall(0, "i", "n", "{}"),)
    )
    fields = {field.name for field in attrs.fields(rl.Completion)} - left_out
    assert set(chat_json.completion(done)) == fields
    chat_json.write(chat_json.completion(done))
    assert '"text": "é"' in capsys.readouterr().out
    error = rl.ModelOverloadedError("busy", partial=rl.Completion(text="so far"))
    assert chat_json.error(error)["partial"] == "so far"


def test_notices_of_a_call(capsys) -> None:
    """A line for a retry and for pruning; loading is told once, not each second."""
    screen = Screen()
    screen.observe(rl.Waiting(12.3, BUSY, 1))
    screen.observe(rl.Waiting(0.0, rl.ModelTimeoutError("x" * 500), 2))
    loading = rl.Waiting(1.0, rl.ModelLoadingError("loading model"), 1)
    for notice in (loading, loading, rl.Attempt(3, "here", 1.0), rl.ContentSeen(), loading):
        screen.observe(notice)
    screen.observe(rl.PruneReport(2, 900, 400, 512))
    screen.observe(rl.Waiting(3.0, rl.LimitExceededError("requests_per_minute=60 holds the call back"), 1))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "retry: MODEL_OVERLOADED (here, HTTP 503): busy; attempt 2 in 12 s"
    assert lines[1] == f"retry: MODEL_TIMEOUT: {'x' * 200}...; attempt 3 at once"
    assert lines[2] == lines[3] == "waiting: MODEL_LOADING: loading model; asking once a second"
    assert lines[4] == "pruned: the oldest messages (2) are left out, 900 tokens are now 400, 512 fit"
    assert (
        lines[5] == "waiting: LIMIT_EXCEEDED: requests_per_minute=60 holds the call back; attempt 1 in 3.0 s"
    )


def test_a_line_is_never_written_into_an_answer(monkeypatch) -> None:
    """What is told while an answer is being written follows it, on lines of its own."""
    both = io.StringIO()
    monkeypatch.setattr(sys, "stdout", both)
    monkeypatch.setattr(sys, "stderr", both)
    screen = Screen()
    for step in (rl.TextDelta("a "), "told", rl.TextDelta("b"), rl.Finish("stop"), "then"):
        screen.event(step) if isinstance(step, str) else screen.show(step)
    assert both.getvalue() == "a b\ntold\nthen\n"


def test_notices_may_be_lost() -> None:
    """Standard error that nobody reads any more does not end the answer."""

    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    before, sys.stderr = sys.stderr, Closed()
    try:
        Screen().error("lost")
    finally:
        sys.stderr = before


def test_control_characters_are_dropped() -> None:
    """All but tab and line break; a notice is one line."""
    assert printable("a\x00\x1b[1m\tb\nc\r\x7f\x9bd") == "a[1m\tb\ncd"
    assert one_line(" a\n\tb \x1b") == "a b "


def test_json_steers_no_terminal(capsys) -> None:
    """What JSON need not escape, and terminals obey, is escaped; any reader gets it back."""
    chat_json.write({"text": "a\x1b[2J\x7f\x9b3Jé"})
    out = capsys.readouterr().out
    assert out[:-1].isprintable()
    assert json.loads(out) == {"text": "a\x1b[2J\x7f\x9b3Jé"}


def test_a_silent_pipe_is_mentioned(monkeypatch) -> None:
    """Whoever left standard input open by accident learns why nothing happens."""
    lines = []

    class Late(io.StringIO):
        def read(self, _: int | None = -1) -> str:
            told.wait(5)
            return "late"

    told = threading.Event()
    screen = Screen()
    monkeypatch.setattr(screen, "_print", lambda line, _: (lines.append(line), told.set()))
    monkeypatch.setattr(chat_input, "PATIENCE", 0.01)
    monkeypatch.setattr(sys, "stdin", Late())
    assert chat_input.question("Hello", screen) == "Hello\n\nlate"
    assert "</dev/null" in lines[0]


def test_the_prompt_does_not_go_into_a_file(typed, scripted, capsys) -> None:
    """With standard output redirected, the prompt is on standard error."""
    scripted("one")
    typed("first")
    assert chat_run.run(None, options()) == 0
    shown = capsys.readouterr()
    assert shown.out == "one\n"
    assert "> " in shown.err


def test_the_command_itself() -> None:
    """Help names every option; the version is shown; a bare command shows the help."""
    runner = CliRunner()
    text = runner.invoke(app, ["chat", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    for option in (
        "--backend",
        "--base-url",
        "--model",
        "--system",
        "--json",
        "--max-retries",
        "--deadline",
        "-q",
        "-v",
    ):
        assert option in text
    assert runner.invoke(app, ["--version"]).output.startswith("resilient-llm ")
    assert "chat" in runner.invoke(app, []).output
    done = runner.invoke(app, ["chat", "--backend", "offline", "--json", "Hello"])
    assert (done.exit_code, done.output.count("\n")) == (0, 1)
    assert runner.invoke(app, ["chat", "--backend", "nowhere", "Hello"]).exit_code == 2


def test_errors_have_their_exit_codes(scripted, monkeypatch, capsys) -> None:
    """A failed call is 1, with an object if JSON was asked for; wrong usage is 2; the log is shown on request."""
    monkeypatch.setattr(sys, "stdin", None)
    scripted(rl.ModelAuthError("no key"))
    assert chat_run.run("Hello", attrs.evolve(options(), as_json=True, verbose=True)) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"]["message"] == "no key"
    assert "llm.call" in shown.err
    assert chat_run.run("Hello", options(deadline=-1)) == 2
    assert chat_run.run(None, options()) == 2
    monkeypatch.setattr(chat_input, "at_a_terminal", lambda: True)
    assert chat_run.run(None, attrs.evolve(options(), as_json=True)) == 2
    assert chat_run.run("Hello", options()) == 1
