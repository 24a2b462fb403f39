"""What servers hear, and how their refusals are told: the same for every backend, in seven ways of saying it."""

from __future__ import annotations

from typing import Any

import pytest
from conformance import heard
from conformance.questions import CLOCK, FUNCTION, PARAMETERS, QUESTION, RESULT, SCHEMA, TOOLS
from conformance.simulated import BACKENDS, MODEL, Backend

import resilient_llm as rl
from resilient_llm.testing import Answer, Fault, FaultServer, Garbage, Reply, Status

PIXEL = "iVBORw0KGgo="
ALL = pytest.mark.parametrize("backend", BACKENDS, ids=str)


def call(number: int, name: str, town: str) -> dict[str, Any]:
    function = {"name": name, "arguments": f'{{"town": "{town}"}}'}
    return {"id": f"c{number}", "type": "function", "function": function}


CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be terse."},
    {"role": "developer", "content": "Use metric units."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "Where is this?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        ],
    },
    {"role": "assistant", "content": "In Ulm."},
    {"role": "user", "content": "How cold is it there and in Århus?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [call(1, "temperature", "Ulm"), call(2, "clock", "Ulm")],
    },
    {"role": "tool", "tool_call_id": "c1", "content": RESULT},
    {"role": "tool", "tool_call_id": "c2", "content": "noon"},
    {"role": "assistant", "content": "4 degrees at noon."},
    {"role": "user", "content": "And in Århus?"},
    {"role": "assistant", "content": None, "function_call": call(3, "clock", "Århus")["function"]},
    {"role": "function", "name": "clock", "content": "one"},
    {"role": "user", "content": "Thanks. And now?"},
]
HEARD: list[tuple[Any, ...]] = [
    ("system", "Be terse."),
    ("system", "Use metric units."),
    ("user", "Where is this?"),
    ("image", PIXEL),
    ("assistant", "In Ulm."),
    ("user", "How cold is it there and in Århus?"),
    ("call", "temperature", {"town": "Ulm"}),
    ("call", "clock", {"town": "Ulm"}),
    ("result", RESULT),
    ("result", "noon"),
    ("assistant", "4 degrees at noon."),
    ("user", "And in Århus?"),
    ("call", "clock", {"town": "Århus"}),
    ("result", "one"),
    ("user", "Thanks. And now?"),
]


@ALL
async def test_a_conversation_is_heard_as_it_was_held(backend: Backend):
    """All roles, an image, calls of both kinds and their results arrive in order, whatever the dialect."""
    async with FaultServer() as server, backend.client(server) as llm:
        await llm.complete(CONVERSATION, tools=TOOLS)
    assert heard.HEARD[backend.dialect](server.requests[0].body) == HEARD


@ALL
async def test_options_are_heard(backend: Backend):
    """Tools, a schema, lengths and stops in the dialect's words; what nobody knows, as it is; headers too."""
    form = {"type": "json_schema", "json_schema": {"name": "river", "schema": SCHEMA}}
    options: dict[str, Any] = {"max_tokens": 9, "stop": ["END"], "x_own": {"deep": [1]}, "tools": TOOLS}
    more = {"extra_body": {"y_own": 2}, "extra_headers": {"x-trace": "t1"}, "response_format": form}
    async with FaultServer(reply=Reply("{}")) as server, backend.client(server) as llm:
        await llm.complete(QUESTION, **options, **more)
    (seen,) = server.requests
    assert heard.schema(backend.dialect, seen.body) == SCHEMA
    assert heard.offered(backend.dialect, seen.body) == [("temperature", PARAMETERS), ("clock", PARAMETERS)]
    assert (heard.limit(backend.dialect, seen.body), heard.stops(backend.dialect, seen.body)) == (9, ["END"])
    assert (seen.body["x_own"], seen.body["y_own"], seen.headers["x-trace"]) == ({"deep": [1]}, 2, "t1")
    assert (seen.body["model"], seen.body["stream"]) == (MODEL, False)


@ALL
async def test_functions_are_offered_as_the_dialect_knows_them(backend: Backend):
    """`functions` stay so where they are known, and become tools elsewhere; the one that was chosen is forced."""
    options = {"functions": [FUNCTION, CLOCK], "function_call": {"name": "clock"}}
    async with FaultServer() as server, backend.client(server) as llm:
        await llm.complete(QUESTION, **options)
    body = server.requests[0].body
    offered = [name for name, _ in heard.offered(backend.dialect, body)]
    match backend.dialect:
        case "ollama":
            assert offered == ["clock"]  # the only way to force it
        case "anthropic":
            assert (offered, body["tool_choice"]["name"]) == (["temperature", "clock"], "clock")
        case _ if backend.name == "openai":
            assert (offered, body["function_call"]) == (["temperature", "clock"], {"name": "clock"})
        case _:
            assert body.keys().isdisjoint({"functions", "function_call"})
            assert (offered, body["tool_choice"]["function"]) == (["temperature", "clock"], {"name": "clock"})


@ALL
async def test_results_of_functions_name_their_call(backend: Backend):
    """Where only tools are known a call of the old kind has an id, and its result carries it."""
    async with FaultServer() as server, backend.client(server) as llm:
        await llm.complete(CONVERSATION)
    if backend.dialect != "openai" or backend.name == "openai":
        return
    *_, asked, result, _ = server.requests[0].body["messages"]
    assert (asked["tool_calls"][0]["id"], result["role"]) == (result["tool_call_id"], "tool")
    assert "function_call" not in asked


@ALL
async def test_embeddings_have_the_dimensions_asked_for(backend: Backend):
    """`dimensions` goes along; Anthropic, which has no embeddings, says so before anything is sent."""
    async with FaultServer() as server, backend.client(server) as llm:
        if backend.dialect == "anthropic":
            with pytest.raises(rl.ModelInvalidRequestError, match="offers no embeddings"):
                await llm.embed(["a"], dimensions=3)
            assert not server.requests
            return
        told = await llm.embed(["a", "b"], dimensions=3)
    assert [len(vector) for vector in told.vectors] == [3, 3]
    assert server.requests[0].body["input"] == ["a", "b"]


PAGE = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
HTML = {"content-type": "text/html"}
SLOW_DOWN = {"retry-after-ms": "20"}
ERRORS: dict[str, tuple[Fault, type[rl.LLMError]]] = {
    "401": (Status("unauthorized"), rl.ModelAuthError),
    "404 model": (Status("unknown_model"), rl.ModelNotFoundError),
    "400 context": (Status("context_length"), rl.ModelContextLengthError),
    "429": (Status("rate_limited", headers=SLOW_DOWN), rl.ModelRateLimitedError),
    "500": (Status("failed"), rl.ModelUnavailableError),
    "503": (Status("overloaded"), rl.ModelOverloadedError),
    "502 page": (Status(502, body=PAGE, headers=HTML), rl.ModelUnavailableError),
    "404 page": (Status(404, body=b"<html>Not Found</html>", headers=HTML), rl.LLMError),
    "200 page": (Garbage(), rl.ModelResponseInvalidError),
}


@ALL
@pytest.mark.parametrize("name", ERRORS)
async def test_a_refusal_is_the_same_error_everywhere(backend: Backend, name: str):
    """Whole or streamed: the same class, the backend's name on it, and the next call is answered."""
    fault, kind = ERRORS[name]
    for stream in (False, True):
        async with (
            FaultServer([fault, Answer()], backend=backend.words) as server,
            backend.client(server, max_retries=0) as llm,
        ):
            with pytest.raises(kind) as caught:
                await (llm.stream(QUESTION).__aenter__() if stream else llm.complete(QUESTION))
            assert (await llm.complete(QUESTION)).text
        error = caught.value
        assert (error.backend, error.attempts, error.partial) == (backend.name, 1, None)
        assert error.retry_after == (0.02 if name == "429" else None)
        assert "<body>" not in str(error)
