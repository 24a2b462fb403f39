"""`resilient-llm batch`: forms of lines, records, going on after a kill."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest
from cli.conftest import COMMAND
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_llm.cli.batch_book import BrokenLineError, Ledger, Question, read_question, record
from resilient_llm.cli.batch_file import ForeignOutputError, append, opened
from resilient_llm.client import AsyncClient
from resilient_llm.errors import CircuitOpenError
from resilient_llm.testing.fault_server import Answer, Status, serving

SAID = "A sound backend writes this whole sentence as its answer to: "
ASKED = [{"role": "user", "content": "hi"}]
SOURCE, OUTPUT = Path("in.jsonl"), Path("out.jsonl")


def write(*lines: object) -> None:
    SOURCE.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))


def records() -> list[dict]:
    return [json.loads(line) for line in OUTPUT.read_bytes().split(b"\n")[:-1]]


@pytest.fixture
def batch(call):
    """Run a batch against a server."""

    def start(server, *more: str):
        where = ("--backend", "openai-compatible", "--base-url", server.base_url)
        done = call("batch", "in.jsonl", "-o", "out.jsonl", *where, *more)
        assert "Traceback" not in done.err
        return done

    return start


@pytest.mark.parametrize(
    ("line", "question"),
    [
        ('"hi"', Question("hi")),
        ({"prompt": "hi"}, Question("hi")),
        ({"prompt": "hi", "temperature": 0}, Question("hi", {"temperature": 0})),
        ({"messages": ASKED, "custom_id": "a"}, Question(ASKED, {}, "a")),
        (
            {
                "custom_id": "b",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": "m", "messages": ASKED, "stream": False},
            },
            Question(ASKED, {"model": "m"}, "b"),
        ),
        (
            {"prompt": "hi", "max_completion_tokens": 5},
            Question("hi", {"max_completion_tokens": 5, "max_tokens": None}),
        ),
    ],
)
def test_what_a_line_asks(line, question) -> None:
    """Every accepted form; what is no field of the form is an option of the call."""
    text = line if isinstance(line, str) else json.dumps(line)
    assert read_question(text.encode()) == question


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ("7", "a string or an object"),
        ("{}", "either a prompt or messages"),
        ('{"prompt": "a", "messages": []}', "either a prompt or messages"),
        ('{"prompt": 7}', "prompt must be a string"),
        ('{"messages": "hi"}', "messages must be a list"),
        ('{"prompt": "a", "stream": true}', "stream is not"),
        ('{"custom_id": 7, "prompt": "a"}', "custom_id must be"),
        ('{"url": "/v1/embeddings", "body": {}}', "url must end"),
        ('{"body": 7}', "body must be"),
    ],
)
def test_broken_lines_say_why(line, reason) -> None:
    """And never quote what was asked."""
    with pytest.raises(BrokenLineError, match=reason):
        read_question(line.encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_question_or_broken(line) -> None:
    """Nothing else comes of a line."""
    with contextlib.suppress(BrokenLineError):
        assert isinstance(read_question(line), Question)
    Ledger().note(line)


HISTORY = st.lists(st.tuples(st.integers(1, 6), st.sampled_from([b"a", b"b"]), st.booleans()), max_size=12)


@given(HISTORY, st.integers(1, 6), st.sampled_from([b"a", b"b"]), st.booleans())
def test_the_last_record_of_a_line_counts(history, number, line, again) -> None:
    """Answered: done; failed: asked again if told so or corrected; never seen: asked."""
    ledger = Ledger()
    for at, asked, well in history:
        assert ledger.note(record(at, asked, None, {"error": None if well else {"code": "X"}}))
    last = next(((asked, well) for at, asked, well in reversed(history) if at == number), None)
    if last is None:
        expected = "ask"
    elif last[1]:
        expected = "done" if last[0] == line else "changed"
    else:
        expected = "ask" if again or last[0] != line else "failed"
    assert ledger.turn(number, line + b"\n", retry_failed=again) == expected


@settings(max_examples=40)
@given(st.lists(st.text(max_size=5), min_size=1, max_size=5), st.data())
def test_an_output_cut_anywhere_goes_on(texts, data) -> None:
    """What a kill left, at any byte: whole records count, a torn last one is dropped, the next one is whole."""
    whole = [
        record(number, b"q", None, {"text": text, "error": None}) for number, text in enumerate(texts, 1)
    ]
    cut = data.draw(st.integers(0, sum(map(len, whole))))
    OUTPUT.write_bytes(b"".join(whole)[:cut])
    with opened(OUTPUT) as (file, ledger):
        kept = [number for number in range(1, 6) if ledger.turn(number, b"q", retry_failed=False) == "done"]
        append(file, record(9, b"q", None, {"error": None}))
    assert [row["line"] for row in records()] == [*kept, 9]
    sizes = [sum(map(len, whole[:count])) for count in range(len(whole) + 1)]
    assert len(kept) == max(count for count, size in enumerate(sizes) if size <= cut)


@pytest.mark.parametrize("content", [b"my notes", b"my notes\n", b'{"a": 1}\n', b'"x"\n{"line": '])
def test_another_file_is_left_alone(content) -> None:
    """Whatever holds anything else than records."""
    OUTPUT.write_bytes(content)
    with pytest.raises(ForeignOutputError, match=r"line 1"), opened(OUTPUT):
        pass
    assert OUTPUT.read_bytes() == content


def test_one_batch_at_a_time() -> None:
    """Two that write the same file would repeat each other's calls."""
    pytest.importorskip("fcntl")
    with opened(OUTPUT), pytest.raises(ForeignOutputError, match="another batch"), opened(OUTPUT):
        pass


def test_all_lines_are_answered(batch) -> None:
    """In whatever order, each with its number and name; blank lines are none."""
    write('"one"\n', "\n", {"custom_id": "x", "body": {"messages": ASKED, "temperature": 0}})
    with serving() as server:
        done = batch(server, "--json")
    assert (done.code, json.loads(done.out)) == (
        0,
        {"done": 2, "failed": 0, "earlier": 0, "output": "out.jsonl"},
    )
    first, second = sorted(records(), key=lambda row: row["line"])
    assert (first["line"], first["text"], first["custom_id"]) == (1, f"{SAID}one", None)
    assert (second["line"], second["text"], second["custom_id"]) == (3, f"{SAID}hi", "x")
    assert first["usage"]["total_tokens"] > 0
    assert (first["error"], first["finish_reason"]) == (None, "stop")
    assert {request.body["temperature"] for request in server.requests} == {0, 0.7}


def test_broken_lines_are_told_and_the_rest_done(batch) -> None:
    """By number, on standard error and in the output; exit status 1."""
    write('"one"\n', "{broken\n", {"prompt": "x", "temperature": 1, "max_retries": "many"}, '"four"')
    with serving() as server:
        done = batch(server)
        assert (done.code, done.out) == (1, "")
        assert "line 2: BROKEN_LINE: it is no JSON\n" in done.err
        assert "line 3: MODEL_INVALID_REQUEST: max_retries must be" in done.err
        assert "2 done, 2 failed; --retry-failed asks those again" in done.err
        assert {row["line"]: row["error"] and row["error"]["code"] for row in records()} == {
            1: None,
            2: "BROKEN_LINE",
            3: "MODEL_INVALID_REQUEST",
            4: None,
        }
        write('"one"\n', '"mended"\n', {"prompt": "x"}, '"four"')
        again = batch(server)
    assert (again.code, "2 done, 0 failed, 2 done before" in again.err) == (0, True)
    assert len(server.requests) == 4


def test_failed_lines_are_asked_again_if_told(batch) -> None:
    """Not otherwise, and their failure still counts."""
    write('"one"\n')
    with serving(Status(400), Answer()) as server:
        codes = [
            batch(server).code,
            batch(server).code,
            batch(server, "--retry-failed").code,
            batch(server).code,
        ]
    assert codes == [1, 1, 0, 0]
    assert len(server.requests) == 2
    assert [row["error"] is None for row in records()] == [False, True]


def test_another_question_in_place_of_an_answered_one(batch) -> None:
    """Its old answer must not pass for an answer to it."""
    write('"one"\n')
    with serving() as server:
        batch(server)
        write('"other"\n')
        done = batch(server)
    assert (done.code, len(server.requests)) == (2, 1)
    assert "line 1 of in.jsonl asks something else" in done.err


def test_a_wrong_key_stops_the_batch(batch) -> None:
    """All other lines would fail as well; none of them is marked."""
    write(*(f'"{number}"\n' for number in range(50)))
    with serving(Status(401)) as server:
        done = batch(server, "--parallel", "2")
    assert (done.code, records()) == (1, [])
    assert done.err.startswith("error: MODEL_AUTH (openai-compatible, HTTP 401): ")
    assert len(done.err.splitlines()) == 1
    assert len(server.requests) <= 4


def test_a_resting_backend_is_waited_for(batch) -> None:
    """An open circuit fails no line of the file."""
    write(*(f'"{number}"\n' for number in range(8)))
    outcomes = iter([CircuitOpenError("open", retry_after=0.01)] * 12)
    whole = AsyncClient.complete

    async def complete(self, *args, **options):
        if (error := next(outcomes, None)) is not None:
            raise error
        return await whole(self, *args, **options)

    with serving() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(AsyncClient, "complete", complete)
        done = batch(server)
    assert (done.code, len(records())) == (0, 8)


def test_the_output_is_not_the_input(batch, call) -> None:
    """Wrong usage, and nothing is touched."""
    write('"one"\n')
    done = call("batch", "in.jsonl", "-o", "in.jsonl", "--backend", "offline")
    assert (done.code, SOURCE.read_text()) == (2, '"one"\n')
    assert call("batch", "none.jsonl", "-o", "out.jsonl").code == 2


def test_so_many_at_a_time(batch) -> None:
    """No more calls are under way than were asked for."""
    write(*(f'"{number}"\n' for number in range(9)))
    with serving(Answer(latency=0.05)) as server:
        batch(server, "--parallel", "3")
        assert server.connections == 3


def start(server, *more: str) -> subprocess.Popen:
    where = ("--backend", "openai-compatible", "--base-url", server.base_url)
    command = [*COMMAND, "batch", "in.jsonl", "-o", "out.jsonl", *where, *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


async def begun(server, count: int) -> None:
    async with asyncio.timeout(30):
        while len(server.requests) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("seed", range(2))
async def test_killed_at_random_it_goes_on(serve, seed) -> None:
    """Nothing is lost, and what was answered is not asked again but for the calls that were under way."""
    write(*(f'"question {number}"\n' for number in range(60)))
    server, _ = await serve([Answer(latency=0.01)])
    dice = random.Random(seed)
    for kill in range(2):
        process = start(server)
        await begun(server, 20 * kill + dice.randint(5, 20))
        process.kill()
        await asyncio.to_thread(process.communicate)
        assert 0 < len(records()) < 60
    process = start(server)
    await asyncio.to_thread(process.communicate)
    assert process.returncode == 0
    assert sorted(row["line"] for row in records()) == list(range(1, 61))
    assert {row["text"] for row in records()} == {f"{SAID}question {number}" for number in range(60)}
    assert len(server.requests) <= 60 + 2 * 4


@pytest.mark.skipif(os.name != "posix", reason="signals")
async def test_ctrl_c_says_what_is_known(serve) -> None:
    """Exit status 130, the numbers, whole records."""
    write(*(f'"question {number}"\n' for number in range(500)))
    server, _ = await serve([Answer(latency=0.02)])
    process = start(server)
    await begun(server, 10)
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.to_thread(process.communicate)
    assert process.returncode == 130
    assert err == f"stopped: {len(records())} done, 0 failed; the same command goes on\n"


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
async def test_progress_at_a_terminal(serve, terminal) -> None:
    """A line that is written over, and the sum at the end."""
    write('"one"\n', '"two"\n')
    _, options = await serve()
    shell = terminal("batch", "in.jsonl", "-o", "out.jsonl", *options)
    await shell.see("100 % read, ")
    await shell.see("2 done, 0 failed; the answers are in out.jsonl")
    assert await shell.end() == 0
