"""Random conversations in OpenAI's and in Anthropic's shape, and the properties that every pruning must keep."""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st

SEEDS = st.integers(0, 2**32)
SHAPES = ("openai", "anthropic")
INSTRUCTIONS = {"system", "developer"}


def system(text: str) -> dict:
    return {"role": "system", "content": text}


def user(content) -> dict:
    return {"role": "user", "content": content}


def assistant(content) -> dict:
    return {"role": "assistant", "content": content}


def words(rng: Random, most: int = 12) -> str:
    return "".join(rng.choice(("a ", "bb ", "漢", "1", "word ", "\n")) for _ in range(rng.randint(0, most)))


def result(rng: Random) -> str:
    return words(rng, 12) if rng.random() < 0.7 else words(rng, 300)


def openai_round(rng: Random) -> list[dict]:
    if rng.random() < 0.2:
        call = {"name": "f", "arguments": words(rng)}
        return [
            {"role": "assistant", "content": None, "function_call": call},
            {"role": "function", "name": "f", "content": result(rng)},
        ]
    ids = [f"call_{rng.randrange(10**6)}" for _ in range(rng.randint(1, 3))]
    calls = [{"id": i, "type": "function", "function": {"name": "f", "arguments": words(rng)}} for i in ids]
    return [
        {"role": "assistant", "content": None, "tool_calls": calls},
        *({"role": "tool", "tool_call_id": i, "content": result(rng)} for i in ids),
    ]


def anthropic_round(rng: Random) -> list[dict]:
    ids = [f"toolu_{rng.randrange(10**6)}" for _ in range(rng.randint(1, 3))]
    calls = [{"type": "tool_use", "id": i, "name": "f", "input": {"a": words(rng)}} for i in ids]
    results = [
        {
            "type": "tool_result",
            "tool_use_id": i,
            "content": result(rng) if rng.random() < 0.5 else [{"type": "text", "text": result(rng)}],
        }
        for i in ids
    ]
    more = [{"type": "text", "text": words(rng)}] if rng.random() < 0.2 else []
    return [assistant([{"type": "text", "text": words(rng)}, *calls]), user([*results, *more])]


def turn(rng: Random, shape: str, *, answered: bool) -> list[dict]:
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
    question = words(rng) if rng.random() < 0.8 else [{"type": "text", "text": words(rng)}, image]
    a_round = openai_round if shape == "openai" else anthropic_round
    rounds = [message for _ in range(rng.choice((0, 0, 1, 2))) for message in a_round(rng)]
    later = [system(words(rng))] if shape == "openai" and rng.random() < 0.1 else []
    return [user(question), *later, *rounds, *([assistant(words(rng))] if answered else [])]


def history(seed: int, shape: str) -> list[dict]:
    """Perhaps instructions, perhaps a greeting, and turns with tool rounds; the last one answered or not."""
    rng = Random(seed)
    leading = rng.randint(0, 2) if shape == "openai" else 0
    messages = [{"role": rng.choice(sorted(INSTRUCTIONS)), "content": words(rng)} for _ in range(leading)]
    messages += [assistant(words(rng)) for _ in range(rng.choice((0, 0, 1, 2)))]
    number = rng.randint(1, 7)
    for place in range(number):
        messages += turn(rng, shape, answered=place < number - 1 or rng.random() < 0.5)
    return messages


def is_result(message: dict) -> bool:
    content = message["content"]
    return isinstance(content, list) and any(part.get("type") == "tool_result" for part in content)


def turn_starts(messages: list[dict]) -> tuple[int, list[int]]:
    """Independently of the code under test: how many instructions lead, and where a tail may begin."""
    body = [i for i, message in enumerate(messages) if message["role"] not in INSTRUCTIONS]
    head = body[0] if body else len(messages)
    users = {i for i in body if messages[i]["role"] == "user" and not is_result(messages[i])}
    return head, sorted({head, *users})


def calls_and_results(messages: list[dict]) -> tuple[list, list]:
    """The ids of the calls and of the results in a conversation."""
    calls, results = [], []
    for message in messages:
        calls += [call["id"] for call in message.get("tool_calls", ())]
        calls += [None] if "function_call" in message else []
        results += [message["tool_call_id"]] if message["role"] == "tool" else []
        results += [None] if message["role"] == "function" else []
        for part in message["content"] if isinstance(message["content"], list) else ():
            calls += [part["id"]] if part.get("type") == "tool_use" else []
            results += [part["tool_use_id"]] if part.get("type") == "tool_result" else []
    return calls, results


def check_whole_turns(messages: list[dict], kept: list[dict]) -> None:
    """The system kept, begins with a user (if anything went), calls and results paired, the newest kept."""
    head, _ = turn_starts(messages)
    assert kept[:head] == messages[:head]
    assert len(kept) == len(messages) or kept[head]["role"] == "user"
    assert len(kept) == len(messages) or not is_result(kept[head])
    calls, results = calls_and_results(kept)
    assert sorted(map(str, calls)) == sorted(map(str, results))
    assert kept[-1]["role"] == messages[-1]["role"]
