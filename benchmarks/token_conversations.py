"""Seeded conversations with tool rounds, and a judge of what a pruner left of them.

The judge knows nothing of resilient_llm: it counts by the rule of OpenAI's cookbook with tiktoken itself, and three
more for each tool call with its name and arguments.
"""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Callable

ENGLISH = """
the a of to and in is that for it with as was on be at by this have from or had not are but what all were when service
request timeout cluster database customer invoice shipment report quarter revenue engineer deploy incident river
mountain kitchen violin garden weather harbour museum
""".split()  # noqa: SIM905 - a list of fifty quoted strings is no easier to read
CHINESE = "我們今天需要檢查所有的服務並且把結果寫進報告裡面然後再討論下一步應該怎麼做"
CODE = """def handle(event, context):
    for item in event['items']:
        if item.get('retry', 0) > 3:
            raise Timeout(item['id'])
    return {'status': 'ok', 'count': len(event['items'])}
"""
PROPERTIES = ("system", "user first", "paired", "unaltered", "newest", "fits")


def prose(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(ENGLISH, k=words)).capitalize() + "."


def text(rng: random.Random, words: int) -> str:
    kind = rng.random()
    if kind < 0.15:
        return "Please look at this:\n" + CODE * max(1, words // 60)
    if kind < 0.3:
        return "".join(rng.choices(CHINESE, k=2 * words))
    return prose(rng, words)


def tool_round(rng: random.Random, number: int) -> list[dict]:
    ids = [f"call_{number:05}_{place}" for place in range(rng.randint(1, 3))]
    calls = [
        {
            "id": name,
            "type": "function",
            "function": {"name": "search", "arguments": json.dumps({"query": prose(rng, 5), "limit": 10})},
        }
        for name in ids
    ]
    return [{"role": "assistant", "content": None, "tool_calls": calls}, *(result(rng, name) for name in ids)]


def result(rng: random.Random, name: str) -> dict:
    found = [
        {"id": rng.randrange(10**6), "title": prose(rng, 6), "score": round(rng.random(), 3)}
        for _ in range(rng.randint(1, 8))
    ]
    return {"role": "tool", "tool_call_id": name, "content": json.dumps(found)}


def conversation(messages: int, seed: int, *, inside_a_turn: bool = False) -> list[dict]:
    """About so many messages, ending with an answer or with a tool's result."""
    rng = random.Random(seed)
    out = [{"role": "system", "content": "You are a careful assistant. " + prose(rng, 40)}]
    number = 0
    while len(out) < messages - 1:
        out.append({"role": "user", "content": text(rng, rng.randint(10, 120))})
        for _ in range(rng.randint(1, 2) if rng.random() < 0.45 else 0):
            out += tool_round(rng, number)
            number += 1
        out.append({"role": "assistant", "content": text(rng, rng.randint(20, 420))})
    if inside_a_turn:
        out[-1:] = tool_round(rng, number)
    return out


class Judge:
    """Counts and judges.

    Args:
        count: The tokens of a text.
    """

    def __init__(self, count: Callable[[str], int]) -> None:
        self._count = count
        self._known: dict[str, int] = {}

    def text(self, text: str) -> int:
        if text not in self._known:
            self._known[text] = self._count(text)
        return self._known[text]

    def message(self, message: dict) -> int:
        total = 3 + sum(self.text(value) for value in message.values() if isinstance(value, str))
        total += 1 if "name" in message else 0
        for call in message.get("tool_calls") or ():
            function = call["function"]
            total += 3 + self.text(function["name"]) + self.text(function["arguments"])
        return total

    def size(self, messages: list[dict]) -> int:
        return 3 + sum(map(self.message, messages))

    def best(self, messages: list[dict], budget: int) -> list[dict] | None:
        """The system message and the longest run of whole newest turns that fits; None if not even the newest does."""
        room = budget - self.size(messages[:1])
        best, spent = None, 0
        for index in range(len(messages) - 1, 0, -1):
            spent += self.message(messages[index])
            if spent > room:
                break
            if messages[index]["role"] == "user":
                best = index
        return None if best is None else [messages[0], *messages[best:]]

    def verdict(self, messages: list[dict], kept: list[dict], budget: int) -> dict[str, bool]:
        """Which of the six properties hold."""
        body = [message for message in kept if message.get("role") != "system"]
        calls = [call["id"] for message in kept for call in message.get("tool_calls") or ()]
        results = [message.get("tool_call_id") for message in kept if message.get("role") == "tool"]
        originals = iter(messages)
        return {
            "system": kept[:1] == messages[:1],
            "user first": bool(body) and body[0]["role"] == "user",
            "paired": sorted(calls) == sorted(map(str, results)),
            "unaltered": all(any(message == other for other in originals) for message in kept),
            "newest": kept[-1:] == messages[-1:],
            "fits": self.size(kept) <= budget,
        }


def summary(verdicts: list[dict[str, bool]], shares: list[float], worst: float) -> dict[str, float]:
    """Percentages over all cases."""
    total = max(len(verdicts), 1)
    told = {name: 100 * sum(verdict[name] for verdict in verdicts) / total for name in PROPERTIES}
    told["all six"] = 100 * sum(all(verdict.values()) for verdict in verdicts) / total
    told["share, median"] = statistics.median(shares) if shares else 0.0
    told["share, least"] = min(shares, default=0.0)
    told["tokens/budget, worst"] = worst
    return told
