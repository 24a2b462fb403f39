"""A chat in the terminal: streams, remembers, and shows when a broken answer begins again.

    python chat.py            # the local model server that is there
    RESILIENT_LLM_PROVIDER=offline python chat.py

Other backends by settings: the environment, or `resilient-llm.toml`.
"""

from __future__ import annotations

import asyncio

import resilient_llm as rl


async def answer(llm: rl.AsyncClient, messages: list[rl.Message]) -> rl.Message:
    """Print the answer while it comes, and give its message."""
    async with llm.stream(messages) as response:
        async for event in response:
            match event:
                case rl.TextDelta(text):
                    print(text, end="", flush=True)
                case rl.Restarted(reason):
                    print(f"\n[again, because of {reason.code}]")
        done = await response.completion()
    print()
    if done.pruned:
        print(f"[{done.pruned.dropped} old messages were left out]")
    return done.message


async def main() -> None:
    """Ask for questions until there are no more."""
    messages: list[rl.Message] = []
    async with rl.AsyncClient.from_settings(recovery="restart") as llm:
        while question := await asyncio.to_thread(read, "> "):
            messages.append({"role": "user", "content": question})
            try:
                messages.append(await answer(llm, messages))
            except rl.LLMError as error:
                messages.pop()  # it was not answered
                print(f"\n[{error}]")


def read(prompt: str) -> str:
    """A line of input; empty at its end."""
    try:
        return input(prompt)
    except EOFError:
        return ""


if __name__ == "__main__":
    asyncio.run(main())
