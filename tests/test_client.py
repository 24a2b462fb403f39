"""AsyncClient: calls, options, lifecycle."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import math

import aiobreaker
import attrs
import pytest

import resilient_llm as rl
from resilient_llm.testing import FakeClock, ScriptedTransport, run_virtual

SLOW = [1.0, rl.TextDelta("a"), 1.0, rl.TextDelta("b"), 1.0, rl.Finish("stop")]


def client(*scripts, **options) -> rl.AsyncClient:
    return rl.AsyncClient(transport=ScriptedTransport(*scripts), **options)


async def test_complete_gives_the_whole_answer() -> None:
    """A prompt becomes a conversation, options go where they belong, the answer is whole."""
    llm = client("Rhine, Danube, Elbe", model="m")
    done = await llm.complete("Name three rivers.", system="Be terse.", temperature=0.1, deadline=5)
    request = llm.transport.requests[0]
    assert (done.text, done.finish_reason, done.attempts, done.backend) == (
        "Rhine, Danube, Elbe",
        "stop",
        1,
        "scripted",
    )
    assert [message["role"] for message in done.messages] == ["system", "user", "assistant"]
    assert (request.model, request.params, request.stream) == ("m", {"temperature": 0.1}, False)
    await llm.aclose()


async def test_no_model_is_the_backends_choice() -> None:
    """Also for code that passes on a variable which is not set."""
    async with client("Hi", model=None) as llm:
        assert (await llm.complete("Hello")).text == "Hi"
        assert (llm.model, llm.transport.requests[0].model) == ("", "")


async def test_what_was_sent_stays_what_it_was() -> None:
    """A caller's own list goes on after the call; the answer does not appear twice in the conversation for that."""
    async with client("Hi") as llm:
        talk = [{"role": "user", "content": "Hello"}]
        done = await llm.complete(talk)
        talk.append(done.message)
        assert done.messages == talk


async def test_a_response_that_is_dropped_is_not_kept_by_the_client() -> None:
    """It warns, settles, and gives back what it held: its permit here, a connection elsewhere."""
    async with client(SLOW[1:2] + SLOW[3:4] + SLOW[5:], concurrency=1, deadline=5) as llm:
        response = await llm.send(rl.Request(messages=[{"role": "user", "content": "Hello"}], stream=True))
        gc.disable()
        try:
            with pytest.warns(ResourceWarning, match="dropped without being closed"):
                del response  # and nothing else refers to it, not even itself
        finally:
            gc.enable()
        assert llm.transport.open_bodies == 0
        assert (await llm.complete("Hello")).text == "ab"


def test_a_call_that_makes_another_one_is_waited_for() -> None:
    """A stage may ask the same client, as a summary does; closing lets both finish."""

    async def asking(request: rl.Request, call_next: rl.Handler) -> rl.Response:
        if request.params.get("summary") is None:
            await llm.complete("Sum up.", summary=True)
        return await call_next(request)

    async def scenario() -> None:
        calling = asyncio.ensure_future(llm.complete("Hello"))
        await asyncio.sleep(4.0)
        await llm.aclose(grace=5.0)
        assert calling.done()
        assert (await calling).text == "ab"

    llm = rl.AsyncClient(transport=ScriptedTransport(SLOW), middleware=[asking])
    run_virtual(scenario())


async def test_generate_gives_the_text() -> None:
    """With and without a conversation before the prompt."""
    context = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    async with client("one", "two") as llm:
        assert await llm.generate("Hello", max_tokens=5) == "one"
        assert await llm.generate_with_context("Tell me a joke", context, system="Be funny.") == "two"
        assert [m["role"] for m in llm.transport.requests[1].messages] == [
            "system",
            "user",
            "assistant",
            "user",
        ]
    assert len(context) == 2


async def test_stream_gives_events_and_the_same_completion() -> None:
    """A stream is entered, iterated, and completed."""
    async with client("a b c") as llm, llm.stream("Hello") as response:
        events = [event async for event in response]
        assert events == [rl.TextDelta("a "), rl.TextDelta("b "), rl.TextDelta("c"), rl.Finish("stop")]
        done = await response.completion()
    assert (done.text, done.attempts, len(done.trace)) == ("a b c", 1, 1)


async def test_a_stream_that_is_not_entered_sends_nothing() -> None:
    """Making the stream object is free."""
    async with client("a") as llm:
        llm.stream("Hello")
        assert llm.transport.requests == []


async def test_the_standard_stack_retries() -> None:
    """Without a stack of one's own, transient failures are retried."""
    async with client(rl.ModelOverloadedError("busy"), "Hello", clock=FakeClock()) as llm:
        done = await llm.complete("Hello", initial_backoff=0.001)
        assert (done.text, done.attempts) == ("Hello", 2)


async def test_bad_input_is_refused_before_anything_is_sent() -> None:
    """Empty messages, no texts and wrong options are named."""
    async with client("a") as llm:
        with pytest.raises(rl.ModelInvalidRequestError, match="messages is empty"):
            await llm.complete([])
        with pytest.raises(rl.ModelInvalidRequestError, match="at least one text"):
            await llm.embed([])
        with pytest.raises(rl.ModelInvalidRequestError, match="max_retries"):
            llm.stream("Hello", max_retries=-1)
        assert llm.transport.requests == []


@pytest.mark.parametrize(
    ("arguments", "options", "problem"),
    [
        ((), {}, "name a backend"),
        (("no-such",), {}, "unknown backend 'no-such'; known are .*llamacpp"),
        (("offline",), {"transport": rl.OfflineTransport()}, "not both"),
        ((), {"transport": rl.OfflineTransport(), "base_url": "http://a"}, "not both"),
        (("offline",), {"middleware": [], "max_retries": 1}, "option of the standard stack"),
        (("offline",), {"retries": 1}, "unknown option 'retries'"),
        (("offline",), {"max_retries": -1}, "max_retries"),
        (
            ("offline",),
            {"retry_budget": 500},
            "retry_budget must be a resilient_llm.RetryBudget or None, not int",
        ),
        (
            ("offline",),
            {"breaker": aiobreaker.CircuitBreaker()},
            "be a resilient_llm.C.* not aiobreaker.circuitb",
        ),
        (("offline",), {"breaker": False}, "breaker must be a .*CircuitBreaker or None, not bool"),
        (("offline",), {"state": "redis://me:secret@box"}, "state must be a .*State or None, not str"),
        (
            ("offline",),
            {"outcomes": {}},
            "outcomes must have a row for each code, and has none for CIRCUIT_OPEN",
        ),
        (("offline",), {"fallback": "ollama"}, "targets are a list of targets or transports, not str"),
        (("offline",), {"fallback": rl.OfflineTransport()}, "a list of .* not OfflineTransport"),
        (("offline",), {"deadline": 0}, r"deadline \(seconds of its stage\) must be above 0, not 0"),
        (("offline",), {"first_token_timeout": "60"}, "first_token_timeout .* must be a number, not '60'"),
        (("offline",), {"idle_timeout": -1}, "idle_timeout .* must be above 0, not -1"),
        (("offline",), {"attempt_timeout": math.inf}, "attempt_timeout .* must be finite"),
        (("openai-compatible",), {}, 'say where it is: .*base_url="http'),
        (("openai",), {}, "OPENAI_API_KEY"),
    ],
)
def test_impossible_clients_are_refused(arguments, options, problem) -> None:
    """The message says what is wrong and what would be accepted."""
    with pytest.raises((TypeError, ValueError, rl.LLMError), match=problem):
        rl.AsyncClient(*arguments, **options)


async def test_no_server_says_where_and_what_to_start() -> None:
    """A refused connection names the address and the command that starts the server."""
    async with rl.AsyncClient("lmstudio", base_url="http://127.0.0.1:9", model="m", max_retries=0) as llm:
        with pytest.raises(rl.ModelUnavailableError) as caught:
            await llm.complete("Hello")
    assert "127.0.0.1:9" in str(caught.value)
    assert "lms server start" in str(caught.value)


def test_a_key_never_shows() -> None:
    """Neither the client nor its transport shows the key."""
    llm = rl.AsyncClient("openai", api_key="sk-very-secret")
    assert "sk-very-secret" not in repr(llm) + repr(llm.transport) + repr(llm.pipeline)


async def test_stages_are_closed_after_the_calls_and_before_the_transport() -> None:
    """A stage that holds something may be used until the last call has ended."""
    log = []

    class Holding:
        async def __call__(self, request, call_next):
            response = await call_next(request)
            response.on_settle(lambda outcome: log.append(str(outcome.kind)))
            return response

        async def aclose(self):
            log.append("stage")

    class Closing(ScriptedTransport):
        async def aclose(self):
            log.append("transport")

    llm = rl.AsyncClient(transport=Closing("a b c"), middleware=[Holding()])
    async with llm.stream("Hello") as response:
        await anext(response)
        await llm.aclose(grace=0)
    assert log == ["abandoned", "stage", "transport"]


async def test_a_closed_client_refuses_calls() -> None:
    """After `aclose()` a call says that the client is closed; closing again is fine."""
    llm = client("a")
    await llm.aclose()
    await llm.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await llm.complete("Hello")


def test_closing_lets_running_calls_finish() -> None:
    """Calls of other tasks get their grace time; new ones are refused meanwhile."""

    async def scenario() -> None:
        llm = client(SLOW, clock=FakeClock())
        call = asyncio.ensure_future(llm.complete("Hello"))
        await asyncio.sleep(0.5)
        closing = asyncio.ensure_future(llm.aclose(grace=10))
        await asyncio.sleep(0.5)
        with pytest.raises(RuntimeError, match="closed"):
            await llm.complete("Hello")
        assert (await call).text == "ab"
        await closing
        assert asyncio.get_running_loop().time() == 3.0

    run_virtual(scenario())


def test_closing_ends_what_outlasts_its_grace() -> None:
    """After the grace time, openings are cancelled and streams closed; readers are told, with what they have."""

    async def scenario() -> None:
        llm = client(SLOW, clock=FakeClock())
        opening = asyncio.ensure_future(llm.complete("Hello"))
        streaming = asyncio.ensure_future(_read(llm))
        await asyncio.sleep(1.5)
        await llm.aclose(grace=0.1)
        results = await asyncio.gather(opening, streaming, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert llm.transport.open_bodies == 0
        with pytest.raises(rl.ModelResponseInvalidError, match="client was closed") as caught:
            raise results[1]
        assert caught.value.partial.text == "a"

    run_virtual(scenario())


async def _read(llm: rl.AsyncClient) -> object:
    async with llm.stream("Hello") as response:
        async for _ in response:
            pass
        return response.outcome


def test_closing_does_not_wait_for_its_own_task() -> None:
    """A stream that the closing task itself left open is closed at once."""

    async def scenario() -> None:
        llm = client(SLOW, clock=FakeClock())
        response = await llm.send(rl.Request(messages=[{"role": "user", "content": "Hello"}], stream=True))
        await llm.aclose(grace=100)
        assert response.outcome.kind is rl.OutcomeKind.ABANDONED
        assert asyncio.get_running_loop().time() == 1.0

    run_virtual(scenario())


async def test_counting_asks_the_backend_first() -> None:
    """A transport that counts is asked; else the local tokenizer counts."""

    class Counting(ScriptedTransport):
        async def count_tokens(self, prompt: object) -> int:
            return 42

    async with rl.AsyncClient(transport=Counting("a")) as llm:
        assert await llm.count_tokens("Hello world") == 42
    async with client("a", model="gpt-4o") as llm:
        assert await llm.count_tokens("Hello world") == 2
        assert await llm.count_tokens([{"role": "user", "content": "Hello world"}]) == 9


async def test_counting_tells_the_backend_model_and_tools_if_they_are_given() -> None:
    """A tokenizer that knows neither is asked as well, as long as nobody names them."""
    asked = []

    class Counting(ScriptedTransport):
        async def count_tokens(self, prompt: object, **told: object) -> int:
            asked.append(told)
            return 1

    tools = [{"type": "function", "function": {"name": "f"}}]
    async with rl.AsyncClient(transport=Counting("a"), model="m") as llm:
        await llm.count_tokens("Hello")
        await llm.count_tokens("Hello", model="other", tools=tools)
    assert asked == [{}, {"model": "other", "tools": tools}]


async def test_local_counts_include_tools_and_name_malformed_messages() -> None:
    """As the request would be counted; what cannot be counted is the caller's mistake, with its place."""
    tools = [{"type": "function", "function": {"name": "f", "description": "Adds."}}]
    messages = [{"role": "user", "content": "Hello world"}]
    async with client("a", model="gpt-4o") as llm:
        assert await llm.count_tokens(messages, tools=tools) == 9 + 12 + 7 + 3
        with pytest.raises(rl.ModelInvalidRequestError, match=r"messages\[1\]"):
            await llm.count_tokens([*messages, {"role": "user", "content": 3}])


async def test_without_a_model_s_name_the_local_count_is_on_the_safe_side() -> None:
    """A local server's model may count digits one by one."""
    async with client("a") as llm:
        assert await llm.count_tokens("1234567890") == 10


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_backend_without_a_tokenizer_is_counted_for(status) -> None:
    """A server that has no such route leaves the counting to the local tokenizer."""

    class Counting(ScriptedTransport):
        async def count_tokens(self, prompt: object) -> int:
            raise rl.BackendFailure(status, {}, "File Not Found")

    async with rl.AsyncClient(transport=Counting("a"), model="gpt-4o") as llm:
        assert await llm.count_tokens("Hello world") == 2


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (rl.BackendFailure(503, {}, '{"error": {"message": "Loading model"}}'), "MODEL_LOADING"),
        (ConnectionResetError("Connection reset by peer"), "MODEL_UNAVAILABLE"),
        (rl.ModelAuthError("no key"), "MODEL_AUTH"),
    ],
)
async def test_a_count_that_fails_is_a_typed_error(failure, code) -> None:
    """Counting raises what every other call raises."""

    class Counting(ScriptedTransport):
        async def count_tokens(self, prompt: object) -> int:
            raise failure

    async with rl.AsyncClient(transport=Counting("a")) as llm:
        with pytest.raises(rl.LLMError) as caught:
            await llm.count_tokens("Hello world")
        assert caught.value.code == code
        assert caught.value is failure or caught.value.__cause__ is failure


async def test_embeddings_and_models_of_the_offline_backend() -> None:
    """One text and many give vectors in order; the list has one model."""
    async with rl.AsyncClient("offline") as llm:
        one, many = await llm.embed("a"), await llm.embed(["a", "b"])
        assert one.vectors[0] == many.vectors[0] != many.vectors[1]
        assert [model.id for model in await llm.models()] == ["offline"]


async def test_context_variables_flow() -> None:
    """Everything runs in the caller's task."""
    seen = contextvars.ContextVar("seen", default=0)

    async def stage(request, call_next):
        seen.set(seen.get() + 1)
        return await call_next(request)

    async with client("a", middleware=[stage]) as llm:
        await llm.complete("Hello")
    assert seen.get() == 1


def test_requests_are_values() -> None:
    """Two equal requests are equal, and none can be changed."""
    assert rl.Request(model="a") == rl.Request(model="a")
    assert rl.Request(model="a").due(1.0) == attrs.evolve(rl.Request(model="a"), deadline=1.0)
    assert rl.Request().observed_by(print) == attrs.evolve(rl.Request(), observers=(print,))


@pytest.mark.parametrize("body", [b'\xef\xbb\xbf{"id": "c"}', b'{"id": "c", "x": "\xff"}'])
def test_the_raw_body_is_read_as_leniently_as_the_answer(body) -> None:
    """A byte order mark or a broken character does not make `raw` fail."""
    assert rl.Completion(body=body).raw["id"] == "c"
    assert rl.Completion().raw is None


async def test_defaults_are_options_of_each_chat_call() -> None:
    """A call's own keyword wins, and None leaves a default out; embeddings are not touched."""
    defaults = {"max_tokens": 1024, "temperature": 0.7, "max_retries": 1, "system": "Be terse."}
    async with client("a", defaults=defaults) as llm:
        await llm.complete("Hello")
        async with llm.stream("Hello", max_tokens=5, temperature=None, system="Be funny."):
            pass
        first, second = llm.transport.requests
    assert (first.params, first.extensions) == ({"max_tokens": 1024, "temperature": 0.7}, {"max_retries": 1})
    assert (second.params, second.extensions) == ({"max_tokens": 5}, {"max_retries": 1})
    assert [request.messages[0]["content"] for request in (first, second)] == ["Be terse.", "Be funny."]


def test_wrong_defaults_are_refused_by_the_constructor() -> None:
    """Not by the first call."""
    with pytest.raises(rl.ModelInvalidRequestError, match="max_retries"):
        client("a", defaults={"max_retries": -1})


async def test_observers_are_told_of_every_call() -> None:
    """The client's observers hear of attempts, waits and pruning; a request's own hear as well."""
    told, own = [], []
    async with client(
        rl.ModelOverloadedError("busy"), "Hello", clock=FakeClock(), observers=[told.append]
    ) as llm:
        await llm.complete("Hello", initial_backoff=0.001)
        assert [type(notice) for notice in told if notice != rl.ContentSeen()] == [
            rl.Attempt,
            rl.Waiting,
            rl.Attempt,
        ]
        request = rl.Request(messages=[{"role": "user", "content": "Hello"}], observers=(own.append,))
        await (await llm.send(request)).completion()
    assert rl.Attempt in {type(notice) for notice in own} & {type(notice) for notice in told[4:]}
