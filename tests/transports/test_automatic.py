"""`auto`: finding and choosing local servers."""

from __future__ import annotations

import asyncio

import attrs
import pytest
from transports.answers import MESSAGES, answer, delta, stop

import resilient_llm as rl
from resilient_llm.models import Request
from resilient_llm.presets import create_transport
from resilient_llm.testing import serving
from resilient_llm.transports import (
    AutomaticTransport,
    LlamaCppTransport,
    OpenAICompatibleTransport,
    discovery,
)
from resilient_llm.transports.choice import Choice
from resilient_llm.transports.discovery import PLACES, Place, Server

NOWHERE = Place("lmstudio", "http://127.0.0.1:9/v1")


def routes(table, server=""):
    """A server that answers some paths, a list of paths one after the other, and knows no others."""

    async def script(request, wire):
        value = table.get(request.target, (404, {"detail": "Not Found"}))
        status, value = value if isinstance(value, tuple) else (200, value)
        await wire.answer(value, status=status, headers=server and f"Server: {server}\r\n")

    return script


def lmstudio(*models, **more):
    entries = [
        {
            "type": "embedding" if "embed" in name else "llm",
            "key": name,
            "loaded_instances": [{"config": {"context_length": window}}] if window else [],
        }
        for name, window in models
    ]
    return routes({"/api/v1/models": {"models": entries}, "/v1/chat/completions": answer("LM"), **more})


def ollama(*models):
    table = {
        "/api/tags": {"models": [{"name": name} for name, _ in models]},
        "/api/ps": {
            "models": [{"name": name, "context_length": window} for name, window in models if window]
        },
        "/api/chat": {"message": {"content": "OL"}, "done": True},
        "/api/embed": {"embeddings": [[1.0]]},
        "/v1/models": {"data": [{"id": name, "owned_by": "library"} for name, _ in models]},
    }
    return routes(table)


def llamacpp(window=4096):
    table = {
        "/props": {"default_generation_settings": {"n_ctx": window}},
        "/v1/models": {"data": [{"id": "x.gguf", "owned_by": "llamacpp"}]},
        "/v1/chat/completions": answer("LC"),
        "/tokenize": {"tokens": [1, 2, 3]},
    }
    return routes(table, "llama.cpp")


def listing(owner, **more):
    return routes(
        {
            "/v1/models": {"data": [{"id": "m", "owned_by": owner}]},
            "/v1/chat/completions": answer("PL"),
            **more,
        }
    )


WEB = routes({"/": b"<html>hello</html>", "/v1/models": b"<html>app</html>"})
EMPTY = routes({"/v1/models": {"data": []}, "/props": {}, "/api/tags": []})


@pytest.fixture
async def client(monkeypatch):
    """A client of places that a busy machine has time to look at; closed when the test ends."""
    monkeypatch.setattr(discovery, "LOOKING_SECONDS", 10)
    clients = []

    def make(*places, **options):
        connection = {
            name: options.pop(name) for name in ("api_key", "auto_select", "model") if name in options
        }
        transport = AutomaticTransport(places=places, **connection)
        clients.append(rl.AsyncClient(transport=transport, **options))
        return clients[-1]

    yield make
    for each in clients:
        await each.aclose()


# Who is there ...


@pytest.mark.parametrize(
    ("kind", "script", "backend", "model"),
    [
        ("lmstudio", lmstudio(("a", 4096)), "lmstudio", "a"),
        ("ollama", ollama(("a:1b", 4096)), "ollama", "a:1b"),
        ("llamacpp", llamacpp(), "llamacpp", "x.gguf"),
        ("openai-compatible", listing("vllm"), "openai-compatible", "m"),
        ("openai-compatible", listing("me"), "openai-compatible", "m"),
        ("llamacpp", listing("acme"), "openai-compatible", "m"),
        ("openai-compatible", llamacpp(), "llamacpp", "x.gguf"),
        ("lmstudio", llamacpp(), "llamacpp", "x.gguf"),
        ("lmstudio", listing("vllm"), "openai-compatible", "m"),
        ("lmstudio", listing("organization_owner"), "lmstudio", "m"),
        ("lmstudio", listing(""), "lmstudio", "m"),
        ("llamacpp", ollama(("a:1b", 4096)), "ollama", "a:1b"),
        ("openai-compatible", listing("library"), "openai-compatible", "m"),
        ("llamacpp", listing("llamafile", **{"/props": (404, {})}), "openai-compatible", "m"),
    ],
)
async def test_a_server_is_told_by_its_answer(serve, client, kind, script, backend, model):
    """Whatever its port is; and what was chosen stands on the answer."""
    server = await serve(script)
    done = await client(Place(kind, server.url)).complete("Hello")
    assert done.backend == backend
    asked = [request.json["model"] for request in server.requests if request.method == "POST"]
    assert asked == [model]


async def test_a_llamafile_of_the_newer_kind(serve, client):
    """It has no properties, but carries its name in a header."""
    table = {"/v1/models": {"data": [{"id": "m", "owned_by": "llamafile"}]}, "/v1/chat/completions": answer()}
    server = await serve(routes(table, "llamafile/0.9.3"))
    for kind, backend in (("llamacpp", "llamacpp"), ("openai-compatible", "llamafile")):
        assert (await client(Place(kind, server.url)).complete("Hello")).backend == backend


@pytest.mark.parametrize("kind", ["lmstudio", "ollama", "llamacpp", "openai-compatible"])
@pytest.mark.parametrize("script", [WEB, EMPTY, routes({})], ids=["web", "empty", "404"])
async def test_a_foreign_server_is_left_alone(serve, client, kind, script):
    """A listener that does not answer like a model server is not taken for one, and the error says so."""
    server = await serve(script)
    with pytest.raises(rl.ModelUnavailableError, match="what answers is no model server") as caught:
        await client(Place(kind, server.url)).complete("Hello")
    assert server.url in str(caught.value)
    assert not [request for request in server.requests if request.method != "GET"]
    assert len(server.requests) <= 3


async def test_a_silent_listener_is_given_up(serve, client, monkeypatch):
    """Looking is bounded, and who answered meanwhile is used."""
    monkeypatch.setattr(discovery, "LOOKING_SECONDS", 0.3)

    async def never(_request, wire):
        await wire.gone()

    silent, other = await serve(never), await serve(llamacpp())
    llm = client(Place("lmstudio", silent.url), Place("llamacpp", other.url))
    assert (await llm.complete("Hello")).backend == "llamacpp"
    await silent.all_closed()
    with pytest.raises(rl.ModelUnavailableError, match=r"no answer within 0\.3 s"):
        await client(Place("lmstudio", silent.url)).complete("Hello")


async def test_who_asks_for_a_key_is_named(serve, client):
    """The error tells what is missing; with the key the server is found."""
    with_key = lmstudio(("a", 4096))

    async def script(request, wire):
        if request.headers.get("authorization") == "Bearer k":
            await with_key(request, wire)
        else:
            await wire.answer({"error": {"message": "Invalid token"}}, status=401)

    server = await serve(script)
    with pytest.raises(rl.ModelUnavailableError, match="it asks for a key, HTTP 401"):
        await client(Place("lmstudio", server.url)).complete("Hello")
    assert (await client(Place("lmstudio", server.url), api_key="k").complete("Hello")).backend == "lmstudio"


async def test_a_loading_server_is_found(serve, client):
    """llama.cpp refuses everything while it loads; it is there all the same, and says what it waits for."""
    loading = (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}})
    server = await serve(routes(dict.fromkeys(("/props", "/v1/models", "/v1/chat/completions"), loading)))
    transport = client(Place("llamacpp", server.url)).transport
    with pytest.raises(rl.ModelLoadingError) as caught:
        await transport(Request(messages=MESSAGES))
    assert caught.value.backend == "llamacpp"
    server.script = llamacpp()
    await transport(Request(messages=MESSAGES))
    assert server.requests[-1].json["model"] == "x.gguf"


# The choice ...


@pytest.mark.parametrize(
    ("scripts", "backend", "model"),
    [
        ([lmstudio(("a", 4096)), ollama(("b:1b", 4096))], "lmstudio", "a"),
        ([lmstudio(("a", 0)), ollama(("b:1b", 4096))], "ollama", "b:1b"),
        ([lmstudio(("a", 0)), ollama(("b:1b", 0))], "lmstudio", "a"),
        ([lmstudio(("embed", 4096)), ollama(("b:1b", 0))], "ollama", "b:1b"),
        ([lmstudio(("a", 64), ("c", 4096)), ollama(("b:1b", 4096))], "lmstudio", "c"),
        ([lmstudio(("a", 64)), ollama(("b:1b", 4096))], "ollama", "b:1b"),
        ([lmstudio(("a", 64), ("c", 128)), ollama(("b:1b", 0))], "lmstudio", "c"),
        ([lmstudio(), ollama(("b:1b", 0))], "ollama", "b:1b"),
    ],
    ids=[
        "in order",
        "a loaded model",
        "none loaded",
        "a chat model",
        "a window that holds the prompt",
        "a server whose window does",
        "the largest window",
        "a server that has models",
    ],
)
async def test_what_is_preferred(serve, client, scripts, backend, model):
    """Ready for this prompt, then ready for a shorter one, then to be loaded; of equals the first."""
    servers = [await serve(script) for script in scripts]
    llm = client(Place("lmstudio", servers[0].url), Place("ollama", servers[1].url), token_budget=None)
    done = await llm.complete("word " * 200)
    assert done.backend == backend
    asked = [
        request.json["model"] for server in servers for request in server.requests if request.method == "POST"
    ]
    assert asked == [model]


async def test_the_answers_tokens_count(serve, client):
    """A window must hold what is asked for, too."""
    server = await serve(lmstudio(("a", 1000), ("b", 8000)))
    await client(Place("lmstudio", server.url)).complete("Hello", max_tokens=2000)
    assert server.requests[-1].json["model"] == "b"


async def test_a_message_that_cannot_be_measured_is_the_servers_to_judge(serve, client):
    """A choice is made all the same."""
    server = await serve(lmstudio(("a", 1000)))
    transport = client(Place("lmstudio", server.url)).transport
    await transport(Request(messages=[{"role": "user", "content": 5}]))
    assert server.requests[-1].json["model"] == "a"


async def test_a_named_model_is_looked_for(serve, client):
    """The server that has it answers, by its short name too; where nobody has it, the first says so."""
    servers = [await serve(lmstudio(("a", 4096))), await serve(ollama(("b:latest", 0)))]
    places = [Place("lmstudio", servers[0].url), Place("ollama", servers[1].url)]
    llm = client(*places)
    answered = [(await llm.complete("Hello", model=model)).backend for model in ("b", "a", "b:latest", "x")]
    assert answered == ["ollama", "lmstudio", "ollama", "lmstudio"]
    assert (await client(*places, model="b").complete("Hello")).backend == "ollama"


async def test_chats_and_embeddings_have_a_choice_each(serve, client):
    """One server may have no model for the other's purpose; they are looked for together."""
    servers = [await serve(lmstudio(("a", 4096))), await serve(ollama(("nomic-embed:v1", 2048)))]
    llm = client(Place("lmstudio", servers[0].url), Place("ollama", servers[1].url))
    assert (await llm.embed("x")).vectors == [[1.0]]
    for _ in range(2):
        assert (await llm.complete("Hello")).backend == "lmstudio"
    listed = [request.target for server in servers for request in server.requests if request.method == "GET"]
    assert listed == ["/api/v1/models", "/api/tags", "/api/ps"]
    assert [model.id for model in await llm.models()] == ["a"]


async def test_choosing_a_model_can_be_switched_off(serve, client):
    """The server is chosen all the same."""
    server = await serve(llamacpp())
    await client(Place("llamacpp", server.url), auto_select=False).complete("Hello")
    assert "model" not in server.requests[-1].json


async def test_the_chosen_servers_tokenizer_and_window(serve, client):
    """They are the client's, once there is a choice; who has no tokenizer leaves counting to us."""
    server, other = await serve(llamacpp(512)), await serve(ollama(("a:1b", 4096)))
    llm = client(Place("llamacpp", server.url))
    assert llm.transport.context_window("") is None
    assert await llm.count_tokens("Hello") == 3
    assert llm.transport.context_window("") == llm.transport.context_window("x.gguf") == 512
    assert await client(Place("ollama", other.url)).count_tokens("Hello") == 1


# Together ...


async def test_the_window_of_a_named_model_is_its_servers(serve, client):
    """Whoever names it: the client or the request; nobody is asked for it."""
    servers = [await serve(lmstudio(("a", 4096))), await serve(ollama(("b:1b", 2048)))]
    places = [Place("lmstudio", servers[0].url), Place("ollama", servers[1].url)]
    llm = client(*places, model="b:1b")
    assert llm.transport.context_window("b:1b") is None
    await llm.complete("Hello")
    assert [llm.transport.context_window(model) for model in ("", "b:1b", "a", "x")] == [
        2048,
        2048,
        4096,
        None,
    ]


async def test_callers_at_the_same_time_look_together(serve, client):
    """Ten first calls ask each address once; the one that is cancelled leaves the others alone."""
    arrived, go = asyncio.Event(), asyncio.Event()
    answers = lmstudio(("a", 4096))

    async def script(request, wire):
        if request.method == "GET":
            arrived.set()
            await go.wait()
        await answers(request, wire)

    server = await serve(script)
    llm = client(Place("lmstudio", server.url))
    tasks = [asyncio.create_task(llm.complete("Hello")) for _ in range(10)]
    await arrived.wait()
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    go.set()
    assert {done.backend for done in await asyncio.gather(*tasks[1:])} == {"lmstudio"}
    assert [request.method for request in server.requests].count("GET") == 1


async def test_nothing_goes_on_when_nobody_waits(serve, client):
    """Cancelling the only caller ends the search and its connections."""
    arrived = asyncio.Event()

    async def script(_request, wire):
        arrived.set()
        await wire.gone()

    server = await serve(script)
    task = asyncio.create_task(client(Place("lmstudio", server.url)).complete("Hello"))
    await arrived.wait()
    task.cancel()
    await asyncio.wait([task])
    await server.all_closed()
    assert asyncio.all_tasks() <= {asyncio.current_task(), *server._tasks}


async def test_everyone_gets_an_error_of_their_own(client):
    """Errors carry the trace of their own call."""
    llm = client(NOWHERE)
    errors = await asyncio.gather(*(llm.complete("Hello") for _ in range(3)), return_exceptions=True)
    assert len({id(error) for error in errors}) == 3
    assert {error.attempts for error in errors} == {1}


# Failures ...


async def test_without_a_server_the_error_says_what_to_start(client):
    """At once, with the addresses and commands, and without a retry."""
    places = [NOWHERE, Place("ollama", "127.0.0.1:10"), Place("llamacpp", "http://127.0.0.1:11")]
    llm = client(*places, Place("openai-compatible", "http://127.0.0.1:12/v1"))
    with pytest.raises(rl.ModelUnavailableError) as caught:
        await llm.complete("Hello")
    error = caught.value
    assert (error.attempts, error.retryable, error.backend_fault, error.backend) == (1, False, False, "auto")
    for part in (
        "tried LM Studio at http://127.0.0.1:9/v1, Ollama at http://127.0.0.1:10, llama.cpp at http://127.0.0.1:11/v1",
        ", OpenAI-compatible at http://127.0.0.1:12/v1; ",
        "start one (lms server start; ollama serve; llama-server -m model.gguf), or name another backend",
        "llm_provider",
    ):
        assert part in str(error)


async def test_a_server_that_went_away_is_looked_for_again(serve, client):
    """The next attempt finds whatever is up by then; errors carry the chosen server's name."""
    first, second = await serve(lmstudio(("a", 4096))), await serve(llamacpp())
    llm = client(Place("lmstudio", first.url), Place("llamacpp", second.url))
    assert (await llm.complete("Hello")).backend == "lmstudio"
    await first.stop()
    done = await llm.complete("Hello", initial_backoff=0.001)
    assert (done.backend, done.attempts, done.trace[0].error.backend) == ("llamacpp", 2, "lmstudio")
    second.script = routes({"/v1/chat/completions": (401, {"error": "no"})})
    with pytest.raises(rl.ModelAuthError) as caught:
        await llm.complete("Hello")
    assert caught.value.backend == "llamacpp"
    await second.stop()
    with pytest.raises(rl.ModelUnavailableError) as gone:
        await llm.complete("Hello", max_retries=1, initial_backoff=0.001)
    assert (gone.value.backend, gone.value.retryable) == ("auto", True)


async def test_a_model_that_was_unloaded_is_chosen_anew(serve, client):
    """The call fails with the server's word; the next one looks again."""
    server = await serve(lmstudio(("a", 4096)))
    llm = client(Place("lmstudio", server.url))
    await llm.complete("Hello")
    server.script = lmstudio(
        ("b", 4096), **{"/v1/chat/completions": (404, {"error": {"code": "model_not_found", "message": "x"}})}
    )
    with pytest.raises(rl.ModelNotFoundError):
        await llm.complete("Hello")
    server.script = lmstudio(("b", 4096))
    await llm.complete("Hello")
    assert server.requests[-1].json["model"] == "b"


async def test_an_answer_that_is_none_is_the_chosen_servers(serve, client):
    """Whoever finds out: the error names the server."""
    server = await serve(lmstudio(("a", 4096), **{"/v1/chat/completions": b"<html>"}))
    with pytest.raises(rl.ModelResponseInvalidError) as caught:
        await client(Place("lmstudio", server.url), max_retries=0).complete("Hello")
    assert caught.value.backend == "lmstudio"


async def test_an_old_failure_does_not_end_a_new_choice(serve, client):
    """Two calls fail on a server that went away; the one that is told later leaves the other's choice alone."""
    server = await serve(lmstudio(("a", 4096)))
    transport = client(Place("lmstudio", server.url)).transport
    request = Request(messages=MESSAGES, model="a")
    old = (await transport(request)).target
    for _ in range(2):
        transport._forget(old)
        await transport(request)
    assert [request.method for request in server.requests].count("GET") == 2


async def test_a_stream_that_breaks_is_the_chosen_servers(serve, client):
    """Also after its first content."""

    async def script(request, wire):
        if request.method == "GET":
            await lmstudio(("a", 4096))(request, wire)
        else:
            await wire.stream(delta("a"), done=False)
            wire.reset()

    server = await serve(script)
    async with client(Place("lmstudio", server.url)).stream("Hello") as response:
        with pytest.raises(rl.LLMError) as caught:
            await response.completion()
    assert (caught.value.backend, caught.value.partial.text) == ("lmstudio", "a")


async def test_an_answer_is_continued_only_where_it_was_begun(serve):
    """Another server, or another model, begins anew, and says so."""

    async def script(request, wire):
        if request.target == "/apply-template":
            await wire.answer({"prompt": "The Rhi"})
        elif request.method == "GET":
            await llamacpp()(request, wire)
        else:
            await wire.stream(delta("ne"), stop())
            await wire.send(b"0\r\n\r\n")

    server = await serve(script)
    transport = AutomaticTransport(places=[Place("llamacpp", server.url)])
    request = Request(messages=MESSAGES, stream=True)
    first = await transport(request)
    await first.completion()
    elsewhere = Choice(Server(LlamaCppTransport("http://127.0.0.1:9"), []), "x.gguf")
    another = Choice(first.target.server, "y.gguf")
    targets = [
        (first.target, True, 2),
        (elsewhere, False, 1),
        (another, False, 1),
        (object(), False, 1),
        (None, False, 1),
    ]
    for target, resumes, sent in targets:
        transport._forget(first.target)  # found anew, it is the same
        extensions = {"resume_from": "The Rhi", "target": target}
        response = await transport(attrs.evolve(request, extensions=extensions))
        await response.completion()
        assert response.info.resumes is resumes
        assert len(server.requests[-1].json["messages"]) == sent
    await transport.aclose()


# Names ...


def test_the_usual_places():
    """LM Studio, Ollama, llama.cpp, and what listens where vLLM does."""
    assert [place.kind for place in PLACES] == [
        "lmstudio",
        "ollama",
        "llamacpp",
        "llamacpp",
        "openai-compatible",
    ]


async def test_addresses_from_the_environment_are_asked(serve, monkeypatch):
    """`LMSTUDIO_URL` and `OLLAMA_HOST` name the places of their servers."""
    servers = [await serve(lmstudio(("a", 0))), await serve(ollama(("b:1b", 4096)))]
    monkeypatch.setenv("LMSTUDIO_URL", servers[0].url)
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{servers[1].port}")
    monkeypatch.setattr(discovery, "PLACES", PLACES[:2])
    transport = AutomaticTransport(places=PLACES[:2])
    async with rl.AsyncClient(transport=transport) as llm:
        assert (await llm.complete("Hello")).backend == "ollama"
    assert servers[0].requests


def test_auto_is_a_backend():
    """By its name; with an address it is whatever OpenAI-compatible server is there."""
    assert isinstance(rl.AsyncClient("auto").transport, AutomaticTransport)
    assert isinstance(create_transport("auto", base_url="http://box:1"), OpenAICompatibleTransport)


async def test_it_shows_what_was_chosen(serve, client):
    """In its repr; never the key."""
    server = await serve(llamacpp())
    llm = client(Place("llamacpp", server.url), api_key="secret")
    assert repr(llm.transport) == "<AutomaticTransport not looked yet>"
    await llm.complete("Hello")
    assert repr(llm.transport) == f"<AutomaticTransport <LlamaCppTransport llamacpp at {server.url}/v1>>"


def test_the_choice_outlives_its_event_loop():
    """Connections are made anew for a second `asyncio.run`; nothing is looked for again, and no loop is missed."""

    async def ask(transport):
        response = await transport(Request(messages=MESSAGES))
        await transport.aclose()
        return response.info.backend

    with serving() as server:
        transport = AutomaticTransport(places=[Place("ollama", server.url)])
        assert [asyncio.run(ask(transport)) for _ in range(2)] == ["ollama", "ollama"]
        assert len(server.requests) == 2
