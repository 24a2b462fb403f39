"""`resilient-llm embed` and `count`, and the completion of shells."""

from __future__ import annotations

import json

import pytest

from resilient_llm.testing.fault_server import Status, serving
from resilient_llm.tokens import TokenTracker

ASKED = [{"role": "user", "content": "Name three rivers."}]


def test_texts_are_embedded(call) -> None:
    """A line for each, of arguments or of a pipe's lines; or one object."""
    with serving() as server:
        where = ("--backend", "openai-compatible", "--base-url", server.base_url, "--model", "m")
        shown = call("embed", *where, "one", "two")
        piped = call("embed", *where, stdin="one\n\ntwo\n")
        told = json.loads(call("embed", "--json", *where, "one", "two").out)
    assert (shown.code, shown.err) == (0, "")
    assert piped == shown
    rows = [[float(number) for number in line.split()] for line in shown.out.splitlines()]
    assert len(rows) == 2
    assert rows == [[pytest.approx(number, rel=1e-5) for number in vector] for vector in told["vectors"]]
    assert [request.body["input"] for request in server.requests] == [["one", "two"]] * 3


def test_nothing_to_embed_is_wrong_usage(call) -> None:
    """Exit status 2, and how to do it."""
    done = call("embed", "--backend", "offline")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: no text: resilient-llm embed")


def test_a_failed_embedding(call) -> None:
    """Exit status 1, an object if asked for."""
    with serving(Status(401)) as server:
        done = call("embed", "--json", "--backend", "openai-compatible", "--base-url", server.base_url, "x")
    assert (done.code, json.loads(done.out)["error"]["code"]) == (1, "MODEL_AUTH")


def test_tokens_are_counted(call, place) -> None:
    """Of a text, a pipe as it is, or messages; a named model alone asks nobody."""
    (place / "list.json").write_text(json.dumps(ASKED))
    (place / "body.json").write_text(json.dumps({"messages": ASKED}))
    tracker = TokenTracker("gpt-4o")
    assert call("count", "--model", "gpt-4o", "a b c").out == f"{tracker.count_tokens('a b c')}\n"
    assert (
        call("count", "--model", "gpt-4o", stdin="a b\n\n").out
        == f"{tracker.count_tokens('a b' + chr(10) * 2)}\n"
    )
    whole = tracker.count_conversation_tokens(ASKED)
    for name in ("list.json", "body.json"):
        done = call("count", "--json", "--model", "gpt-4o", "--messages", name)
        assert (done.code, json.loads(done.out)) == (0, {"tokens": whole})
    assert call("count", "--model", "gpt-4o").out == "0\n"


@pytest.mark.parametrize("content", ["{", "7", "[7]", '{"messages": 1}'])
def test_a_file_without_messages(call, place, content) -> None:
    """Exit status 2, the file named."""
    (place / "list.json").write_text(content)
    done = call("count", "--model", "m", "--messages", "list.json")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: list.json ")


@pytest.mark.parametrize("command", ["chat", "models", "config", "doctor", "batch", "embed", "count", "demo"])
def test_each_command_has_help(call, command) -> None:
    """It says what the exit status means, or what Ctrl-C does."""
    done = call(command, "--help")
    assert (done.code, done.err) == (0, "")
    assert "Exit status" in done.out or "Ctrl-C" in done.out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("do", ["doctor"]),
        ("chat --backend o", ["offline", "ollama", "openai", "openai-compatible"]),
        ("config --key llm_m", ["llm_model", "llm_max_tokens"]),
    ],
)
async def test_shells_complete(run, monkeypatch, typed, offered) -> None:
    """The script for a shell can be shown, and what it asks the command for is answered: commands, names, keys."""
    shown = await run("--show-completion", "bash")
    assert (shown.code, "_RESILIENT_LLM_COMPLETE" in shown.out) == (0, True)
    monkeypatch.setenv("_RESILIENT_LLM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"resilient-llm {typed}")
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split())))
    assert sorted((await run()).out.split()) == sorted(offered)


async def test_completion_is_installed(run, place) -> None:
    """The shell's own file reads the script, which is in the home directory."""
    done = await run("--install-completion", "bash")
    assert done.code == 0, done.err
    assert "resilient-llm" in (place / "home" / ".bashrc").read_text()
    assert (place / "home" / ".bash_completions" / "resilient-llm.sh").exists()


def test_a_file_that_cannot_be_written_is_named(call, place) -> None:
    """Its path and the reason, in words."""
    (place / "in.jsonl").write_text('"Hi"')
    done = call("batch", "in.jsonl", "-o", "none/out.jsonl", "--backend", "offline")
    assert (done.code, done.err) == (1, "error: none/out.jsonl: No such file or directory\n")
