"""What the stages cost: the client's CPU against a bare aiohttp call, as ratios.

A loopback server in a process of its own gives canned answers. Contestants take turns within each round (so that
the machine's drift hits all of them), the CPU time of this process is taken for each, and the medians of the
rounds are compared.

    python benchmarks/overhead.py [--rounds 15] [--calls 200] [--peers] [--wrapped] [--json FILE]

`--wrapped` compares clients of openai that are wrapped with bare ones, async and sync.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib.metadata
import json
import logging
import multiprocessing
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
from results import Table, save

CHUNKS = 500
MESSAGES = [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "Name three rivers."}]
Contestant = Callable[[], Awaitable[None]]


# The server ...


def _chunk(delta: dict, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    body = {
        "id": "chatcmpl-0123456789abcdef",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": "canned-1",
        "service_tier": "default",
        "system_fingerprint": "fp_0123456789",
        "choices": [choice],
        "usage": None,
    }
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


WHOLE = json.dumps(
    {
        "id": "chatcmpl-0123456789abcdef",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "canned-1",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Rhine, Danube, Elbe. " * 20,
                    "refusal": None,
                    "annotations": [],
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 20,
            "completion_tokens": 100,
            "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_0123456789",
    }
).encode()
STREAM = [
    _chunk({"role": "assistant", "content": "", "refusal": None}),
    *(_chunk({"content": f" word{i}"}) for i in range(CHUNKS)),
    _chunk({}, "stop"),
    (
        b'data: {"id":"chatcmpl-0123456789abcdef","object":"chat.completion.chunk","created":1790000000,'
        b'"model":"canned-1","choices":[],'
        b'"usage":{"prompt_tokens":20,"completion_tokens":500,"total_tokens":520}}\n\n'
    ),
    b"data: [DONE]\n\n",
]


class Server(asyncio.Protocol):
    """Just enough HTTP/1.1: the path chooses the answer."""

    connections = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        type(self).connections += 1
        self.transport = transport
        self.buffer = b""
        self.tasks: set[asyncio.Task] = set()
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            length = (
                int(head.split(b"content-length:")[1].split(b"\r\n")[0]) if b"content-length:" in head else 0
            )
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            self.answer(head.split(b" ")[1].decode(), b'"stream":true' in body.replace(b" ", b""))

    def answer(self, path: str, stream: bool) -> None:
        if path == "/connections":
            body = str(type(self).connections).encode()
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        elif not stream:
            self.transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (len(WHOLE), WHOLE)
            )
        else:
            task = asyncio.ensure_future(self.stream(path))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def stream(self, path: str) -> None:
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        framed = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in STREAM]
        if path.startswith("/trickle"):
            for chunk in framed:
                self.transport.write(chunk)
                await asyncio.sleep(0.001)
        else:
            self.transport.write(b"".join(framed))
        if path.startswith("/lagging"):
            await asyncio.sleep(0.15)
        self.transport.write(b"0\r\n\r\n")


def serve(port: multiprocessing.connection.Connection) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())


# The contestants ...


def bare(session: aiohttp.ClientSession, url: str, *, stream: bool) -> Contestant:
    body = {"model": "canned-1", "messages": MESSAGES, "stream": stream}

    async def whole() -> None:
        async with session.post(f"{url}/chat/completions", json=body) as answer:
            done = await answer.json()
        assert done["choices"][0]["message"]["content"]

    async def streamed() -> None:
        words = []
        async with session.post(f"{url}/chat/completions", json=body) as answer:
            async for line in answer.content:
                if line.startswith(b"data: ") and not line.startswith(b"data: [DONE]"):
                    chunk = json.loads(line[6:])
                    if chunk["choices"]:
                        words.append(chunk["choices"][0]["delta"].get("content"))
        assert len(words) == CHUNKS + 2

    return streamed if stream else whole


def ours(client: object, *, stream: bool) -> Contestant:
    import resilient_llm as rl

    async def whole() -> None:
        done = await client.complete(MESSAGES)
        assert done.text

    async def streamed() -> None:
        words = []
        async with client.stream(MESSAGES) as response:
            async for event in response:
                if type(event) is rl.TextDelta:
                    words.append(event.text)
        assert len(words) == CHUNKS

    return streamed if stream else whole


def openai_sdk(client: object, *, stream: bool) -> Contestant:
    async def whole() -> None:
        done = await client.chat.completions.create(model="canned-1", messages=MESSAGES)
        assert done.choices[0].message.content

    async def streamed() -> None:
        words = []
        async with await client.chat.completions.create(
            model="canned-1", messages=MESSAGES, stream=True
        ) as response:
            async for chunk in response:
                if chunk.choices:
                    words.append(chunk.choices[0].delta.content)
        assert len(words) == CHUNKS + 2

    return streamed if stream else whole


def blocking_openai_sdk(client: object, *, stream: bool) -> Contestant:
    """In the loop's thread, which has nothing else to do; the CPU time is that of all threads."""

    async def whole() -> None:
        done = client.chat.completions.create(model="canned-1", messages=MESSAGES)
        assert done.choices[0].message.content

    async def streamed() -> None:
        with client.chat.completions.create(model="canned-1", messages=MESSAGES, stream=True) as response:
            words = [chunk.choices[0].delta.content for chunk in response if chunk.choices]
        assert len(words) == CHUNKS + 2

    return streamed if stream else whole


def litellm_call(url: str, *, stream: bool) -> Contestant:
    import litellm

    options = {"model": "openai/canned-1", "messages": MESSAGES, "api_base": url, "api_key": "none"}

    async def whole() -> None:
        done = await litellm.acompletion(**options)
        assert done.choices[0].message.content

    async def streamed() -> None:
        async for _ in await litellm.acompletion(**options, stream=True):
            pass

    return streamed if stream else whole


def langchain_call(url: str, *, stream: bool) -> Contestant:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="canned-1", base_url=url, api_key="none")

    async def whole() -> None:
        assert (await model.ainvoke(MESSAGES)).content

    async def streamed() -> None:
        async for _ in model.astream(MESSAGES):
            pass

    return streamed if stream else whole


# Measuring ...


async def measure(contestants: dict[str, Contestant], rounds: int, calls: int) -> dict[str, float]:
    """The median over the rounds of each contestant's CPU seconds per call."""
    for contestant in contestants.values():
        for _ in range(3):
            await contestant()
    gc.collect()
    gc.freeze()  # what is loaded is not to be collected again and again, whoever loaded it
    spent: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds):
        order = list(contestants)
        order = order[number % len(order) :] + order[: number % len(order)]
        for name in order:
            gc.collect()
            begun = time.process_time()
            for _ in range(calls):
                await contestants[name]()
            spent[name].append((time.process_time() - begun) / calls)
        show(f"  round {number + 1}/{rounds}")
    return {name: statistics.median(times) for name, times in spent.items()}


def show(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)


async def contest(
    root: str, path: str, *, stream: bool, peers: bool, rounds: int, calls: int
) -> dict[str, float]:
    import resilient_llm as rl

    url = f"{root}{path}"
    async with (
        aiohttp.ClientSession() as session,
        rl.AsyncClient("openai-compatible", base_url=url, model="canned-1") as client,
        rl.AsyncClient(
            transport=rl.OpenAICompatibleTransport(url, model="canned-1"), middleware=[]
        ) as unstaged,
    ):
        contestants = {
            "bare aiohttp": bare(session, url, stream=stream),
            "resilient_llm": ours(client, stream=stream),
            "resilient_llm, no stages": ours(unstaged, stream=stream),
        }
        if peers:
            import openai

            sdk = openai.AsyncOpenAI(base_url=url, api_key="none")
            contestants["openai"] = openai_sdk(sdk, stream=stream)
            contestants["litellm"] = litellm_call(url, stream=stream)
            contestants["langchain-openai"] = langchain_call(url, stream=stream)
        return await measure(contestants, rounds, calls)


async def wrapped_contest(root: str, path: str, *, stream: bool, rounds: int, calls: int) -> dict[str, float]:
    """Clients of openai, bare and wrapped."""
    import openai

    import resilient_llm as rl

    options = {"base_url": f"{root}{path}", "api_key": "none"}
    with openai.OpenAI(**options) as bare_sync, rl.wrap(openai.OpenAI(**options)) as wrapped_sync:
        async with openai.AsyncOpenAI(**options) as bare, rl.wrap(openai.AsyncOpenAI(**options)) as wrapped:
            contestants = {
                "openai, async": openai_sdk(bare, stream=stream),
                "openai, async, wrapped": openai_sdk(wrapped, stream=stream),
                "openai, sync": blocking_openai_sdk(bare_sync, stream=stream),
                "openai, sync, wrapped": blocking_openai_sdk(wrapped_sync, stream=stream),
            }
            return await measure(contestants, rounds, calls)


async def connections_of_lagging_streams(root: str, streams: int) -> int:
    """How many connections sequential streams use whose terminator lags behind the end marker by 150 ms."""
    import resilient_llm as rl

    async with aiohttp.ClientSession() as session:

        async def count() -> int:
            async with session.get(f"{root}/connections") as answer:
                return int(await answer.text())

        before = await count()
        async with rl.AsyncClient(
            "openai-compatible", base_url=f"{root}/lagging/v1", model="canned-1"
        ) as client:
            for _ in range(streams):
                await ours(client, stream=True)()
        return await count() - before


def import_times(module: str, runs: int = 9) -> float:
    """The median seconds that a fresh interpreter takes to import a module, less those of an empty program."""

    def seconds(program: str) -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        return time.perf_counter() - begun

    seconds(f"import {module}")
    pairs = [(seconds(f"import {module}"), seconds("pass")) for _ in range(runs)]
    return statistics.median(full - empty for full, empty in pairs)


WRAPPED_BOUNDS = {
    ("whole", "async"): 0.9,
    ("whole", "sync"): 1.6,
    ("burst", "async"): 1.05,
    ("burst", "sync"): 2.0,
}


def wrapped_tables(results: dict[str, dict[str, float]]) -> list[Table]:
    """The same for the page."""
    rows = []
    for (name, kind), bound in WRAPPED_BOUNDS.items():
        if name in results:
            base, seconds = results[name][f"openai, {kind}"], results[name][f"openai, {kind}, wrapped"]
            told = f"{'kept' if seconds / base <= bound else 'MISSED'}: {bound}"
            rows.append(
                [f"{name}, {kind}", f"{seconds * 1e6:.0f} us", f"{seconds / base:.2f}", told],
            )
    note = "Clients of openai that are wrapped, against bare ones: a whole answer, and a stream that comes at once."
    return [
        Table(title="Wrapped clients: CPU", head=["case", "a call", "x bare", "bound"], rows=rows, note=note)
    ]


def report_wrapped(results: dict[str, dict[str, float]]) -> bool:
    """Print the table of wrapped clients; True if all bounds are kept."""
    kept = True
    for (name, kind), bound in WRAPPED_BOUNDS.items():
        if name in results:
            times = results[name]
            base, seconds = times[f"openai, {kind}"], times[f"openai, {kind}, wrapped"]
            kept &= seconds / base <= bound
            print(
                f"\n{name}, {kind} (client CPU per call)"
                f"\n  bare {base * 1e6:9.0f} us, wrapped {seconds * 1e6:9.0f} us  {seconds / base:6.2f} x"
                f"\n  bound {bound} x: {'kept' if seconds / base <= bound else 'MISSED'}"
            )
    return kept


BOUNDS = {"whole": 1.3, "burst": 0.6, "trickle": 1.2, "import": 1.35, "connections": 1}


def report(results: dict[str, dict[str, float]], extra: dict[str, float]) -> bool:
    """Print the table; True if all bounds are kept."""
    kept = True
    for name, times in results.items():
        base = times["bare aiohttp"]
        print(f"\n{name} (client CPU per call)")
        for contestant, seconds in times.items():
            print(f"  {contestant:28} {seconds * 1e6:9.0f} us  {seconds / base:6.2f} x")
        ratio = times["resilient_llm"] / base
        verdict = "kept" if ratio <= BOUNDS[name] else "MISSED"
        kept &= ratio <= BOUNDS[name]
        print(f"  bound {BOUNDS[name]} x: {verdict}")
    for name, value in extra.items():
        verdict = "kept" if value <= BOUNDS[name] else "MISSED"
        kept &= value <= BOUNDS[name]
        print(f"\n{name}: {value:.2f} (bound {BOUNDS[name]}: {verdict})")
    return kept


def tables(results: dict[str, dict[str, float]], extra: dict[str, float]) -> list[Table]:
    """The same for the page."""

    def told(name: str, value: float) -> str:
        return f"{'kept' if value <= BOUNDS[name] else 'MISSED'}: {BOUNDS[name]}"

    rows = [
        [
            f"{name}: {contestant}",
            f"{seconds * 1e6:.0f} us",
            f"{seconds / times['bare aiohttp']:.2f}",
            told(name, seconds / times["bare aiohttp"]) if contestant == "resilient_llm" else "",
        ]
        for name, times in results.items()
        for contestant, seconds in times.items()
    ]
    rows += [[name, "", f"{value:.2f}", told(name, value)] for name, value in extra.items()]
    note = (
        f"A whole answer; a stream of {CHUNKS} pieces at once (burst) and one by one (trickle); the time to import, "
        "against aiohttp's; the connections that twenty streams take."
    )
    return [Table(title="Client CPU", head=["case", "a call", "x bare", "bound"], rows=rows, note=note)]


def versions() -> str:
    names = ("resilient-llm", "aiohttp", "msgspec", "openai", "litellm", "langchain-openai")
    found = []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"Python {platform.python_version()}, {', '.join(found)}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=200, help="whole calls per round; streams take a tenth")
    parser.add_argument(
        "--peers", action="store_true", help="measure openai, litellm and langchain-openai, too"
    )
    parser.add_argument("--wrapped", action="store_true", help="measure wrapped clients of openai instead")
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    parser.add_argument("--only", choices=("whole", "burst", "trickle", "import", "connections"))
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    print(versions())
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(there,), daemon=True)
    server.start()
    try:
        root = f"http://127.0.0.1:{here.recv()}"
        results, extra = run(root, options)
    finally:
        server.terminate()
        server.join()
    show("")
    kept = report_wrapped(results) if options.wrapped else report(results, extra)
    bounds = {" ".join(case): bound for case, bound in WRAPPED_BOUNDS.items()} if options.wrapped else BOUNDS
    save(
        "bench_wrapped" if options.wrapped else "bench_overhead",
        told=dict(part.rsplit(" ", 1) for part in versions().split(", ")),
        tables=wrapped_tables(results) if options.wrapped else tables(results, extra),
        data={"cpu_seconds": results, "extra": extra, "bounds": bounds},
        options=vars(options),
    )
    if options.json:
        options.json.write_text(
            json.dumps({"versions": versions(), "cpu_seconds": results, **extra}, indent=2)
        )
    return 0 if kept else 1


def run(root: str, options: argparse.Namespace) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    results: dict[str, dict[str, float]] = {}
    extra: dict[str, float] = {}
    plans = {
        "whole": ("/v1", False, options.calls),
        "burst": ("/v1", True, max(1, options.calls // 10)),
        "trickle": ("/trickle/v1", True, max(1, options.calls // 100)),
    }
    for name, (path, stream, calls) in plans.items():
        if options.wrapped:
            if name != "trickle" and options.only in {None, name}:
                rounds = max(3, options.rounds // 2)
                plan = wrapped_contest(root, path, stream=stream, rounds=rounds, calls=calls)
                results[name] = asyncio.run(plan)
            continue
        if options.only in {None, name}:
            rounds = options.rounds if name != "trickle" else max(3, options.rounds // 3)
            plan = contest(root, path, stream=stream, peers=options.peers, rounds=rounds, calls=calls)
            results[name] = asyncio.run(plan)
    if options.wrapped:
        return results, extra
    if options.only in {None, "import"}:
        extra["import"] = import_times("resilient_llm.client") / import_times("aiohttp")
    if options.only in {None, "connections"}:
        extra["connections"] = asyncio.run(connections_of_lagging_streams(root, 20))
    return results, extra


if __name__ == "__main__":
    raise SystemExit(main())
