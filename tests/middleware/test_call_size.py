"""How many tokens a call will take: counted, or roughly by characters; never an error."""

from __future__ import annotations

import threading

import pytest

from resilient_llm.middleware import call_size
from resilient_llm.middleware.call_size import CallSizes, answer_limit
from resilient_llm.models import Request
from resilient_llm.tokens import ChatCounter

HELLO = ({"role": "user", "content": "Hello, how are you today?"},)
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


async def test_a_prompt_is_counted_as_the_model_does() -> None:
    """With its tools, which are sent with it."""
    sizes, counter = CallSizes(), ChatCounter("gpt-4o")
    request = Request(messages=HELLO, model="gpt-4o")
    assert await sizes.counted(request) == counter.conversation(HELLO)
    with_tools = Request(messages=HELLO, model="gpt-4o", params={"tools": TOOLS})
    assert await sizes.counted(with_tools) == counter.conversation(HELLO, tools=TOOLS)


async def test_all_that_costs_tokens_is_counted() -> None:
    """A system prompt beside the messages, as wrapped clients of Anthropic's send it, is often the longest part."""
    besides = {
        "system": "Be terse. " * 500,
        "output_config": {"format": {"type": "json_schema", "schema": {}}},
    }
    request = Request(messages=HELLO, model="claude-sonnet-4-5", params=besides)
    counter = ChatCounter("claude-sonnet-4-5")
    expected = counter.conversation(HELLO) + counter.definitions(**besides)
    assert await CallSizes().counted(request) == expected > 1_000
    assert CallSizes().roughly(request) > 1_000


async def test_what_takes_long_is_counted_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other calls have time limits that go on."""
    seen: list[bool] = []
    counted = call_size._count

    def count(counter, request):
        seen.append(threading.current_thread() is threading.main_thread())
        return counted(counter, request)

    monkeypatch.setattr(call_size, "_count", count)
    monkeypatch.setattr(call_size, "LARGE", 100)
    sizes = CallSizes()
    ChatCounter("gpt-4o").load()
    await sizes.counted(Request(messages=HELLO, model="gpt-4o"))
    await sizes.counted(Request(messages=({"role": "user", "content": "Hello" * 100},), model="gpt-4o"))
    assert seen == [True, False]


@pytest.mark.parametrize("given", ["x" * 400, ["x" * 200, "x" * 200], [1, 2, 3], None])
async def test_what_is_to_be_embedded(given) -> None:
    """One text or many; numbers that are tokens already are not known here."""
    request = Request("embed", model="text-embedding-3-small", params={"input": given})
    rough = CallSizes().roughly(request)
    exact = await CallSizes().counted(request)
    assert (rough, exact > 0) == (
        (100, True) if isinstance(given, str) or given == ["x" * 200] * 2 else (0, False)
    )


def test_roughly_is_a_quarter_of_the_characters() -> None:
    """And a little for each message; of what is no text the usual."""
    assert CallSizes().roughly(Request(messages=({"role": "user", "content": "x" * 400},))) == 100 + 1 + 3
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    many = CallSizes().roughly(Request(messages=({"role": "user", "content": [image]},)))
    assert 50 < many < 5_000


@pytest.mark.parametrize(
    "messages", [({"content": "no role"},), ("no mapping",), ({"role": "user", "content": 3},)]
)
async def test_a_malformed_prompt_counts_as_nothing(messages) -> None:
    """Others will complain of it."""
    request = Request(messages=messages, model="gpt-4o")
    assert CallSizes().roughly(request) == 0
    assert await CallSizes().counted(request) == 0


@pytest.mark.parametrize(
    ("params", "limit"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_tokens": 5, "max_completion_tokens": 7}, 7),
        ({"max_tokens": -1}, None),
        ({"max_tokens": None}, None),
    ],
)
def test_the_bound_of_an_answer(params, limit) -> None:
    """As the caller has set it, by either name; llama.cpp's -1 is none."""
    assert answer_limit(Request(params=params)) == limit
