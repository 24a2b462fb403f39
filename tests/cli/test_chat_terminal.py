"""`resilient-llm chat` at a terminal, as a person sees it."""

from __future__ import annotations

import json
import os
import re

import pytest

from resilient_llm.testing.fault_server import Answer, Cut, Status

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")

SLOW = Answer(interval=0.02)
SAID = "A sound backend writes this whole sentence as its answer to: "
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


async def test_a_conversation_has_a_history(serve, terminal) -> None:
    """Each question goes out with all that was said before; empty lines are ignored; /quit ends with 0."""
    server, options = await serve()
    shell = terminal("chat", *options, "--system", "Be terse.")
    header = await shell.see("> ")
    assert server.base_url in header
    assert "Ctrl-D or /quit ends" in header
    shell.type("first\n")
    await shell.see(f"{SAID}first")
    await shell.see("> ")
    shell.type("\n   \nsecond\n")
    await shell.see(f"{SAID}second")
    await shell.see("> ")
    shell.type("/quit\n")
    assert await shell.end() == 0
    assert [len(request.body["messages"]) for request in server.requests] == [2, 4]
    assert [message["content"] for message in server.requests[1].body["messages"]] == [
        "Be terse.",
        "first",
        f"{SAID}first",
        "second",
    ]
    assert "Traceback" not in shell.shown


async def test_ctrl_c_stops_the_answer_not_the_program(serve, terminal) -> None:
    """What was seen of the answer stays in the conversation; Ctrl-D ends it."""
    server, options = await serve([SLOW, Answer()], reply="word " * 500)
    shell = terminal("chat", *options)
    await shell.see("> ")
    shell.type("first\n")
    await shell.see("word word")
    await shell.interrupt()
    await shell.see("stopped")
    await shell.see("> ")
    shell.type("second\n")
    await shell.see("word " * 499)
    await shell.see("> ")
    shell.type("\x04")
    assert await shell.end() == 0
    assert server.requests[0].ending == "left"
    asked, answered, _ = server.requests[1].body["messages"]
    assert asked["content"] == "first"
    assert answered["role"] == "assistant"
    assert 2 <= len(answered["content"].split()) < 500
    assert "Traceback" not in shell.shown


async def test_ctrl_c_twice_at_the_prompt_ends(serve, terminal) -> None:
    """The first one says so and drops what was typed; a question in between forgives it."""
    server, options = await serve()
    shell = terminal("chat", *options)
    await shell.see("> ")
    shell.type("half a quest")
    await shell.interrupt()
    await shell.see("Ctrl-C once more")
    await shell.see("> ")
    shell.type("whole\n")
    await shell.see(f"{SAID}whole")
    await shell.see("> ")
    await shell.interrupt()
    await shell.see("Ctrl-C once more")
    await shell.see("> ")
    await shell.interrupt()
    assert await shell.end() == 0
    assert len(server.requests) == 1


async def test_an_error_does_not_end_the_conversation(serve, terminal) -> None:
    """A question that failed unanswered is forgotten; a broken answer is kept as far as it came."""
    server, options = await serve([Status(status=401), Cut(after=4), Answer()])
    shell = terminal("chat", *options)
    await shell.see("> ")
    shell.type("first\n")
    await shell.see("error: MODEL_AUTH")
    await shell.see("> ")
    shell.type("second\n")
    await shell.see("A sound backend writes\r\n")
    await shell.see("error: MODEL_")
    await shell.see("> ")
    shell.type("third\n")
    await shell.see(f"{SAID}third")
    await shell.see("> ")
    shell.type("\x04")
    assert await shell.end() == 0
    contents = [message["content"] for message in server.requests[-1].body["messages"]]
    assert contents == ["second", "A sound backend writes", "third"]


async def test_notices_have_colour_at_a_terminal(serve, terminal, monkeypatch) -> None:
    """A retry is told in yellow; with NO_COLOR nothing is coloured."""
    _, options = await serve([Status.overloaded(), Answer(), Status.overloaded(), Answer()])
    shell = terminal("chat", *options, "Hello")
    assert await shell.end() == 0
    await shell.see("Hello\r\n")
    assert "\x1b[33mretry: MODEL_OVERLOADED (openai-compatible, HTTP 503): " in shell.shown
    monkeypatch.setenv("NO_COLOR", "1")
    plain = terminal("chat", *options, "Hello")
    assert await plain.end() == 0
    await plain.see("Hello\r\n")
    assert "retry: MODEL_OVERLOADED" in plain.shown
    assert "\x1b" not in plain.shown


async def test_a_model_cannot_steer_the_terminal(serve, terminal, run) -> None:
    """Control characters in an answer or an error are dropped at a terminal; a pipe gets the answer as it is."""
    reply = "one \x1b[2Jtwo\r\x9b3Jthree\tfour"
    body = {"error": {"message": "no \x1b]0;title\x07 such key"}}
    _, options = await serve([Answer(), Answer(), Status(status=401, body=body)], reply=reply)
    shell = terminal("chat", *options, "Hello")
    assert await shell.end() == 0
    await shell.see("four")
    assert "one [2Jtwo3Jthree" in shell.shown
    assert "\x1b" not in shell.shown
    assert (await run("chat", *options, "Hello")).out == "one \x1b[2Jtwo\r\x9b3Jthree\tfour\n"
    assert "\x1b" not in (await run("chat", *options, "Hello")).err


async def test_thoughts_are_shown_apart(serve, terminal) -> None:
    """At a terminal what the model thinks is shown dimmed, before the answer and on lines of its own."""

    class Thinking(Answer):
        async def play(self, exchange) -> None:
            await exchange.begin_stream()
            for delta in ({"reasoning_content": "Hm, "}, {"reasoning_content": "well."}, {"content": "Yes."}):
                await exchange.chunk(_event(delta))
            await exchange.chunk(_event({}, "stop") + b"data: [DONE]\n\n")
            await exchange.chunk(b"")

    _, options = await serve(Thinking())
    shell = terminal("chat", *options, "Hello")
    assert await shell.end() == 0
    await shell.see("Yes.\r\n")
    assert COLOUR.sub("", shell.shown) == "Hm, well.\r\nYes.\r\n"


def _event(delta: dict, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


async def test_json_needs_a_prompt(terminal) -> None:
    """A conversation has no JSON form: wrong usage."""
    shell = terminal("chat", "--json", "--backend", "offline")
    assert await shell.end() == 2
    await shell.see("error: --json needs a prompt")
