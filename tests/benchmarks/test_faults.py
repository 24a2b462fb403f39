"""The fault matrix: clients in processes of their own, judged by what their callers got and what the backend saw."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import adapters
import aiohttp
import attrs
import fault_matrix
import fault_worker
import faults
import pytest
import results
from adapters import Question
from fault_clients import Client
from judging import Verdict, Wire, complete, judge_calls, judge_wire
from lateness import Lateness, lateness
from scenario import NoPrefill, Scenario, Small, script
from scenarios import LONG, SCENARIOS, TOOLS, ULM
from servers import Servers

from resilient_llm.testing import Answer, FaultServer, Reply, Status

MINE = '''
"""One attempt."""
import contextlib, json, time, urllib.request
from adapters import Got

NAME, DIALECT, MODEL = "mine", "openai", "m"
PACKAGES, ERRORS, ABILITIES = (), (OSError,), set()

@contextlib.asynccontextmanager
async def opened(place):
    async def ask(question):
        if place.seed == 1:
            time.sleep(60)  # blocks the whole process
        body = json.dumps(question.body("m")).encode()
        with urllib.request.urlopen(f"{place.urls[0]}/chat/completions", body) as answer:
            choice = json.load(answer)["choices"][0]
        return Got(text=choice["message"]["content"], finish_reason=choice["finish_reason"])

    yield ask
'''
HEALTHY = next(scenario for scenario in SCENARIOS if scenario.name == "healthy")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """An adapter in a file of its own."""
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def played(scenario: Scenario, path: Path, seed: int = 0):
    with Servers() as running, Client(str(path)) as client:
        return fault_matrix.play(scenario, client, running, seed)


def test_rows_have_names_of_their_own_and_a_group() -> None:
    """Results are found by the scenarios' names."""
    assert max(Counter(scenario.name for scenario in SCENARIOS).values()) == 1
    assert all(scenario.group for scenario in SCENARIOS)


def test_a_client_is_one_file_and_so_are_scenarios(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column and rows that are given by their paths are judged like all others, on both sides."""
    saved: dict = {}
    monkeypatch.setattr(results, "save", lambda session, **parts: saved.update(parts, session=session))
    monkeypatch.setattr(fault_matrix, "WARM_UPS", [])
    rows = tmp_path / "rows.py"
    rows.write_text(
        "from judging import Wire\n"
        "from scenario import Scenario, script\n"
        "from resilient_llm.testing import Answer, Status\n"
        "SCENARIOS = [Scenario(name='well', faults=script(Answer()), wire=Wire(requests=(1, 1))),\n"
        "    Scenario(name='ill', group='g', faults=script(Status(503), Answer()))]\n"
    )
    found = tmp_path / "found.json"
    arguments = ["--clients", f"{mine},nobody", "--scenarios", str(rows), "--json", str(found)]
    assert faults.main(arguments) == 0
    told = json.loads(found.read_text())
    assert told["configurations"] == {"mine": "One attempt."}
    assert "nobody" in told["missing"]
    well, ill = (told["scenarios"][name]["mine"] for name in ("well", "ill"))
    assert (well["passed"], well["outcome"], well["requests"]) == (True, "answer", 1)
    assert (ill["passed"], ill["outcome"], ill["backend"]) == (
        False,
        "error",
        ["1 requests, expected 2"],
    )
    sums, caller, backend = saved["tables"]
    assert sums.rows == [["mine", "1 of 1", "0 of 1", "1 of 2"]]
    assert caller.rows == [["well", "answer"], ["ill", "FAIL error"]]
    assert backend.rows == [["well", "1r 1c"], ["ill", "FAIL 1r 1c: 1 requests, expected 2"]]


def test_a_client_that_blocks_its_process_counts_as_hung(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process is replaced, and the next scenario is played."""
    monkeypatch.setattr(fault_matrix, "SPARE", 0.5)
    hung = attrs.evolve(HEALTHY, patience=0.5)
    with Servers() as running, Client(str(mine)) as client:
        assert fault_matrix.play(hung, client, running, 1).outcome == "hang"
        monkeypatch.setattr(fault_matrix, "SPARE", 30.0)
        assert fault_matrix.play(HEALTHY, client, running, 0).passed


@pytest.mark.parametrize(
    ("verdicts", "plays"),
    [
        ([Verdict(late=9.0)], 1),
        ([Verdict(caller=("no",), late=0.05)], 1),
        ([Verdict(caller=("no",), late=0.2), Verdict(caller=("no",))], 2),
        ([Verdict(caller=("no",), late=0.2)] * 5, 3),
        ([Verdict(takes_part=False, late=9.0)], 1),
    ],
)
def test_what_fails_while_the_machine_is_late_is_played_again(
    monkeypatch: pytest.MonkeyPatch, verdicts: list[Verdict], plays: int
) -> None:
    """A verdict in time, or a good one, stands; and there is an end to it."""
    came = iter(verdicts)
    monkeypatch.setattr(fault_matrix, "play", lambda *_: next(came))
    assert fault_matrix.fairly(attrs.evolve(HEALTHY, margin=0.1), None, None, 0).again == plays - 1


def test_a_process_that_cannot_run_was_late() -> None:
    """A thread sees it; what comes later is not blamed for it."""
    watching = Lateness(own=True)
    begun = time.monotonic()
    time.sleep(0.1)
    hold_the_interpreter(0.5)
    time.sleep(0.2)
    assert watching.worst(begun) > 0.3
    assert watching.worst(time.monotonic() + 1) == 0.0


@pytest.mark.parametrize(("took", "busy", "late"), [(0.03, 0.0, 0.0), (0.52, 0.0, 0.5), (0.52, 0.5, 0.0)])
def test_a_client_s_own_work_is_no_excuse(took: float, busy: float, late: float) -> None:
    """Only what others took of the machine is."""
    assert lateness(took, busy) == pytest.approx(late)


def hold_the_interpreter(seconds: float) -> None:
    """Let no other thread run."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(60.0)
    try:
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass
    finally:
        sys.setswitchinterval(before)


def test_who_is_done_helps_the_slowest(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every scenario is played once for every client, by whichever process."""
    monkeypatch.setattr(fault_matrix, "WARM_UPS", [])
    monkeypatch.setattr(fault_matrix, "FEW_LEFT", 2)
    players: dict[str, set[int]] = {}
    played: list[tuple[str, str]] = []

    def play(scenario: Scenario, client: Client, *_: object) -> Verdict:
        players.setdefault(client.name, set()).add(id(client))
        played.append((client.name, scenario.name))
        time.sleep(0.1 if client.name == "mine" else 0.0)
        return Verdict()

    monkeypatch.setattr(fault_matrix, "play", play)
    rows = [attrs.evolve(HEALTHY, name=str(number)) for number in range(40)]
    with Client(str(mine)) as slow, Client("bare_aiohttp") as fast:
        found = fault_matrix.compare([slow, fast], rows, 0)
    assert sorted(played) == sorted((name, row.name) for name in ("mine", "aiohttp") for row in rows)
    assert [list(found), *map(list, found.values())] == [[row.name for row in rows]] + 40 * [
        ["mine", "aiohttp"]
    ]
    assert len(players["mine"]) == 2


def test_what_a_client_cannot_do_counts_neither_way(mine: Path) -> None:
    """A scenario with tools, for a client without."""
    verdict = played(Scenario(name="tools", faults=script(Answer()), question=TOOLS), mine)
    assert verdict.passed is None
    assert (verdict.short, verdict.got, verdict.seen) == ("-", "-", "-")
    assert faults.sums({"tools": {"mine": verdict}}, "mine") == "-"


def test_ours_plays_its_part_over_sockets() -> None:
    """The adapter of resilient_llm in a process of its own asks again, and sends again what fits."""
    names = {"500, then well", "context overflow, as xAI says it"}
    busy = {"patience": 60.0, "wire": Wire(requests=(2, 4))}  # the machine may be
    chosen = [attrs.evolve(scenario, **busy) for scenario in SCENARIOS if scenario.name in names]
    with Servers() as running, Client("ours", sys.executable) as client:
        verdicts = {scenario.name: fault_matrix.play(scenario, client, running, 0) for scenario in chosen}
    assert {name: (verdict.outcome, verdict.reasons) for name, verdict in verdicts.items()} == dict.fromkeys(
        names, ("answer", ())
    )


async def test_a_call_that_is_cancelled_ends_or_hangs() -> None:
    """What it came to before counts; one that takes no notice hangs."""

    async def at_once() -> tuple[str, None]:
        return "error", None

    async def for_ever() -> tuple[str, None]:
        await asyncio.Event().wait()
        return "answer", None

    async def stubborn() -> tuple[str, None]:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()
        return "answer", None

    outcomes = []
    for asking in (at_once(), for_ever(), stubborn()):
        task = asyncio.create_task(asking)
        outcomes.append((await fault_worker.cancelled(task, 0.05, 0.1))[0])
        task.cancel()
    assert outcomes == ["error", "cancelled", "hang"]


def test_peers_that_are_not_installed_are_left_out(tmp_path: Path) -> None:
    """Neither a module that is missing nor a Python that does not exist stops the others."""
    with Client("nobody") as client:
        assert "nobody" in client.missing
    with Client("ours", str(tmp_path / "python")) as client:
        assert client.missing


def got(text: str = "", arguments: tuple[str, ...] = (), reason: str | None = "stop") -> dict:
    return {"text": text, "tool_arguments": arguments, "finish_reason": reason}


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (got("all of it"), True),
        (got("all of"), False),
        (got("all of it", reason=None), False),
        (got("all of it", ("{}",)), False),
    ],
)
def test_an_answer_is_whole_to_the_last_letter_and_has_an_end(answer: dict, whole: bool) -> None:
    """Anything else that a client calls an answer is wrong."""
    assert complete(answer, Reply("all of it"), Question()) is whole
    outcome, wrong = judge_calls(
        [{"outcome": "answer", "got": answer}], "answer", Reply("all of it"), Question()
    )
    assert (outcome, bool(wrong)) == (("answer", False) if whole else ("wrong", True))


@pytest.mark.parametrize(
    ("arguments", "whole"),
    [('{"town":"Ulm"}', True), ('{"town":"U"}', False), ("{}", False), ('{"tow', False)],
)
def test_tool_calls_are_whole_if_their_arguments_are(arguments: str, whole: bool) -> None:
    """An empty object, which some make of broken arguments, is wrong."""
    assert complete(got(arguments=(arguments,)), ULM, TOOLS) is whole


@pytest.mark.parametrize(
    ("outcome", "expects", "good"),
    [
        ("error", "error", True),
        ("foreign", "error", False),
        ("hang", "error", False),
        ("cancelled", "cancelled", True),
        ("error", "cancelled", True),
        ("answer", "cancelled", False),
        ("error", "answer", False),
    ],
)
def test_what_the_caller_got_is_held_against_what_can_be_had(outcome: str, expects: str, good: bool) -> None:
    """Only an error of the client's own will do where no answer can be had."""
    calls = [{"outcome": outcome, "got": got("x")}]
    assert (not judge_calls(calls, expects, Reply("x"), Question())[1]) is good


def seen(*arrivals: tuple[float, float], ending: str = "completed", connections: int = 1) -> list:
    requests = [SimpleNamespace(at=at, ended=ended, ending=ending) for at, ended in arrivals]
    return [SimpleNamespace(requests=requests, connections=connections)]


@pytest.mark.parametrize(
    ("wire", "servers", "good"),
    [
        (Wire(requests=(2, 2)), seen((0, 0.1), (1, 1.1)), True),
        (Wire(requests=(2, 2)), seen((0, 0.1)), False),
        (Wire(gap=1.0), seen((0, 0.1), (1.1, 1.2)), True),
        (Wire(gap=1.0), seen((0, 0.1), (0.9, 1.2)), False),
        (Wire(spread=0.2), seen((0, 0.1), (1, 1.1), (1.3, 1.4)), True),
        (Wire(spread=0.2), seen((0, 0.1), (1, 1.1), (1.1, 1.2)), False),
        (Wire(connections=1), seen((0, 0.1)), True),
        (Wire(connections=1), seen((0, 0.1), connections=2), False),
        (Wire(left=True), seen((0, 0.1), ending="left"), True),
        (Wire(left=True), seen((0, 0.1)), False),
    ],
)
def test_what_the_backend_saw_is_judged_by_number_time_and_connection(
    wire: Wire, servers: list, good: bool
) -> None:
    """Requests, gaps, spread, connections, and that a client hangs up."""
    assert (not judge_wire(wire, servers, 1)) is good


async def posted(server: FaultServer, messages: list[dict]) -> int:
    async with aiohttp.ClientSession() as session:
        body = {"model": "m", "messages": messages}
        async with session.post(f"{server.base_url}/chat/completions", json=body) as answer:
            return answer.status


async def test_the_matrix_own_faults_refuse_what_they_say() -> None:
    """A small window lets a short conversation in, and a prefill is refused only if there is one."""
    asked, prefill = [{"role": "user", "content": "a"}], {"role": "assistant", "content": "b"}
    async with FaultServer(Small(400, "TOKENS over WINDOW", 100)) as server:
        assert await posted(server, asked) == 200
        assert await posted(server, list(LONG.messages)) == 400
    async with FaultServer(NoPrefill(Status(418))) as server:
        assert await posted(server, asked) == 418
        assert await posted(server, [*asked, prefill]) == 400


def test_there_is_an_adapter_for_ours_and_for_each_peer_of_the_session() -> None:
    """The session's environments have the names of adapters."""
    told = (Path(__file__).parents[2] / "noxfile.py").read_text()
    block = told[told.index("FAULT_PEERS = {") :].partition("}")[0]
    assert set(re.findall(r'"(\w+)": \(', block)) <= set(adapters.names())
    assert adapters.names()[0] == "ours"


@pytest.mark.parametrize(
    "name", sorted(set(adapters.names()) - {"langchain_fallbacks", "pydantic_ai_fallback"})
)
def test_an_adapter_takes_fewer_than_forty_lines(name: str) -> None:
    """What it shares with others is in their package; the two left out have shapes of their own for everything."""
    path = Path(adapters.__file__).with_name(f"{name}.py")
    assert len(path.read_text().splitlines()) < 40
