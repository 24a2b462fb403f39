"""Label the lines of a file: several at a time, within a rate limit, and none of them twice.

    python label.py reviews.txt labels.tsv

Stopped or killed, the same command goes on where it was. What cannot be labelled is noted and passed over.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import resilient_llm as rl

if TYPE_CHECKING:
    from typing import TextIO

LABELS = ("positive", "negative", "neutral")
SYSTEM = f'Label the text. Answer with JSON: {{"label": one of {", ".join(LABELS)}}}.'
SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": list(LABELS)}},
    "required": ["label"],
    "additionalProperties": False,
}
FORM = {"type": "json_schema", "json_schema": {"name": "label", "strict": True, "schema": SCHEMA}}


async def label(llm: rl.AsyncClient, text: str) -> str:
    """A label, or what went wrong; a model that says something else is asked once more."""
    for _ in range(2):
        try:
            said = await llm.generate(text, system=SYSTEM, response_format=FORM, temperature=0)
            found = json.loads(said)["label"]
        except rl.LLMError as error:
            return f"error: {error.code}"
        except (ValueError, KeyError, TypeError):
            continue
        if found in LABELS:
            return str(found)
    return "error: no label"


async def label_all(texts: dict[int, str], labels: TextIO) -> None:
    """Write each label as soon as it is there, with the number of its line."""
    limit = rl.RateLimit(requests_per_minute=600)
    async with rl.AsyncClient.from_settings(rate_limit=limit, concurrency=8, deadline=300) as llm:

        async def work(number: int, text: str) -> None:
            found = await label(llm, text)
            print(number, found, sep="\t", file=labels, flush=True)

        async with asyncio.TaskGroup() as group:
            for number, text in texts.items():
                group.create_task(work(number, text))


def main(source: Path, output: Path) -> None:
    """Label what has no label yet."""
    done = {line.split("\t")[0] for line in output.read_text().splitlines()} if output.exists() else set()
    texts = dict(enumerate(source.read_text().splitlines(), 1))
    with output.open("a") as labels:
        asyncio.run(
            label_all({number: text for number, text in texts.items() if str(number) not in done}, labels)
        )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python label.py reviews.txt labels.tsv")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
