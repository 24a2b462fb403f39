"""Hostile backends over real sockets: every flood meets a bound and a typed error, and memory stays flat.

The client runs in a process of its own, whose peak of resident memory is measured: Python's own allocator is not all
that a flood could fill.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import resilient_llm as rl
from resilient_llm.testing import Answer, FaultServer, Flood, Status, serving
from resilient_llm.transports import AnthropicTransport, OllamaTransport, OpenAICompatibleTransport

MIB = 1 << 20
BOUND = 4 * MIB
FLAT = 16
"""MiB that the peak may grow while a backend offers a gigabyte."""
SOON = 4.5
"""Seconds; the time limits are 5 s."""

PROGRAM = """
import asyncio, json, sys, time
import resilient_llm as rl
from resilient_llm.transports import AnthropicTransport, OllamaTransport, OpenAICompatibleTransport

url, bound, calls = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
kinds = {"openai": OpenAICompatibleTransport, "anthropic": AnthropicTransport, "ollama": OllamaTransport}

def status(field):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(field))

def resident():
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")  # from here on the peak is counted anew
    return status("VmRSS")

async def ask(llm, stream):
    if not stream:
        return await llm.complete("Hello")
    async with llm.stream("Hello") as response:
        return await response.completion()

async def main():
    for dialect, stream in calls:
        options = {} if dialect == "ollama" else {"api_key": "k"}
        transport = kinds[dialect](base_url=url, model="m", max_answer_bytes=bound, **options)
        limits = dict(max_retries=0, first_token_timeout=5, idle_timeout=5, attempt_timeout=5)
        async with rl.AsyncClient(transport=transport, **limits) as llm:
            try:
                await ask(llm, stream)  # what a first call loads is no growth
                before, began = resident(), time.monotonic()
                await ask(llm, stream)
                code = "none"
            except rl.LLMError as error:
                code = error.code
        print(json.dumps([code, status("VmHWM") - before, time.monotonic() - began]), flush=True)

asyncio.run(main())
"""

INVALID, UNAVAILABLE = "MODEL_RESPONSE_INVALID", "MODEL_UNAVAILABLE"
EITHER = f"{INVALID} {UNAVAILABLE}"
HEADS = [
    (Flood("header"), UNAVAILABLE),
    (Flood("headers"), UNAVAILABLE),
    (Flood("informational"), UNAVAILABLE),
]
BODIES = [
    (Flood("line"), INVALID),
    (Flood("line", encoding="gzip"), INVALID),
    (Flood("line", encoding="deflate"), INVALID),
    (Flood("events"), INVALID),
    (Flood("signs"), INVALID),
    (Flood("values"), INVALID),
    (Flood("chunk"), INVALID),
    (Flood("body"), INVALID),
    (Flood("trailers"), EITHER),
]
ERRORS = [
    (Flood("line", status=500), UNAVAILABLE),
    (Flood("line", status=500, encoding="gzip"), UNAVAILABLE),
    (Flood("body", status=500), UNAVAILABLE),
]


DECODED = [(Flood("line"), INVALID), (Flood("events"), INVALID), (Flood("signs"), INVALID)]
"""What is bounded by what differs from one dialect to the next."""
DIALECTS = ("openai", "anthropic", "ollama")
CASES = [
    (dialect, stream, flood, codes)
    for dialect in DIALECTS
    for flood, codes in ((*HEADS, *BODIES, *ERRORS) if dialect == "openai" else DECODED)
    for stream in (False, True)
]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are told by Linux")
def test_no_flood_fills_the_memory():
    """Heads, bodies and errors without an end, whole and streamed, plain and packed: typed, soon, and flat."""
    calls = json.dumps([(dialect, stream) for dialect, stream, _, _ in CASES])
    with serving(*(fault for _, _, flood, _ in CASES for fault in (Answer(), flood))) as server:
        arguments = [sys.executable, "-W", "error", "-c", PROGRAM, server.url, str(BOUND), calls]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert not done.stderr, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(CASES)
    wrong = [
        f"{flood} in {dialect}, stream={stream}: {code}, {growth} KiB more, {seconds:.2f} s"
        for (dialect, stream, flood, codes), (code, growth, seconds) in zip(CASES, results, strict=True)
        if code not in codes or growth / 1024 > FLAT or seconds > SOON
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    "transport", [OpenAICompatibleTransport, AnthropicTransport, OllamaTransport], ids=DIALECTS
)
@pytest.mark.parametrize("status", [302, 307])
async def test_no_redirect_is_followed(transport, stream, status):
    """Neither the key nor the prompt travels to a place that a backend names: the redirect is an error."""
    async with FaultServer() as other:
        there = Status(status, headers={"location": f"{other.url}/v1/chat/completions"})
        async with FaultServer(there) as server:
            options = {"base_url": server.url, "model": "m", "api_key": "sk-1"}
            backend = transport(**options)
            async with rl.AsyncClient(transport=backend, max_retries=0) as llm:
                with pytest.raises(rl.LLMError) as caught:
                    await (llm.stream("Hello").__aenter__() if stream else llm.complete("Hello"))
        assert caught.value.status == status
        assert (len(server.requests), other.connections) == (1, 0)
