"""Storms run over sockets in virtual time: what is measured is what the backend and the callers saw."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from types import SimpleNamespace

import attrs
import backoff
import parallel
import pytest
import storm_tables
import storms
from capacity import Incident, Spell
from socket_time import run_with_sockets
from storm_clients import ABLATIONS, PEERS, Policy, ours, present

import resilient_llm as rl
from resilient_llm.testing import Answer, FaultServer

OURS, BARE = (policy for policy in PEERS if policy.name in {storms.OURS, storms.BARE})
OUTAGE = next(incident for incident in storms.STORMS if incident.name == "outage")


def test_minutes_pass_at_once_with_real_sockets() -> None:
    """A server that takes a minute to answer is waited for in virtual time."""

    async def ask() -> float:
        begun = asyncio.get_running_loop().time()
        async with (
            FaultServer(Answer(latency=60.0)) as server,
            rl.AsyncClient("openai-compatible", base_url=server.base_url, model="m") as llm,
        ):
            assert (await llm.complete("hello")).text
        return asyncio.get_running_loop().time() - begun

    begun = time.monotonic()
    assert run_with_sockets(ask()) == pytest.approx(60.0, abs=0.1)
    assert time.monotonic() - begun < 20


def short(monkeypatch: pytest.MonkeyPatch, policy: Policy) -> dict:
    """An outage from 5 to 10 s in a storm of 20 s."""
    monkeypatch.setattr(storms, "LENGTH", 20.0)
    incident = attrs.evolve(OUTAGE, spells=(Spell(5.0, 10.0, speed=0.0),), length=20.0)
    return run_with_sockets(storms.storm(incident, policy, 0.4, 1))


def test_a_storm_tells_who_fails_and_what_the_backend_bears(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without protection the calls of the outage fail, one request each; with a fallback nobody fails."""
    spared = next(policy for policy in ABLATIONS if policy.name == "with a fallback")
    bare, with_fallback = short(monkeypatch, BARE), short(monkeypatch, spared)
    assert bare["amplification"] == 1.0
    assert 0.6 < bare["success"] < 0.85
    assert bare["recovery"] == 0.0
    assert set(bare["failures"]) <= {"ClientOSError", "ServerDisconnectedError", "ClientPayloadError"}
    assert with_fallback["success"] == 1.0
    assert with_fallback["amplification"] > 1.0
    assert "open" in [state for _, state in with_fallback["states"]]


def test_the_same_seed_gives_the_same_storm(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured follows from the seed."""
    assert short(monkeypatch, OURS) == short(monkeypatch, OURS)


def test_the_state_of_a_circuit_is_that_of_virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that look at the machine's clock otherwise, too: aiobreaker stays open for a minute of the storm."""
    theirs = next(policy for policy in PEERS if policy.name == "aiobreaker + backoff")
    found = short(monkeypatch, theirs)
    assert [state for _, state in found["states"]] == ["open"]
    assert found["success"] < 0.4


@pytest.mark.parametrize(
    ("recovery", "failures"),
    [("raise", {"ModelResponseInvalidError": 1}), ("restart", {}), (None, {"ClientPayloadError": 1})],
)
def test_an_outage_cuts_a_stream(
    monkeypatch: pytest.MonkeyPatch, recovery: str | None, failures: dict[str, int]
) -> None:
    """Without recovery that call has failed; a stream that begins anew after the outage is an answer."""
    monkeypatch.setattr(storms, "arrivals", lambda _rate, _seed: [1.0])
    incident = attrs.evolve(OUTAGE, spells=(Spell(2.0, 2.3, speed=0.0),))
    options = {"recovery": recovery, "wait": partial(backoff.constant, interval=1.0), "jitter": None}
    policy = BARE if recovery is None else attrs.evolve(OURS, opened=partial(ours, **options))
    came = run_with_sockets(storms.storm(incident, policy, 0.4, 1))
    assert came["failures"] == failures
    assert came["wasted"] > 0


def test_several_draws_become_medians_and_ranges() -> None:
    """A figure that all draws agree on has no range, and a draw that does not recover counts as the longest."""
    figures = {"answers": 1.0, "p50": 1.0, "p99": 2.0, "amplification": 1.0, "wasted": 0.0}
    runs = [
        {
            **figures,
            "success": share,
            "recovery": recovery,
            "goodput": [share, 0.0],
            "sent": [1.0, 1.0],
            "calls": 10,
            "times": [share],
            "failures": {"left": 1},
            "states": [(share, "open")],
        }
        for share, recovery in ((0.5, 0.0), (0.9, None), (0.6, 4.0))
    ]
    told = storm_tables.summed(runs)
    assert (told["success"], told["recovery"], told["calls"]) == (0.6, 4.0, 30)
    assert (told["times"], told["failures"], told["states"]) == (
        [0.5, 0.6, 0.9],
        {"left": 3},
        [(0.5, "open")],
    )
    assert told["goodput"] == [pytest.approx(0.667), 0.0]
    (table,) = storm_tables.tables({"a": {"0.7": {storms.OURS: told}}}, {"a": "What."}, [])
    assert table.rows == [
        [
            "resilient_llm, 0.7",
            "60.0% (50.0 to 90.0)",
            "1.00/s",
            "1.0 s",
            "2.0 s",
            "4 s (0 to not in time)",
            "1.00",
            "0.0%",
        ]
    ]


def test_every_client_is_one_job_and_all_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each storm, rate and client has come once for each seed; stages are taken away at one rate only."""
    asked: list[tuple] = []

    def run(_work: object, jobs: list[tuple], _told: object) -> list[dict]:
        asked.extend(jobs)
        return [{"seed": seed} for *_, seed in jobs]

    monkeypatch.setattr(storms.parallel, "run", run)
    monkeypatch.setattr(storms, "summed", lambda runs: {"seeds": [each["seed"] for each in runs]})
    options = SimpleNamespace(only="outage", rates=[0.4, 0.7], seed=5, seeds=2)
    found = storms.play(options, [OURS, BARE])
    assert len(set(asked)) == len(asked) == 2 * (2 + 2 + len(ABLATIONS))
    assert list(found) == ["outage"]
    assert list(found["outage"]["0.4"]) == [OURS.name, BARE.name]
    assert len(found["outage"]["0.7"]) == 2 + len(ABLATIONS)
    assert all(
        told == {"seeds": [5, 6]}
        for rates in found.values()
        for runs in rates.values()
        for told in runs.values()
    )


def double(number: int) -> int:
    """A job."""
    return 2 * number


def test_jobs_on_all_processors_come_back_in_order() -> None:
    """Whichever is done first."""
    assert parallel.run(double, [(3,), (1,), (2,)], "{}".format) == [6, 2, 4]


def test_a_client_that_is_not_installed_is_left_out_and_says_why() -> None:
    """Others are judged all the same."""
    absent = attrs.evolve(BARE, name="absent", modules=("no_such_client",))
    found, missing = present((BARE, absent))
    assert found == [BARE]
    assert "no_such_client" in missing["absent"]


def test_what_is_better_than_ours_is_said() -> None:
    """By more than five points, whoever it is."""
    runs = {storms.OURS: {"success": 0.8}, "openai": {"success": 0.86}, "tenacity": {"success": 0.84}}
    assert storm_tables.beaten({"a": {"0.7": runs}}, ["openai", "tenacity"]) == [
        "a at 0.7: openai answers 86.0%, resilient_llm 80.0%"
    ]


def test_a_call_that_fails_long_after_the_cause_is_part_of_the_effect() -> None:
    """Time to recover ends with the last failure; failing to the end is not recovering in time."""

    class Seen:
        requests = (0.0, 1.0, 80.0)
        tokens = 40

    incident = Incident(name="", text="", spells=(Spell(10.0, 20.0),), capacity=1.0, length=90.0)
    calls = [
        storms.Call(0.0, 1.0, "", 20),
        storms.Call(50.0, 51.0, "left", 0),
        storms.Call(80.0, 82.0, "", 10),
    ]
    told = storms.measured(calls, incident, Seen())
    assert told["recovery"] == 30.0
    assert (told["success"], told["amplification"], told["wasted"]) == (pytest.approx(2 / 3), 1.0, 0.25)
    told = storms.measured([*calls, storms.Call(89.0, 89.5, "left", 0)], incident, Seen())
    assert told["recovery"] is None
