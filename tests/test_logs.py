"""What is logged: the list in the docs is the code's, and a developer sees it in columns."""

from __future__ import annotations

import ast
import io
import json
import logging
import logging.config
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import attrs
import pytest
import structlog

import resilient_llm as rl
from resilient_llm.logs import heard, log
from resilient_llm.middleware.logging import _attempt
from resilient_llm.testing import ScriptedTransport, run_virtual

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "logging.md"
IN_ALL = {"operation", "model", "stream"}
NOT_FIELDS = {"exc_info", "stack_info"}
TABLES = {"attempt": set(_attempt(rl.Attempt(1, "b", 0.0))) | {"code", "status"}}
TABLES |= {
    "pruned": {field.name for field in attrs.fields(rl.PruneReport)},
    "prompt_cut": {field.name for field in attrs.fields(rl.PromptCut)},
    "call": {"outcome", "duration", "attempts", "code", "request_id", "error"},
}
"""Fields that the code gives as a dictionary."""


def documented() -> dict[str, tuple[str, set[str]]]:
    """The events of the page: levels, and fields."""
    rows = re.findall(r"^\| `(llm\.\w+)` \| (.*?) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    return {event: (levels, set(re.findall(r"`(\w+)`", fields))) for event, levels, fields in rows}


@cache
def logged() -> dict[str, set[str]]:
    """The events of the code, and the fields that stand there."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "resilient_llm").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call):
                continue
            names = [arg.value for arg in call.args[:2] if isinstance(arg, ast.Constant)]
            for name in names:
                if isinstance(name, str) and re.fullmatch(r"llm\.\w+", name):
                    found.setdefault(name, set()).update(word.arg for word in call.keywords if word.arg)
    for word, fields in TABLES.items():
        found[f"llm.{word}"] |= fields
    return found


def test_the_docs_list_every_event_and_no_other() -> None:
    """Whoever builds on the log finds all events there."""
    assert set(documented()) == set(logged())
    assert len(documented()) > 8


@pytest.mark.parametrize("event", sorted(logged()))
def test_the_docs_list_every_field(event: str) -> None:
    """Each field of the code is in the event's row."""
    assert logged()[event] - NOT_FIELDS <= documented()[event][1], event


def test_no_event_is_written_past_the_one_way() -> None:
    """A line that begins like an event has its fields as a dictionary, too."""
    for path in (ROOT / "resilient_llm").rglob("*.py"):
        assert not re.search(r"[lL]ogger\.\w+\(\s*f?\"llm\.", path.read_text()), path


@pytest.fixture
def _as_before():
    logger = logging.getLogger("resilient_llm")
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


def chat(*scripts) -> None:
    async def scenario() -> None:
        async with rl.AsyncClient(transport=ScriptedTransport(*scripts), model="m") as llm:
            await llm.complete("the secret prompt", initial_backoff=0.01)

    run_virtual(scenario())


BUSY = rl.ModelOverloadedError("busy", status=503)


@pytest.mark.usefixtures("_as_before")
def test_a_developer_sees_a_line_for_each_event() -> None:
    """Time, level, event and fields in columns; no colours where there is no terminal, and no prompt."""
    seen = io.StringIO()
    rl.show_logs(stream=seen)
    chat(BUSY, "the secret answer")
    lines = seen.getvalue().splitlines()
    assert [line.split()[3] if line.split()[2] == "]" else line.split()[2] for line in lines] == [
        "llm.attempt",
        "llm.wait",
        "llm.call",
    ]
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} \[info +\] llm\.attempt +operation=chat model=m", lines[0])
    assert "\x1b" not in seen.getvalue()
    assert "secret" not in seen.getvalue()


@pytest.mark.usefixtures("_as_before")
def test_it_shows_as_much_as_is_asked_for_and_each_line_once() -> None:
    """The last call counts: its level, its stream, its colours; `removeHandler` ends it."""
    before, seen = io.StringIO(), io.StringIO()
    rl.show_logs("debug", stream=before)
    handler = rl.show_logs("warning", stream=seen, colors=True)
    log(logging.INFO, "llm.cache", store="back")
    log(logging.WARNING, "llm.cache", store="failed", error=None)
    assert before.getvalue() == ""
    (line,) = seen.getvalue().splitlines()
    assert "\x1b[" in line
    assert "error" not in line
    logging.getLogger("resilient_llm").removeHandler(handler)
    log(logging.WARNING, "llm.cache", store="failed")
    assert len(seen.getvalue().splitlines()) == 1
    with pytest.raises(ValueError, match="LOUD"):
        rl.show_logs("loud")


@pytest.mark.usefixtures("_as_before")
def test_a_handler_that_takes_the_place_of_all_others_is_heard(tmp_path) -> None:
    """`dictConfig` removes the handlers that a logger had, our own among them; silence is without any handler."""
    logger = logging.getLogger("resilient_llm")
    handler = {"class": "logging.FileHandler", "filename": str(tmp_path / "log")}
    ours = {"handlers": ["file"], "level": "INFO", "propagate": False}
    settings = {"version": 1, "disable_existing_loggers": False, "handlers": {"file": handler}}
    try:
        logging.config.dictConfig({**settings, "loggers": {"resilient_llm": ours}})
        (written,) = logger.handlers
        log(logging.WARNING, "llm.cache", store="failed")
        logger.removeHandler(written)
        log(logging.WARNING, "llm.cache", store="back")
        assert not heard()
        written.close()
    finally:
        logger.propagate = True
    assert (tmp_path / "log").read_text() == "llm.cache store=failed\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("_as_before")
@pytest.mark.parametrize(
    ("environment", "colours"),
    [({}, sys.platform != "win32"), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_colours_are_for_terminals_that_want_them(monkeypatch, environment, colours) -> None:
    """Unless the environment says otherwise."""
    for name, value in {"TERM": "xterm", "NO_COLOR": "", **environment}.items():
        monkeypatch.setenv(name, value)
    seen = Terminal()
    rl.show_logs(stream=seen)
    log(logging.WARNING, "llm.cache", store="failed")
    assert ("\x1b[" in seen.getvalue()) is colours


@pytest.mark.usefixtures("_as_before")
def test_plain_lines_and_tracebacks_are_shown_too() -> None:
    """Also what has no fields: a listener that raised, with where."""
    seen = io.StringIO()
    rl.show_logs(stream=seen)
    logging.getLogger("resilient_llm.transports").warning("%s: no model", "lmstudio")
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        logging.getLogger("resilient_llm").exception("a listener raised")
    assert "lmstudio: no model" in seen.getvalue()
    assert "ZeroDivisionError" in seen.getvalue()


def test_every_event_has_its_fields_as_a_dictionary(caplog) -> None:
    """What circuits, caches and shared state say is structured like the rest; bound context comes along."""
    with caplog.at_level(logging.INFO, "resilient_llm"), structlog.contextvars.bound_contextvars(user="u1"):
        log(logging.INFO, "llm.circuit", name="m", trigger="too many failures", error=None)
    (record,) = caplog.records
    assert record.llm == {"event": "llm.circuit", "user": "u1", "name": "m", "trigger": "too many failures"}
    assert record.getMessage() == "llm.circuit name=m trigger='too many failures' user=u1"
    assert json.dumps(record.llm)


def test_structlog_is_not_even_imported_where_nobody_listens() -> None:
    """An application without logging pays for none."""
    program = (
        "import sys, asyncio, logging, resilient_llm as rl\n"
        "from resilient_llm.logs import log\n"
        "log(logging.WARNING, 'llm.circuit', name='m')\n"
        "print('structlog' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("False", "")
