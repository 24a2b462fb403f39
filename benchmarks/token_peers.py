"""Prunes conversations with one library, in whatever Python has it: a worker of `tokens.py`.

    python token_peers.py PEER

Reads jobs and writes answers, one JSON object a line. A job has `messages` and `budget`, and perhaps `repeat`; the
answer has `kept` (messages in OpenAI's shape) or `error`, and `seconds` of CPU, the least of the repetitions. Turning
the messages into the library's own is not timed: whoever uses it has them.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import logging
import sys
import time
from collections.abc import Callable
from functools import cache

Prune = Callable[[], object]
Kept = Callable[[object], list[dict]]


@cache
def encoding():
    """o200k_base; the vocabulary comes from the cache that TIKTOKEN_CACHE_DIR names."""
    import tiktoken

    return tiktoken.get_encoding("o200k_base")


def text_tokens(text: str) -> int:
    return len(encoding().encode(text, disallowed_special=()))


def message_tokens(message: dict, count: Callable[[str], int] = text_tokens) -> int:
    """The rule of OpenAI's cookbook, and three for each call."""
    total = 3 + sum(count(value) for value in message.values() if isinstance(value, str))
    for call in message.get("tool_calls") or ():
        total += 3 + count(call["function"]["name"]) + count(call["function"]["arguments"])
    return total


def ours(messages: list[dict], budget: int) -> tuple[Prune, Kept]:
    """TokenTracker, with nothing remembered from earlier calls."""
    from resilient_llm.tokens import TokenTracker, preload

    preload("gpt-4o")
    return lambda: TokenTracker("gpt-4o").prune_conversation(messages, budget), lambda kept: kept


def litellm(messages: list[dict], budget: int) -> tuple[Prune, Kept]:
    """trim_messages to the whole budget."""
    from litellm.utils import trim_messages

    def prune() -> object:
        return trim_messages(messages, model="gpt-4o", max_tokens=budget, trim_ratio=1.0)

    return prune, lambda kept: [json.loads(json.dumps(message)) for message in kept]


def langchain(messages: list[dict], budget: int, *, remember: bool = False) -> tuple[Prune, Kept]:
    """trim_messages with an exact counter and the options that keep whole turns."""
    from langchain_core.messages import convert_to_messages, trim_messages

    originals = {str(place): message for place, message in enumerate(messages)}
    converted = convert_to_messages(messages)
    for place, message in enumerate(converted):
        message.id = str(place)

    def prune() -> object:
        count = cache(text_tokens) if remember else text_tokens
        return trim_messages(
            converted,
            max_tokens=budget - 3,  # the primer; it counts the system message apart
            token_counter=lambda some: sum(message_tokens(originals[m.id], count) for m in some),
            strategy="last",
            include_system=True,
            start_on="human",
        )

    def kept(some) -> list[dict]:
        same = {message.id: message.content for message in converted}
        return [originals[m.id] if m.content == same[m.id] else {"role": "altered"} for m in some]

    return prune, kept


def langchain_remembering(messages: list[dict], budget: int) -> tuple[Prune, Kept]:
    """The same with a counter that remembers texts within a call."""
    return langchain(messages, budget, remember=True)


def autogen(messages: list[dict], budget: int) -> tuple[Prune, Kept]:
    """TokenLimitedChatCompletionContext with an exact counter."""
    from autogen_core import FunctionCall
    from autogen_core.model_context import TokenLimitedChatCompletionContext
    from autogen_core.models import (
        AssistantMessage,
        FunctionExecutionResult,
        FunctionExecutionResultMessage,
        SystemMessage,
        UserMessage,
    )

    converted, sources = [], {}
    for message in messages:
        if message["role"] == "tool":
            result = FunctionExecutionResult(
                content=message["content"], name="search", call_id=message["tool_call_id"]
            )
            if converted and isinstance(converted[-1], FunctionExecutionResultMessage):
                converted[-1].content.append(result)
                sources[id(converted[-1])].append(message)
                continue
            converted.append(FunctionExecutionResultMessage(content=[result]))
        elif message["role"] == "system":
            converted.append(SystemMessage(content=message["content"]))
        elif message["role"] == "user":
            converted.append(UserMessage(content=message["content"], source="user"))
        else:
            calls = [
                FunctionCall(id=call["id"], **call["function"]) for call in message.get("tool_calls") or ()
            ]
            converted.append(AssistantMessage(content=calls or message["content"], source="assistant"))
        sources[id(converted[-1])] = [message]

    class Client:
        def count_tokens(self, some, **_options) -> int:
            return 3 + sum(message_tokens(one) for message in some for one in sources[id(message)])

    context = TokenLimitedChatCompletionContext(Client(), token_limit=budget, initial_messages=converted)
    return lambda: asyncio.run(context.get_messages()), lambda kept: [
        one for message in kept for one in sources[id(message)]
    ]


def agent_framework(messages: list[dict], budget: int) -> tuple[Prune, Kept]:
    """TruncationStrategy with an exact tokenizer."""
    from agent_framework import Content, Message, TruncationStrategy, apply_compaction

    class Tokenizer:
        def count_tokens(self, text: str) -> int:
            return text_tokens(text)

    def convert(message: dict) -> Message:
        if message["role"] == "tool":
            contents = [Content.from_function_result(message["tool_call_id"], result=message["content"])]
        elif message.get("tool_calls"):
            contents = [
                Content.from_function_call(call["id"], **call["function"]) for call in message["tool_calls"]
            ]
        else:
            contents = [Content.from_text(message["content"])]
        return Message(message["role"], contents)

    def prune() -> object:
        converted = [convert(message) for message in messages]  # annotations stay on them
        for place, message in enumerate(converted):
            message.message_id = str(place)
        begun = time.process_time()
        strategy = TruncationStrategy(max_n=budget, compact_to=budget, tokenizer=Tokenizer())
        kept = asyncio.run(apply_compaction(converted, strategy=strategy, tokenizer=Tokenizer()))
        return time.process_time() - begun, kept

    return prune, lambda kept: [messages[int(message.message_id)] for message in kept]


PEERS = {
    "resilient_llm": (ours, "resilient-llm"),
    "langchain-core": (langchain, "langchain-core"),
    "langchain-core, remembering": (langchain_remembering, "langchain-core"),
    "autogen-core": (autogen, "autogen-core"),
    "agent-framework": (agent_framework, "agent-framework-core"),
    "litellm": (litellm, "litellm"),
}


def work(name: str, job: dict) -> dict:
    prune, plain = PEERS[name][0](job["messages"], job["budget"])
    seconds, kept = [], []
    for _ in range(job.get("repeat", 1)):
        begun = time.process_time()
        try:
            kept = prune()
        except Exception as error:  # noqa: BLE001 - a refusal is an answer
            return {"error": f"{type(error).__name__}: {error}"[:200], "seconds": time.process_time() - begun}
        spent = time.process_time() - begun
        if isinstance(kept, tuple):  # it timed itself
            spent, kept = kept
        seconds.append(spent)
    return {"kept": [] if job.get("time_only") else plain(kept), "seconds": min(seconds)}


def main() -> None:
    name, answers = sys.argv[1], sys.stdout
    logging.disable(logging.CRITICAL)
    with contextlib.redirect_stdout(sys.stderr):  # some libraries print
        print(json.dumps({"version": importlib.metadata.version(PEERS[name][1])}), file=answers, flush=True)
        for line in sys.stdin:
            print(json.dumps(work(name, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
