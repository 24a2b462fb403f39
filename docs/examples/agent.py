"""An agent: the model calls tools until it has an answer.

    python agent.py "Which is longer, the Rhine or the Elbe?"

Arguments come whole and parse; what is wrong with them, the model is told, and may correct it.
"""

from __future__ import annotations

import asyncio
import json
import sys

import resilient_llm as rl

LENGTHS = {"rhine": 1233, "elbe": 1094, "oder": 866}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "river_length",
            "description": "The length of a river in kilometres.",
            "parameters": {
                "type": "object",
                "properties": {"river": {"type": "string"}},
                "required": ["river"],
            },
        },
    }
]
MOST_STEPS = 8


def run(call: rl.ToolCall) -> str:
    """What the tool says; a mistake is told to the model, which wrote the arguments."""
    if call.name != "river_length":
        return f"there is no tool {call.name!r}"
    try:
        river = json.loads(call.arguments or "{}")["river"]
        return f"{LENGTHS[river.lower()]} km"
    except (KeyError, TypeError, AttributeError) as error:
        return f"error: {error!r}; known rivers are {', '.join(LENGTHS)}"


async def answer(llm: rl.AsyncClient, question: str) -> str:
    """Ask, run the tools that are called for, ask again; at most so many times."""
    messages: list[rl.Message] = [{"role": "user", "content": question}]
    for _ in range(MOST_STEPS):
        done = await llm.complete(messages, tools=TOOLS)
        if not done.tool_calls:
            return done.text
        messages = [*messages, done.message]
        for call in done.tool_calls:
            result = run(call)
            print(f"[{call.name} {call.arguments} -> {result}]")
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    return f"no answer within {MOST_STEPS} steps"


async def main(question: str) -> int:
    """Print the answer, or why there is none."""
    async with rl.AsyncClient.from_settings(deadline=300) as llm:
        try:
            print(await answer(llm, question))
        except rl.LLMError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(" ".join(sys.argv[1:]) or "Which is longer, the Rhine or the Elbe?")))
