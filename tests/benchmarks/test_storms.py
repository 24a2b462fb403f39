"""Storms run over sockets in virtual time: what is measured is what the backend and the callers saw."""

from __future__ import annotations

import asyncio
import time

import attrs
import pytest
import storms
from capacity import Incident, Spell
from socket_time import run_with_sockets
from storm_clients import ABLATIONS, PEERS, Policy, present

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


def short(monkeypatch: pytest.MonkeyPatch, policies: list[Policy]) -> dict[str, dict]:
    """An outage from 5 to 10 s in a storm of 20 s."""
    monkeypatch.setattr(storms, "LENGTH", 20.0)
    incident = attrs.evolve(OUTAGE, spells=(Spell(5.0, 10.0, speed=0.0),), length=20.0)
    return run_with_sockets(storms.storm(incident, policies, 0.4, 1))


def test_a_storm_tells_who_fails_and_what_the_backend_bears(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without protection the calls of the outage fail, one request each; with a fallback nobody fails."""
    spared = next(policy for policy in ABLATIONS if policy.name == "with a fallback")
    found = short(monkeypatch, [BARE, spared])
    bare, with_fallback = found[BARE.name], found[spared.name]
    assert bare["amplification"] == 1.0
    assert 0.6 < bare["success"] < 0.85
    assert bare["recovery"] == 0.0
    assert set(bare["failures"]) <= {"ClientOSError", "ServerDisconnectedError"}
    assert with_fallback["success"] == 1.0
    assert with_fallback["amplification"] > 1.0
    assert "open" in [state for _, state in with_fallback["states"]]


def test_the_same_seed_gives_the_same_storm(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured follows from the seed."""
    one, other = (short(monkeypatch, [OURS])[OURS.name] for _ in range(2))
    assert one["success"] == other["success"]
    assert one["sent"] == other["sent"]


def test_the_state_of_a_circuit_is_that_of_virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that look at the machine's clock otherwise, too: aiobreaker stays open for a minute of the storm."""
    theirs = next(policy for policy in PEERS if policy.name == "aiobreaker + backoff")
    found = short(monkeypatch, [theirs])[theirs.name]
    assert [state for _, state in found["states"]] == ["open"]
    assert found["success"] < 0.4


def test_a_client_that_is_not_installed_is_left_out_and_says_why() -> None:
    """Others are judged all the same."""
    absent = attrs.evolve(BARE, name="absent", modules=("no_such_client",))
    found, missing = present((BARE, absent))
    assert found == [BARE]
    assert "no_such_client" in missing["absent"]


def test_what_is_better_than_ours_is_said() -> None:
    """By more than five points, whoever it is."""
    runs = {storms.OURS: {"success": 0.8}, "openai": {"success": 0.86}, "tenacity": {"success": 0.84}}
    assert storms.beaten({"a": {"0.7": runs}}, ["openai", "tenacity"]) == [
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
    assert (told["recovery"], told["recovered"]) == (30.0, True)
    assert (told["success"], told["amplification"], told["wasted"]) == (pytest.approx(2 / 3), 1.0, 0.25)
    told = storms.measured([*calls, storms.Call(89.0, 89.5, "left", 0)], incident, Seen())
    assert not told["recovered"]
