"""An independent judge: llmock breaks the backend, and says what each client got wrong.

    python benchmarks/verdict.py [--clients ours,openai_sdk] [--only TEXT] [--seed 0] [--json FILE]

llmock is a server of its own that speaks the providers' dialects, injects its faults over real HTTP, and judges a
client by what it saw: the attempts, their gaps, and whether a broken stream was taken for an answer. It is strict
here: a warning fails like an error. On top of that the answer must have come whole where one could be had, and an
exception of the client's own where none could. Exit code 1 if resilient_llm fails anything.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import adapters
import attrs
import parallel
import results
from adapters import Got, Place, Question
from fault_worker import one
from judging import decoded
from llmock.pytest_plugin import LLMock
from llmock.testing import LLMockServer
from tables import markdown, table

PATIENCE = 20.0
NOTE = "What the caller got, how many requests llmock saw, and what it complains of; strict: a warning fails."
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a town.",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
    },
}
WHOLE = Question()
STREAM = Question(stream=True)
TOOLS = Question(stream=True, tools=(WEATHER,))
REPLY = "The Rhine, the Danube and the Elbe are three rivers in Europe that many ships use every day."


@attrs.frozen(kw_only=True)
class Fault:
    """One thing that llmock does.

    Args:
        name: What.
        arrange: Tells llmock.
        questions: What is asked: whole, streamed, or both.
        answer: Can an answer be had? False: an error must come.
        calls: How many in a row.
        whole_in: The dialects in whose whole answers llmock shows it.
    """

    name: str
    arrange: Callable[[LLMock], object]
    questions: tuple[Question, ...] = (WHOLE, STREAM)
    answer: bool = True
    calls: int = 1
    whole_in: tuple[str, ...] = ("openai", "anthropic")


def failing(status: int, *, times: int | None = 1, answer: bool = True, **options: object) -> Fault:
    many = "" if times == 1 else " for good" if times is None else f", {times} times"
    return Fault(
        name=f"{status}{many}", arrange=lambda mock: mock.fail(status, times=times, **options), answer=answer
    )


FAULTS: Sequence[Fault] = (
    Fault(name="none", arrange=lambda _: None),
    *(failing(status, answer=False, times=None) for status in (400, 401, 403, 404, 422)),
    *(failing(status) for status in (408, 409, 500, 502, 503, 504, 529)),
    failing(503, times=2),
    failing(503, times=None, answer=False),
    Fault(name="429 with Retry-After", arrange=lambda mock: mock.rate_limit(retry_after=1.0)),
    Fault(
        name="429 with Retry-After, 2 times", arrange=lambda mock: mock.rate_limit(retry_after=0.6, times=2)
    ),
    failing(429),
    Fault(name="requests per minute", arrange=lambda mock: mock.limits(rpm=60), calls=63, questions=(WHOLE,)),
    Fault(name="context overflow", arrange=lambda mock: mock.context_overflow(times=None), answer=False),
    Fault(name="slow answer", arrange=lambda mock: mock.delay(3.0), questions=(WHOLE,)),
    Fault(name="slow first token", arrange=lambda mock: mock.slow_first_token(3.0), questions=(STREAM,)),
    Fault(
        name="disconnect, no content yet",
        arrange=lambda mock: mock.disconnect(after_chunks=1),
        questions=(STREAM,),
    ),
    Fault(name="disconnect", arrange=lambda mock: mock.disconnect(after_chunks=4), questions=(STREAM,)),
    Fault(
        name="truncated, no content yet",
        arrange=lambda mock: mock.truncate(after_chunks=1),
        questions=(STREAM,),
    ),
    Fault(name="truncated", arrange=lambda mock: mock.truncate(after_chunks=4), questions=(STREAM,)),
    Fault(name="malformed chunk", arrange=lambda mock: mock.corrupt(after_chunks=4), questions=(STREAM,)),
    Fault(name="stall", arrange=lambda mock: mock.stall(after_chunks=4, seconds=5.0), questions=(STREAM,)),
    Fault(
        name="disconnect in a tool call",
        arrange=lambda mock: mock.call_tool("weather", {"town": "Ulm"}, times=None).disconnect(
            after_chunks=2
        ),
        questions=(TOOLS,),
    ),
    Fault(
        name="truncated in a tool call",
        arrange=lambda mock: mock.call_tool("weather", {"town": "Ulm"}, times=None).truncate(after_chunks=2),
        questions=(TOOLS,),
    ),
    Fault(
        name="tool arguments that are no JSON",
        arrange=lambda mock: mock.call_tool("weather", {"town": "Ulm"}, times=None).break_tool_call(),
        questions=(TOOLS, attrs.evolve(TOOLS, stream=False)),
        whole_in=("openai",),  # in Anthropic's whole answers it sends an empty object instead
    ),
)


@attrs.frozen
class Cell:
    """What came of one fault, one way of asking, one client."""

    passed: bool | None  # None: it does not take part
    outcome: str = ""
    attempts: int = 0
    findings: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.passed is None:
            return "-"
        codes = ", ".join(self.findings)
        return f"{'pass' if self.passed else 'FAIL'} {self.outcome} {self.attempts}r{f' {codes}' if codes else ''}"


async def ask(adapter: ModuleType, place: Place, question: Question, calls: int) -> list[tuple[str, object]]:
    async with adapter.opened(place) as asked:
        return [await one(asked, question, PATIENCE, adapter.ERRORS) for _ in range(calls)]


def right(outcome: str, value: object, fault: Fault, question: Question) -> bool:
    if not fault.answer:
        return outcome == "error"
    if outcome != "answer" or not isinstance(value, Got):
        return False
    if question.tools:
        return [decoded(arguments) for arguments in value.tool_arguments] == [{"town": "Ulm"}]
    return value.text == REPLY


def play(fault: Fault, question: Question, adapter: ModuleType, server: LLMockServer, seed: int) -> Cell:
    """Arrange the fault, ask, hear the judge."""
    if not question.stream and adapter.DIALECT not in fault.whole_in:
        return Cell(None)
    mock = LLMock(server).reset()
    if not question.tools:
        mock.reply(REPLY, times=None)
    fault.arrange(mock)
    place = Place(urls=(mock.base_url(adapter.DIALECT),), seed=seed, model=adapter.MODEL)
    asked = asyncio.run(ask(adapter, place, question, fault.calls))
    verdict = mock.verdict()
    outcomes = [
        outcome if right(outcome, value, fault, question) else f"{outcome}!" for outcome, value in asked
    ]
    findings = tuple(finding.code for finding in verdict.findings)
    bad = findings or any(outcome.endswith("!") for outcome in outcomes)
    return Cell(not bad, "/".join(sorted(set(outcomes))), verdict.attempts, findings)


def judge(name: str, only: str, seed: int) -> dict[str, Cell]:
    """One client, by its adapter's name, with a judge of its own."""
    (adapter,), _ = adapters.find([name])
    cells = {}
    with LLMockServer() as server:
        play(FAULTS[0], WHOLE, adapter, server, seed)  # not judged: what is loaded once is loaded now
        for fault in chosen(only):
            for question in fault.questions:
                row = f"{fault.name}{', stream' if question.stream else ''}"
                cells[row] = play(fault, question, adapter, server, seed)
    return cells


def chosen(only: str) -> list[Fault]:
    return [fault for fault in FAULTS if only in fault.name]


def judged(clients: Sequence[ModuleType], only: str, seed: int) -> dict[str, dict[str, Cell]]:
    """All clients at the same time: a row for each fault and way of asking."""
    jobs = [(adapter.__name__.rpartition(".")[2], only, seed) for adapter in clients]
    columns = parallel.run(judge, jobs, "{}".format, workers=len(jobs))
    rows: dict[str, dict[str, Cell]] = {}
    for adapter, column in zip(clients, columns, strict=True):
        for row, cell in column.items():
            rows.setdefault(row, {})[adapter.NAME] = cell
    return rows


def report(
    rows: Mapping[str, Mapping[str, Cell]], clients: Sequence[ModuleType]
) -> tuple[list[str], list[list[str]]]:
    names = [adapter.NAME for adapter in clients]
    body = [[name, *(str(row[client]) for client in names)] for name, row in rows.items()]
    sums = [
        f"{sum(row[name].passed is True for row in rows.values())} of "
        f"{sum(row[name].passed is not None for row in rows.values())}"
        for name in names
    ]
    return ["fault", *names], [*body, ["passed", *sums]]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="faults whose name contains this")
    parser.add_argument(
        "--clients", help="adapters, by module name and separated by commas; default: all there are"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write everything to a file")
    parser.add_argument("--markdown", type=Path, help="write the table to a file")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    clients, missing = adapters.find(options.clients.split(",") if options.clients else None)
    if not clients or not chosen(options.only):
        parser.error("no such client" if not clients else "no such fault")
    told = {adapter.NAME: adapters.versions(adapter) for adapter in clients}
    print(
        f"Python {platform.python_version()}, judge: llmock {importlib.metadata.version('llmock')}, seed {options.seed}"
    )
    print("\n".join(f"{name}: {version}" for name, version in told.items()))
    print("".join(f"{name} is left out: {reason}\n" for name, reason in missing.items()))
    rows = judged(clients, options.only, options.seed)
    head, body = report(rows, clients)
    print(table(head, body))
    if options.markdown:
        options.markdown.write_text(markdown(head, body))
    cells = {name: {client: attrs.asdict(cell) for client, cell in row.items()} for name, row in rows.items()}
    results.save(
        "verdict",
        told={**told, "judge": f"llmock {importlib.metadata.version('llmock')}"},
        tables=[results.Table(title="What llmock says", head=head, rows=body, note=NOTE)],
        data={"clients": list(told), "rows": cells},
        options=vars(options),
        configurations={adapter.NAME: (adapter.__doc__ or "").strip() for adapter in clients},
        missing=missing,
    )
    if options.json:
        options.json.write_text(
            json.dumps({"seed": options.seed, "versions": told, "faults": cells}, indent=2) + "\n"
        )
    return (
        0
        if all(
            cell.passed is not False
            for row in rows.values()
            for name, cell in row.items()
            if "resilient_llm" in name
        )
        else 1
    )


if __name__ == "__main__":
    raise SystemExit(main())
