"""The applications under docs/examples run as they are, against a server that fails."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import aiohttp

from resilient_llm.testing import Answer, Call, Cut, FaultServer, Reply, Reset, Status

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


async def start(server: FaultServer, name: str, *arguments: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-u", str(EXAMPLES / f"{name}.py"), *map(str, arguments)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={
            **os.environ,
            "RESILIENT_LLM_PROVIDER": "openai-compatible",
            "RESILIENT_LLM_API_BASE": server.base_url,
            "RESILIENT_LLM_MODEL": "any",
        },
    )


async def run(server: FaultServer, name: str, *arguments: object, typed: str = "") -> str:
    process = await start(server, name, *arguments)
    output, errors = await asyncio.wait_for(process.communicate(typed.encode()), 60)
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def test_the_chat_remembers_and_begins_a_broken_answer_again() -> None:
    """An overload is retried in silence, a broken stream begins again, and the second question brings the first."""
    async with FaultServer(
        [Status.overloaded(), Cut(after=2), Answer()], reply="Rhine, Elbe, Oder"
    ) as server:
        shown = await run(server, "chat", typed="Name three rivers.\nAnd three more.\n")
    assert "[again, because of MODEL_RESPONSE_INVALID]\nRhine, Elbe, Oder\n" in shown
    assert [len(seen.body["messages"]) for seen in server.requests] == [1, 1, 1, 3]


async def test_the_chat_says_what_went_wrong_and_goes_on() -> None:
    """A refusal is told with its code; the question is forgotten, and the next one is asked."""
    async with FaultServer([Status(401), Answer()], reply="Rhine") as server:
        shown = await run(server, "chat", typed="Name a river.\nA river, please.\n")
    assert "[MODEL_AUTH" in shown
    assert shown.rstrip().endswith("Rhine\n>")
    assert [len(seen.body["messages"]) for seen in server.requests] == [1, 1]


async def test_the_endpoint_streams_refuses_and_stops_the_model(unused_tcp_port: int) -> None:
    """Words as they come; a status where there is no first word; a reader who leaves is told to the backend."""
    faults = [Reset(), Answer(), Status(401), Answer(interval=0.02)]
    async with FaultServer(faults, reply="word " * 200) as server, aiohttp.ClientSession() as reader:
        process = await start(server, "serve", unused_tcp_port)
        try:
            await asyncio.wait_for(process.stdout.readline(), 30)  # it says that it runs
            address = f"http://127.0.0.1:{unused_tcp_port}/answer"
            async with reader.post(address, data="Hello") as page:
                assert (page.status, await page.text()) == (200, "word " * 200)
            async with reader.post(address, data="Hello") as page:
                assert (page.status, await page.json()) == (502, {"error": "MODEL_AUTH"})
            async with reader.post(address, data="Hello") as page:
                assert (await page.content.readany()).startswith(b"word")
            async with asyncio.timeout(20):
                while server.requests[-1].ending is None:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.02)
        finally:
            process.terminate()
            await asyncio.wait_for(process.communicate(), 30)
    assert server.requests[-1].ending == "left"


async def test_the_labeller_goes_on_where_it_was(tmp_path: Path) -> None:
    """Failures are retried, a wrong form is asked for again, and what is labelled already is left alone."""
    texts, labels = tmp_path / "texts.txt", tmp_path / "labels.tsv"
    texts.write_text("splendid\nawful\nso so\n")
    labels.write_text("2\tnegative\n")
    replies = iter(["I like it!", *['{"label": "positive"}'] * 9])
    faults = [Status(503), Reset(), Answer()]
    async with FaultServer(faults, reply=lambda _body: next(replies)) as server:
        await run(server, "label", texts, labels)
    assert sorted(labels.read_text().splitlines()) == ["1\tpositive", "2\tnegative", "3\tpositive"]
    asked = [seen.body["messages"][-1]["content"] for seen in server.requests]
    assert set(asked) == {"splendid", "so so"}


async def test_the_agent_calls_tools_until_it_has_an_answer() -> None:
    """Results, and the model's own mistakes, go back to it; a failing backend in between is not seen."""

    def reply(body: dict) -> Reply | str:
        match len(body["messages"]):
            case 1:
                return Reply(
                    calls=[Call("river_length", {"river": "Rhine"}), Call("river_length", {"name": "Elbe"})]
                )
            case 4:
                return Reply(calls=[Call("river_length", {"river": "Elbe"})])
        return "The Rhine."

    async with FaultServer([Status(503), Answer(), Reset(), Answer()], reply=reply) as server:
        shown = await run(server, "agent", "Which is longer?")
    assert shown.splitlines()[-1] == "The Rhine."
    assert '{"river": "Rhine"} -> 1233 km' in shown
    results = [
        message["content"] for message in server.requests[-1].body["messages"] if message["role"] == "tool"
    ]
    assert results[0] == "1233 km"
    assert results[1].startswith("error: KeyError")
    assert results[2] == "1094 km"


async def test_the_agent_says_what_went_wrong() -> None:
    """An error that no retry cures is one line on standard error, and an exit status."""
    async with FaultServer(Status(401)) as server:
        process = await start(server, "agent")
        _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert errors.decode().startswith("MODEL_AUTH")
    assert len(errors.decode().splitlines()) == 1
