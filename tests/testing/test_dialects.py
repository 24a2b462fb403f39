"""The dialects of the fault server, read by the vendors' own clients, which know nothing of it."""

from __future__ import annotations

import json

import aiohttp
import ollama
import openai
import pytest

import resilient_llm as rl
from resilient_llm.models import Usage
from resilient_llm.testing import Call, FaultServer, Reply, Status
from resilient_llm.testing.fault_server.shapes import refuse
from resilient_llm.testing.fault_server.words import REFUSALS, Facts

MESSAGES = [{"role": "user", "content": "Hello"}]
TEXT = "Grüße — here it is."
CALLS = [("weather", {"town": "Tromsø"}), ("time", {})]
REPLY = Reply(TEXT, reasoning="Let me think.", calls=[Call(name, value) for name, value in CALLS])


@pytest.fixture
async def server():
    async with FaultServer(reply=REPLY, window=1000) as server:
        yield server


@pytest.fixture
async def gpt(server):
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(server):
    import anthropic  # noqa: PLC0415 - it takes more than a second

    async with anthropic.AsyncAnthropic(base_url=server.url, api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture
async def llama(server):
    client = ollama.AsyncClient(host=server.url)
    yield client
    await client._client.aclose()


def called(pairs):
    return [(name, json_of(value)) for name, value in pairs]


def json_of(value):
    return json.loads(value or "{}") if isinstance(value, str) else value


@pytest.mark.parametrize("stream", [False, True])
async def test_openai_reads_its_chats(gpt, stream):
    """Text, thoughts, calls, reason and usage are the same, whole and streamed."""
    if stream:
        options = {"include_usage": True}
        async with gpt.chat.completions.stream(
            model="m", messages=MESSAGES, stream_options=options
        ) as events:
            done = await events.get_final_completion()
    else:
        done = await gpt.chat.completions.create(model="m", messages=MESSAGES)
    (choice,) = done.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == TEXT
    assert choice.message.reasoning_content == "Let me think."
    functions = [call.function for call in choice.message.tool_calls]
    assert called((function.name, function.arguments) for function in functions) == CALLS
    assert (done.usage.prompt_tokens, done.usage.completion_tokens_details.reasoning_tokens) == (6, 4)


@pytest.mark.parametrize("stream", [False, True])
async def test_openai_reads_its_responses(gpt, stream):
    """The same reply as a response: items in order, whole and streamed."""
    if stream:
        async with gpt.responses.stream(model="m", input="Hello") as events:
            seen = [event async for event in events]
            done = await events.get_final_response()
        assert "".join(event.delta for event in seen if event.type == "response.output_text.delta") == TEXT
        assert [event.sequence_number for event in seen] == list(range(len(seen)))
    else:
        done = await gpt.responses.create(model="m", input="Hello")
    thought, _, *functions = done.output
    assert (done.status, done.output_text, thought.summary[0].text) == ("completed", TEXT, "Let me think.")
    assert called((function.name, function.arguments) for function in functions) == CALLS
    assert (done.usage.input_tokens, done.usage.output_tokens_details.reasoning_tokens) == (6, 4)
    counted = await gpt.responses.input_tokens.count(model="m", input="Hello")
    assert counted.input_tokens == 6


@pytest.mark.parametrize("stream", [False, True])
async def test_anthropic_reads_its_messages(claude, stream):
    """The same reply as a message: blocks in order, whole and streamed."""
    if stream:
        async with claude.messages.stream(model="m", max_tokens=9, messages=MESSAGES) as events:
            done = await events.get_final_message()
    else:
        done = await claude.messages.create(model="m", max_tokens=9, messages=MESSAGES)
    thought, text, *tools = done.content
    assert (thought.thinking, text.text, done.stop_reason) == ("Let me think.", TEXT, "tool_use")
    assert called((tool.name, tool.input) for tool in tools) == CALLS
    assert done.usage.input_tokens == 6


async def test_anthropic_counts_and_lists(claude, server):
    """A count of tokens, system prompt included, and the models with their windows; neither meets a fault."""
    server.begin(Status(500))
    counted = await claude.messages.count_tokens(model="m", system="Be terse.", messages=MESSAGES)
    assert counted.input_tokens == 6 + 7
    (model,) = [model async for model in claude.models.list()]
    assert (model.id, model.max_input_tokens) == ("fault-model", 1000)
    assert server.requests == []


@pytest.mark.parametrize("stream", [False, True])
async def test_ollama_reads_its_chats(llama, stream):
    """The same reply as a chat: calls come whole, and the reason is `stop` all the same."""
    if stream:
        parts = [part async for part in await llama.chat(model="m", messages=MESSAGES, stream=True)]
        messages = [part.message for part in parts]
        done = parts[-1]
    else:
        done = await llama.chat(model="m", messages=MESSAGES)
        messages = [done.message]
    assert "".join(message.content for message in messages) == TEXT
    assert "".join(message.thinking or "" for message in messages) == "Let me think."
    functions = [call.function for message in messages for call in message.tool_calls or ()]
    assert called((function.name, function.arguments) for function in functions) == CALLS
    assert (done.done, done.done_reason, done.prompt_eval_count) == (True, "stop", 6)


async def test_ollama_streams_unless_it_is_told_not_to(server):
    """Without a word about it, lines come."""
    body = {"model": "m", "messages": MESSAGES}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.url}/api/chat", json=body) as response,
    ):
        assert response.content_type == "application/x-ndjson"
        assert (await response.read()).count(b"\n") > 3


async def test_ollama_reads_completions_and_lists(llama):
    """A completion, the models, those in memory with the window in use, and what is told of one."""
    assert (await llama.generate(model="m", prompt="Hello")).response == TEXT
    (listed,) = (await llama.list()).models
    (running,) = (await llama.ps()).models
    assert (listed.model, running.context_length) == ("fault-model:latest", 1000)
    shown = await llama.show("fault-model")
    assert (shown.modelinfo["llama.context_length"], "tools" in shown.capabilities) == (1000, True)
    with pytest.raises(ollama.ResponseError, match="model 'other' not found"):
        await llama.show("other")


async def test_equal_texts_have_equal_vectors_in_both_dialects(gpt, llama, server):
    """Embeddings as lists, as base64 and from Ollama agree, and may be chosen."""
    lists = await gpt.embeddings.create(model="m", input=["a", "b"], encoding_format="float")
    packed = await gpt.embeddings.create(model="m", input=["a", "b"])
    theirs = await llama.embed(model="m", input=["a", "b"])
    vectors = [item.embedding for item in lists.data]
    assert vectors == [item.embedding for item in packed.data] == [list(v) for v in theirs.embeddings]
    assert vectors[0] != vectors[1]
    assert (lists.usage.prompt_tokens, theirs.prompt_eval_count) == (2, 2)
    short = await gpt.embeddings.create(model="m", input="a", dimensions=3)
    assert len(short.data[0].embedding) == 3
    assert [seen.path for seen in server.requests][2:] == ["/api/embed", "/v1/embeddings"]
    server._reply = Reply(vectors=[[0.5]])
    assert (await gpt.embeddings.create(model="m", input="a")).data[0].embedding == [0.5]


@pytest.mark.parametrize("stream", [False, True])
async def test_functions_of_the_old_kind_are_called(gpt, stream):
    """Whoever offers `functions` gets a `function_call`."""
    asked = {"model": "m", "messages": MESSAGES, "functions": [{"name": "weather", "parameters": {}}]}
    if stream:
        chunks = [chunk async for chunk in await gpt.chat.completions.create(**asked, stream=True)]
        pieces = [piece for chunk in chunks if (piece := chunk.choices[0].delta.function_call)]
        name, arguments = pieces[0].name, "".join(piece.arguments for piece in pieces)
        reason = chunks[-1].choices[0].finish_reason
    else:
        (choice,) = (await gpt.chat.completions.create(**asked)).choices
        name, arguments = choice.message.function_call.name, choice.message.function_call.arguments
        reason = choice.finish_reason
    assert (name, json_of(arguments), reason) == ("weather", {"town": "Tromsø"}, "function_call")


async def test_a_reason_to_stop_and_a_usage_are_told_in_each_dialect(gpt, claude, llama, server):
    """The same reason in four vocabularies, the usage as it was given."""
    server._reply = Reply("cut", finish_reason="length", usage=Usage(7, 5, 12, cached_tokens=3))
    chat = await gpt.chat.completions.create(model="m", messages=MESSAGES)
    response = await gpt.responses.create(model="m", input="Hello")
    message = await claude.messages.create(model="m", max_tokens=9, messages=MESSAGES)
    theirs = await llama.chat(model="m", messages=MESSAGES)
    assert chat.choices[0].finish_reason == "length"
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert (message.stop_reason, theirs.done_reason) == ("max_tokens", "length")
    assert (chat.usage.prompt_tokens, chat.usage.prompt_tokens_details.cached_tokens) == (7, 3)
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (4, 3)
    assert (theirs.prompt_eval_count, theirs.eval_count) == (7, 5)


async def test_refusals_are_the_clients_own_errors(gpt, claude, llama, server):
    """A rate limit and an overload are what each client makes of its vendor's own."""
    import anthropic  # noqa: PLC0415

    server.begin(Status("rate_limited"))
    with pytest.raises(openai.RateLimitError):
        await gpt.chat.completions.create(model="m", messages=MESSAGES)
    with pytest.raises(anthropic.RateLimitError, match="rate_limit_error"):
        await claude.messages.create(model="m", max_tokens=9, messages=MESSAGES)
    server.begin(Status.overloaded())
    with pytest.raises(anthropic.APIStatusError, match="529"):
        await claude.messages.create(model="m", max_tokens=9, messages=MESSAGES)
    with pytest.raises(ollama.ResponseError, match="server busy") as caught:
        await llama.chat(model="m", messages=MESSAGES)
    assert caught.value.status_code == 503


CODES = {
    "rate_limited": "MODEL_RATE_LIMITED",
    "quota_exceeded": "MODEL_QUOTA_EXCEEDED",
    "overloaded": "MODEL_OVERLOADED",
    "failed": "MODEL_UNAVAILABLE",
    "loading": "MODEL_LOADING",
    "context_length": "MODEL_CONTEXT_LENGTH",
    "content_filtered": "MODEL_CONTENT_FILTERED",
    "unknown_model": "MODEL_NOT_FOUND",
    "unauthorized": "MODEL_AUTH",
    "malformed": "MODEL_INVALID_REQUEST",
}


@pytest.mark.parametrize("backend", REFUSALS)
@pytest.mark.parametrize("reason", CODES)
def test_refusals_mean_what_they_say(backend, reason):
    """Whatever the backend and its words, the classifier understands the reason."""
    facts = Facts(model="some-model", tokens=9000, asked=0, window=4096, detail="'stop' must be a list")
    status, body = refuse(backend, reason, facts)
    assert rl.classify(status=status, headers={}, body=body.decode(), backend=backend).code == CODES[reason]


@pytest.mark.parametrize(
    ("backend", "told"),
    [("openai", (900, 1054)), ("llamacpp", (900, 1004)), ("lmstudio", (900, 1004)), ("vllm", (900, 1054))],
)
async def test_the_window_is_told_in_the_backends_words(backend, told):
    """What is too long is refused by each local server in its way, with its numbers."""
    asked = {"messages": [{"role": "user", "content": "x" * 4000}], "max_tokens": 50}
    async with (
        FaultServer(window=900, backend=backend) as server,
        aiohttp.ClientSession() as session,
        session.post(f"{server.base_url}/chat/completions", json=asked) as response,
    ):
        error = rl.classify(status=response.status, headers={}, body=await response.text())
    assert (error.code, error.context_limit, error.context_requested) == ("MODEL_CONTEXT_LENGTH", *told)


async def test_anthropic_tells_input_and_answer_apart(claude):
    """A prompt that is too long, and one that leaves no room for the answer, in Anthropic's two wordings."""
    import anthropic  # noqa: PLC0415

    with pytest.raises(anthropic.BadRequestError, match="prompt is too long: 1004 tokens > 1000 maximum"):
        await claude.messages.create(
            model="m", max_tokens=1, messages=[{"role": "user", "content": "x" * 4000}]
        )
    with pytest.raises(anthropic.BadRequestError, match=r"exceed context limit: 6 \+ 999 > 1000"):
        await claude.messages.create(model="m", max_tokens=999, messages=MESSAGES)


async def test_ollama_cuts_what_is_too_long_without_a_word(llama, server):
    """The prompt that is reported is no longer than the window; told not to, Ollama refuses."""
    long = [{"role": "user", "content": "x" * 8000}]
    assert (await llama.chat(model="m", messages=long)).prompt_eval_count == 1000
    asked = {"model": "m", "messages": long, "truncate": False}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.url}/api/chat", json=asked) as response,
    ):
        assert response.status == 400
        assert "exceeds the context length" in (await response.json())["error"]


@pytest.mark.parametrize(
    ("path", "body", "complaint"),
    [
        ("/v1/messages", {"messages": MESSAGES}, "max_tokens: Field required"),
        (
            "/v1/messages",
            {"max_tokens": 1, "messages": [{"role": "system", "content": "x"}]},
            "roles must be",
        ),
        (
            "/v1/messages",
            {"max_tokens": 1, "messages": [{"role": "assistant", "content": "x"}]},
            "first message",
        ),
        ("/api/chat", {"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "cannot unmarshal array"),
        ("/v1/embeddings", {"input": []}, "malformed"),
        ("/api/show", [], "malformed"),
    ],
)
async def test_what_a_backend_would_not_take_is_refused(server, path, body, complaint):
    """The strictness of each dialect is part of it."""
    headers = {"anthropic-version": "2023-06-01"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{server.url}{path}", json=body) as response,
    ):
        assert response.status == 400
        assert complaint in await response.text()


async def test_anthropics_version_must_be_named(server):
    """A request without the header is refused."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.url}/v1/messages", json={"messages": MESSAGES}) as response,
    ):
        assert (await response.json())["error"]["message"] == "anthropic-version: header is required"


async def test_unknown_paths_are_refused_in_the_dialect(server):
    """Ollama's own paths get Ollama's error, others OpenAI's."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{server.url}/api/nothing") as response:
            assert isinstance((await response.json())["error"], str)
        async with session.get(f"{server.base_url}/nothing") as response:
            assert "Invalid URL" in (await response.json())["error"]["message"]
        async with session.get(f"{server.url}/api/version") as response:
            assert (await response.json())["version"]
