"""`resilient-llm chat` with pipes: answers, exit codes, notices, settings."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli.conftest import COMMAND

import resilient_llm as rl
from resilient_llm.testing.fault_server import Answer, Stall, Status

SAID = "A sound backend writes this whole sentence as its answer to: "
SLOW = Answer(interval=0.02)


async def test_a_prompt_is_answered(serve, run) -> None:
    """The answer alone is on standard output; nothing is on standard error."""
    server, options = await serve()
    done = await run("chat", *options, "--model", "m", "--system", "Be terse.", "Hello")
    assert (done.code, done.out, done.err) == (0, f"{SAID}Hello\n", "")
    body = server.requests[0].body
    assert (body["model"], body["stream"], body["max_tokens"], body["temperature"]) == ("m", True, 1024, 0.7)
    assert [message["content"] for message in body["messages"]] == ["Be terse.", "Hello"]


@pytest.mark.parametrize(
    ("arguments", "piped", "asked"),
    [
        ([], b"hi\n", "hi"),
        (["Summarise"], b"a\nb\n", "Summarise\n\na\nb"),
        (["Summarise"], b"", "Summarise"),
        (["Summarise"], b" \n", "Summarise"),
        ([], "caf\u00e9 ".encode() + b"\xe9", "caf\u00e9 \ufffd"),
        (["bad \udcff byte"], b"", "bad ? byte"),
    ],
)
async def test_a_pipe_is_read(serve, run, arguments, piped, asked) -> None:
    """Piped text is the question, or follows it; bytes that are no text are replaced."""
    server, options = await serve()
    done = await run("chat", *options, *arguments, stdin=piped)
    assert done.code == 0
    assert server.requests[0].body["messages"] == [{"role": "user", "content": asked}]


async def test_without_a_prompt_it_says_how(run) -> None:
    """An empty pipe and an empty prompt are wrong usage."""
    for arguments in ([], [""], ["  "]):
        done = await run("chat", "--backend", "offline", *arguments)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("error: no prompt: resilient-llm chat")


def test_a_closed_standard_input_is_none(tmp_path) -> None:
    """As under some supervisors."""
    shell = ["sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, "chat", "--backend", "offline", "Hello"]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")


async def test_retries_are_told(serve, run) -> None:
    """One line for each, without colour, on standard error; -q silences it; --max-retries is heeded."""
    faults = [Status.overloaded(), Status.rate_limited(0.2), Answer()]
    _, options = await serve([*faults, *faults, Status.overloaded()])
    done = await run("chat", *options, "Hello")
    first, second = done.err.splitlines()
    assert first.startswith("retry: MODEL_OVERLOADED (openai-compatible, HTTP 503): The engine is currently")
    assert "; attempt 2 " in first
    assert second.startswith("retry: MODEL_RATE_LIMITED (openai-compatible, HTTP 429): ")
    assert re.search(r"; attempt 3 in \d\.\d s$", second)
    assert (done.code, done.out) == (0, f"{SAID}Hello\n")
    quiet = await run("chat", *options, "-q", "Hello")
    assert (quiet.code, quiet.out, quiet.err) == (0, f"{SAID}Hello\n", "")
    failed = await run("chat", *options, "--max-retries", "0", "Hello")
    assert (failed.code, failed.out) == (1, "")
    assert len(failed.err.splitlines()) == 1
    assert failed.err.startswith("error: MODEL_OVERLOADED (openai-compatible, HTTP 503): The engine")
    assert rl.ModelOverloadedError.hint in failed.err


async def test_events_are_shown_if_asked_for(serve, run) -> None:
    """-v shows the structured events beside the notices, and never a prompt."""
    _, options = await serve([Status.overloaded(), Answer()])
    done = await run("chat", *options, "-v", "secret question")
    for part in (
        "retry: ",
        "llm.attempt ",
        "llm.wait ",
        "llm.call ",
        "code=MODEL_OVERLOADED",
        "outcome=completed",
    ):
        assert part in done.err
    assert "secret" not in done.err


async def test_an_answer_as_json(serve, run) -> None:
    """One object on standard output; notices stay on standard error."""
    _, options = await serve([Status.overloaded(), Answer()])
    done = await run("chat", *options, "--json", "Hello")
    answer = json.loads(done.out)
    assert done.out.count("\n") == 1
    assert (answer["text"], answer["finish_reason"], answer["backend"]) == (
        f"{SAID}Hello",
        "stop",
        "openai-compatible",
    )
    assert (answer["model"], answer["attempts"], answer["tool_calls"]) == ("fault-model", 2, [])
    assert answer["usage"]["total_tokens"] > 0
    assert [attempt["error"] and attempt["error"]["code"] for attempt in answer["trace"]] == [
        "MODEL_OVERLOADED",
        None,
    ]
    assert done.err.startswith("retry: ")


async def test_an_error_as_json(serve, run) -> None:
    """An object with the error, exit code 1; for a client that cannot be made, too."""
    _, options = await serve(Status(status=401))
    done = await run("chat", *options, "--json", "Hello")
    error = json.loads(done.out)["error"]
    assert (done.code, error["code"], error["status"], error["attempts"]) == (1, "MODEL_AUTH", 401, 1)
    assert len(error["trace"]) == 1
    assert done.err.count("\n") == 1
    done = await run("chat", "--backend", "openai", "--json", "Hello")
    assert (done.code, json.loads(done.out)["error"]["code"]) == (1, "MODEL_AUTH")
    assert "OPENAI_API_KEY" in done.err


async def test_a_broken_answer_ends_its_line(serve, run) -> None:
    """What came is printed, and the error stands on a line of its own."""
    _, options = await serve(Stall(after=3))
    done = await run("chat", *options, "--deadline", "0.5", "Hello")
    assert (done.code, done.out) == (1, "A sound backend\n")
    assert done.err.startswith("error: DEADLINE_EXCEEDED")


async def test_a_cut_answer_is_told(serve, run) -> None:
    """An answer at its limit says which setting lifts it."""

    class Long(Answer):
        async def play(self, exchange) -> None:
            await exchange.begin_stream()
            for delta, reason in (
                ({"content": "And so"}, None),
                ({}, exchange.request.body["messages"][0]["content"]),
            ):
                choice = {"index": 0, "delta": delta, "finish_reason": reason}
                await exchange.chunk(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
            await exchange.chunk(b"data: [DONE]\n\n")
            await exchange.chunk(b"")

    _, options = await serve(Long())
    done = await run("chat", *options, "length")
    assert (done.code, done.out) == (0, "And so\n")
    assert "cut off: the answer reached its limit (llm_max_tokens is 1024)" in done.err


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
async def test_ctrl_c_ends_a_single_answer(serve) -> None:
    """Exit code 130, what came is printed, no traceback; the server is left."""
    server, options = await serve(SLOW, reply="word " * 500)
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(*COMMAND, "chat", *options, "Hello", **pipes)
    out = await process.stdout.readexactly(10)
    process.send_signal(signal.SIGINT)
    rest, err = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, err) == (130, b"")
    assert (out + rest).endswith(b"\n")
    assert server.requests[0].ending == "left"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
async def test_a_reader_that_has_enough_is_no_error(serve) -> None:
    """`| head` ends the command silently."""
    _, options = await serve(reply="a line\n" * 5000)
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(*COMMAND, "chat", *options, "Hello", **pipes)
    assert await process.stdout.readline() == b"a line\n"
    process._transport.get_pipe_transport(1).close()
    err = await asyncio.wait_for(process.stderr.read(), 10)
    assert (await process.wait(), err) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error() -> None:
    """The answer was not kept: exit code 1, in one line."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "chat", "--backend", "offline", "Hello"],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


# Settings ...


async def test_what_is_left_out_comes_from_the_settings(serve, run, place, monkeypatch) -> None:
    """File, environment, option: each wins over the one before."""
    server, _ = await serve()
    (place / "resilient-llm.toml").write_text(
        f'llm_provider = "openai-compatible"\nllm_api_base = "{server.base_url}"\n'
        'llm_model = "file"\nllm_max_tokens = 9\n'
    )
    await run("chat", "Hello")
    monkeypatch.setenv("RESILIENT_LLM_MODEL", "variable")
    await run("chat", "Hello")
    await run("chat", "--model", "option", "Hello")
    assert [request.body["model"] for request in server.requests] == ["file", "variable", "option"]
    assert server.requests[0].body["max_tokens"] == 9
    offline = await run("chat", "--backend", "offline", "--json", "Hello")
    assert json.loads(offline.out)["backend"] == "offline"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--backend", "lmstudo"], "one of auto, "),
        (["--base-url", "localhost:1234"], "an absolute URL"),
        (["--deadline", "0"], "a number of seconds above 0"),
        (["--deadline", "nan"], "a number of seconds above 0"),
        (["--max-retries", "-1"], "--max-retries"),
        (["--colour"], "--colour"),
        (["--backend", "openai-compatible"], "RESILIENT_LLM_API_BASE"),
    ],
)
async def test_wrong_usage_is_named(run, arguments, problem) -> None:
    """Exit code 2, nothing on standard output, and what would be accepted."""
    done = await run("chat", *arguments, "Hello")
    assert (done.code, done.out) == (2, "")
    assert problem in done.err
    assert "Traceback" not in done.err


async def test_wrong_settings_are_wrong_usage(run, monkeypatch) -> None:
    """The variable is named, in one line."""
    monkeypatch.setenv("RESILIENT_LLM_TIMEOUT", "soon")
    done = await run("chat", "Hello")
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: RESILIENT_LLM_TIMEOUT must be a number of seconds above 0, not 'soon'\n"


async def test_warnings_of_transports_are_told(serve, run) -> None:
    """A model that had to be guessed is a warning; -q silences it."""
    body = {"error": {"message": "no such route"}}
    server, _ = await serve(Status(status=404, body=body))
    options = ("--backend", "openai-compatible", "--base-url", server.base_url.replace("/v1", "/other"))
    done = await run("chat", *options, "Hello")
    assert done.err.startswith("warning: openai-compatible: the models could not be listed")
    quiet = await run("chat", *options, "-q", "Hello")
    assert quiet.err.startswith("error: ")


PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


async def test_the_documented_answer_is_real(run) -> None:
    """The page's first example gives what it shows."""
    shown = re.search(r'\$ resilient-llm chat --backend offline "(.+)"\n(.+\n)```', PAGE.read_text())
    done = await run("chat", "--backend", "offline", shown[1])
    assert (done.code, done.out, done.err) == (0, shown[2], "")
