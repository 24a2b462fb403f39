"""The demo: what it plans, what it shows, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from resilient_llm.cli.demo import demo
from resilient_llm.cli.demo.figures import figures
from resilient_llm.cli.demo.plan import Plan
from resilient_llm.cli.demo.play import play
from resilient_llm.cli.demo.report import intro, print_report
from resilient_llm.cli.demo.show import _lines, _screen
from resilient_llm.cli.demo.tally import UNNOTICED, Result, Tally
from resilient_llm.cli.demo.timeline import timeline
from resilient_llm.clock import SYSTEM_CLOCK
from resilient_llm.testing import FakeClock, SeenRequest

app = typer.Typer()
app.command()(demo)

BRIEFLY = ["--seed", "68", "--calls", "1", "--seconds", "2"]  # its only call comes at once

PROGRAM = """
from resilient_llm.cli.demo.show import show
raise SystemExit(show(seed=7, calls=300, seconds={seconds}, as_json={as_json}))
"""


def running(*, as_json: bool, seconds: float = 24) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", PROGRAM.format(as_json=as_json, seconds=seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def plan(seed: int = 7, calls: int = 80, seconds: float = 8.0) -> Plan:
    return Plan.of(seed=seed, calls=calls, seconds=seconds)


def shown(tally: Tally, width: int = 80, *, interrupted: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(intro(tally))
    print_report(console, tally, figures(tally, interrupted=interrupted))
    return console.file.getvalue()


@pytest.fixture(scope="module")
def played() -> Tally:
    """A short demo, played once."""
    tally = Tally(plan(), SYSTEM_CLOCK)
    asyncio.run(play(tally, lambda: None))
    return tally


def stopped(at: float) -> Tally:
    """A tally in which time stands still, without any calls yet."""
    clock = FakeClock()
    tally = Tally(plan(calls=24, seconds=24.0), clock, began=clock.monotonic())
    clock.advance(at)
    return tally


def test_the_seed_decides_the_plan():
    """The same seed gives the same calls at the same times, and the same faults; another one others."""
    assert plan() == plan()
    assert plan() != plan(seed=8)
    faults = [[str(plan(seed, seconds=3.0).schedule.fault(n, 1.1)) for n in range(50)] for seed in (7, 7, 8)]
    assert faults[0] == faults[1] != faults[2]


def test_calls_are_spread_over_all_phases():
    """Calls come in order, evenly, in every phase, and the long ones when the window is the matter."""
    made = plan(calls=300, seconds=24.0).calls
    assert [call.at for call in made] == sorted(call.at for call in made)
    assert 0 <= made[0].at <= made[-1].at <= 24
    assert {call.phase for call in made} == set(range(7))
    assert {call.phase for call in made if call.kind == "long"} == {6}
    assert {call.kind for call in made} == {"whole", "stream", "long"}


def test_all_times_scale_together():
    """Half the time means half of every limit and of every phase."""
    short, full = plan(seconds=12.0), plan(seconds=24.0)
    assert short.seconds == full.seconds / 2
    assert short.limits.deadline == full.limits.deadline / 2


def test_the_stack_succeeds_more_often_than_the_bare_client(played):
    """Through the same failures, more calls end well, and both clients made all of theirs."""
    facts = figures(played, interrupted=False)
    bare, stack = facts["bare"], facts["stack"]
    assert bare["finished"] == stack["finished"] == bare["started"] == 80
    assert 0 < bare["succeeded"] < stack["succeeded"] < 80
    assert bare["requests"] == 80, "the bare client asks once"
    for lane in (bare, stack):
        assert sum(lane["errors"].values()) == lane["finished"] - lane["succeeded"]
        assert lane["success_rate"] == round(lane["succeeded"] / 80, 4)


def test_each_stage_is_seen_at_work(played):
    """Retries, waits that the server asked for, pruning, and the circuit are in the figures."""
    stages = figures(played, interrupted=False)["stack"]["stages"]
    assert stages["retries"] >= stages["retries_after_server_delay"] > 0
    assert stages["calls_held_back"] > 0
    assert stages["calls_saved_by_retry"] > 0
    assert stages["conversations_pruned"] > 0
    assert stages["tokens_pruned"] > 1000
    states = [move["state"] for move in stages["circuit"]]
    assert states[:2] == ["open", "half_open"]
    assert "closed" in states
    assert stages["failed_attempts"]["MODEL_CONTEXT_LENGTH"] >= 1


def test_the_phases_add_up(played):
    """The figures by phase sum up to those of the whole."""
    facts = figures(played, interrupted=False)
    for lane in ("bare", "stack"):
        for what in ("succeeded", "requests"):
            assert sum(phase[lane][what] for phase in facts["phases"]) == facts[lane][what]
    assert sum(phase["calls"] for phase in facts["phases"]) == 80


@pytest.mark.parametrize("width", [80, 120])
def test_the_report_fits_its_terminal(played, width):
    """No line is wider than the terminal, and every part is there."""
    report = shown(played, width)
    assert max(map(len, report.splitlines())) <= width
    for part in (
        "seed 7",
        "deadline=",
        "brown-out",
        "CircuitBreaker",
        "MODEL_RATE_LIMITED",
        "HTTP 429",
        "│outage",
    ):
        assert part in report
    facts = figures(played, interrupted=False)
    assert f"{facts['bare']['success_rate']:.1%}" in report
    assert "\x1b" not in report, "no colour where there is no terminal"


def test_a_report_in_ascii(played):
    """Where the encoding knows no blocks, plain characters do."""
    chart = timeline(played, 80, ascii_only=True).plain
    assert chart.isascii()
    assert re.search(r"stack +#", chart)


def test_an_interrupted_report_says_so():
    """What is known so far is shown, and that it is not all; with nothing known it is still a report."""
    assert "Interrupted after 0.0 s" in shown(Tally(plan(), FakeClock()), interrupted=True)


def test_marks_of_the_timeline():
    """A column shows whether all, some or none of its calls succeeded, or that they are not over."""
    tally = stopped(at=24.0)
    for lane in (tally.bare, tally.stack):
        lane.started = 24
    calls = tally.plan.calls
    tally.stack.results = [Result(call, call.at) for call in calls]
    tally.bare.results = [Result(call, call.at, "HTTP 500") for call in calls[:12]]
    rows = dict(line.split(None, 1) for line in timeline(tally, 60).plain.splitlines()[1:4])
    assert set(rows["stack"]) <= {"█", " "}
    assert rows["bare"].strip().startswith("x")
    assert rows["bare"].strip().endswith("·")
    assert set(rows["circuit"]) == {"─"}


def test_the_timeline_shows_the_circuit_and_the_requests():
    """Openings, probes and requests stand where they happened; what is yet to come stays blank."""
    tally = stopped(at=12.0)
    tally.circuit = [
        (6.0, "open"),
        (9.0, "half_open"),
        (9.01, "open"),
        (11.0, "half_open"),
        (11.01, "closed"),
    ]
    tally.stack.requests = [SeenRequest(n, 3.0, 1, {}, {}) for n in range(12)]
    tally.bare.requests = [SeenRequest(n, 3.0, 1, {}, {}) for n in range(7)]
    lines = timeline(tally, 36).plain.splitlines()  # a column a second
    assert lines[3] == "circuit    ──────OOO?O?─" + " " * 11
    assert lines[4] == "sent bare     7" + " " * 20
    assert lines[5] == "sent stack    +" + " " * 20


def test_progress_is_a_line_for_each_phase():
    """Without a terminal, a phase that is over leaves one line."""
    tally = stopped(at=1.9)
    console = Console(file=io.StringIO(), width=80)
    look = _lines(tally, console)
    look()
    assert not console.file.getvalue()
    tally.clock.advance(4.2)
    look()
    look()
    assert [line.split()[2] for line in console.file.getvalue().splitlines()] == ["calm", "limits"]


@pytest.mark.parametrize(
    ("at", "words"), [(11.0, "outage - the backend: resets"), (25.0, "waiting for the last")]
)
def test_the_live_screen_fits_a_small_terminal(at, words):
    """The live view says what the backend does, in less than 24 lines of 80 columns."""
    tally = stopped(at=at)
    console = Console(file=io.StringIO(), width=80)
    console.print(intro(tally), _screen(tally, console))
    screen = console.file.getvalue()
    assert words in screen
    assert len(screen.splitlines()) < 24
    assert max(map(len, screen.splitlines())) <= 80


def test_a_broken_answer_is_no_success():
    """Half an answer that a client took for whole is counted as a failure of its own kind."""
    tally = stopped(at=1.0)
    tally.bare.results = [Result(tally.plan.calls[0], 0.1, UNNOTICED), Result(tally.plan.calls[1], 0.1)]
    assert tally.bare.succeeded == 1
    assert tally.bare.errors == {UNNOTICED: 1}


def test_json_is_all_there_is_on_standard_output():
    """`--json` prints the figures and nothing else."""
    done = CliRunner().invoke(app, ["--json", *BRIEFLY])
    assert done.exit_code == 0
    assert done.stderr == ""
    assert json.loads(done.stdout)["bare"]["finished"] == 1


def test_lines_and_report_in_a_pipe():
    """Without a terminal the demo prints its options, its progress and its report."""
    done = CliRunner().invoke(app, BRIEFLY)
    assert done.exit_code == 0
    assert done.stdout.startswith("1 calls in 2 s")
    assert "standard stack" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("colour", [{"FORCE_COLOR": "1"}, {"FORCE_COLOR": "1", "NO_COLOR": "1"}])
def test_a_terminal_gets_a_live_view_in_colour(colour):
    """On a terminal the timeline is drawn while it grows; colours go with `NO_COLOR`."""
    done = CliRunner().invoke(app, BRIEFLY, env={"TERM": "xterm", **colour})
    assert done.exit_code == 0
    assert "under way" in done.stdout
    assert ("\x1b[32m" in done.stdout) is ("NO_COLOR" not in colour)


def test_an_interruption_has_its_own_status(monkeypatch):
    """Ctrl-C gives the report of what is known and status 130."""

    async def interrupted(tally, look):
        raise KeyboardInterrupt

    monkeypatch.setattr("resilient_llm.cli.demo.show.play", interrupted)
    done = CliRunner().invoke(app, BRIEFLY)
    assert done.exit_code == 130
    assert "Interrupted after 0.0 s" in done.stdout


@pytest.mark.parametrize(("error", "status"), [(BrokenPipeError(), 1), (ZeroDivisionError(), None)])
def test_only_a_lost_reader_is_taken_lightly(monkeypatch, error, status):
    """A closed pipe ends the demo; any other error in a task is seen as it is."""

    async def failing(tally, look):
        msg = "tasks"
        raise ExceptionGroup(msg, [error])

    monkeypatch.setattr("resilient_llm.cli.demo.show.play", failing)
    done = CliRunner().invoke(app, BRIEFLY)
    if status is None:
        assert isinstance(done.exception, ExceptionGroup)
    else:
        assert done.exit_code == status


@pytest.mark.parametrize("arguments", [["--calls", "0"], ["--seconds", "1"], ["--seed", "x"]])
def test_options_out_of_range_are_refused(arguments):
    """A wrong option ends with status 2, before anything runs."""
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_a_reader_who_left_is_no_crash():
    """A pipe that is closed early ends the demo with status 1 and without a word."""
    with running(as_json=False, seconds=2) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_ends_with_what_is_known():
    """Ctrl-C ends the demo at once, cleanly, with the report or the figures so far and status 130."""
    with running(as_json=False) as shown_one, running(as_json=True) as json_one:
        assert shown_one.stdout.readline().startswith("300 calls")
        time.sleep(0.5)
        for process in (shown_one, json_one):
            process.send_signal(signal.SIGINT)
        (report, noise), (text, more_noise) = (one.communicate(timeout=5) for one in (shown_one, json_one))
    assert (noise, more_noise) == ("", "")
    assert (shown_one.returncode, json_one.returncode) == (130, 130)
    assert "Interrupted after" in report
    facts = json.loads(text)
    assert facts["interrupted"]
    assert facts["bare"]["finished"] < 300
