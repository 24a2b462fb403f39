"""`resilient-llm batch`: reading, asking several at a time, writing."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final

import attrs

from resilient_llm.client import AsyncClient
from resilient_llm.clock import SYSTEM_CLOCK
from resilient_llm.errors import CircuitOpenError, LLMError, ModelAuthError

from . import chat_json
from .batch_book import BrokenLineError, Question, read_question, record
from .batch_file import ForeignOutputError, append, opened
from .guard import FAILED, INTERRUPTED, OK, USAGE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from .batch_book import Ledger
    from .chat_screen import Screen

CIRCUIT_WAITS: Final = 20
"""How often a question waits for an open circuit before it counts as failed."""
LONGEST_WAIT: Final = 30.0


@attrs.frozen
class Batch:
    """What the command line says; see there."""

    source: Path
    output: Path
    settings: Mapping[str, object]
    parallel: int = 4
    retry_failed: bool = False
    as_json: bool = False


@attrs.define
class Tally:
    """How it stands."""

    done: int = 0
    failed: int = 0
    earlier: int = 0

    def told(self) -> str:
        """The numbers, for people."""
        earlier = f", {self.earlier} done before" if self.earlier else ""
        return f"{self.done} done, {self.failed} failed{earlier}"


def run(batch: Batch, screen: Screen) -> int:
    """Run a batch; the exit status."""
    tally = Tally()
    try:
        llm = AsyncClient.from_settings(None, **batch.settings)
        if batch.output.exists() and batch.output.samefile(batch.source):
            screen.error("the output must be another file than the input")
            return USAGE
        with opened(batch.output) as (file, ledger), batch.source.open("rb") as lines:
            work = _Work(batch, llm, file, ledger, tally, screen, lines)
            asyncio.run(work.run())
    except ForeignOutputError as exc:
        screen.error(exc)
        return USAGE
    except KeyboardInterrupt:
        _clear(screen)
        screen.notice(f"stopped: {tally.told()}; the same command goes on")
        return INTERRUPTED
    _clear(screen)
    if batch.as_json:
        chat_json.write({**attrs.asdict(tally), "output": str(batch.output)})
    else:
        again = "; --retry-failed asks those again" if tally.failed else ""
        screen.notice(f"{tally.told()}{again}; the answers are in {batch.output}", "dim")
    return FAILED if tally.failed else OK


@attrs.define
class _Work:
    batch: Batch
    llm: AsyncClient
    file: BinaryIO
    ledger: Ledger
    tally: Tally
    screen: Screen
    lines: BinaryIO
    size: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.size = self.batch.source.stat().st_size

    async def run(self) -> None:
        """Let some workers take line after line."""
        left = self._left()
        try:
            async with self.llm, asyncio.TaskGroup() as group:
                for _ in range(self.batch.parallel):
                    group.create_task(self._worker(left))
        except ExceptionGroup as failures:  # of several workers the first tells enough
            raise failures.exceptions[0] from None

    def _left(self) -> Iterator[tuple[int, bytes]]:
        """The lines that are to be asked, with their numbers."""
        for number, line in enumerate(self.lines, 1):
            if not line.strip():
                continue
            match self.ledger.turn(number, line, retry_failed=self.batch.retry_failed):
                case "ask":
                    yield number, line
                case "done":
                    self.tally.earlier += 1
                case "failed":
                    self.tally.failed += 1
                case "changed":
                    msg = (
                        f"line {number} of {self.batch.source} asks something else than what {self.batch.output} "
                        "answers; name another file (-o)"
                    )
                    raise ForeignOutputError(msg)

    async def _worker(self, left: Iterator[tuple[int, bytes]]) -> None:
        for number, line in left:
            name = None
            try:
                question = read_question(line)
                name = question.custom_id
                result = await self._ask(question)
                self.tally.done += 1
            except ModelAuthError:
                raise  # so would all others
            except LLMError as error:
                result = self._failed(number, str(error.code), error.message)
            except (BrokenLineError, TypeError, ValueError) as error:
                result = self._failed(number, "BROKEN_LINE", str(error))
            append(self.file, record(number, line, name, result))
            self._progress()

    async def _ask(self, question: Question) -> dict[str, Any]:
        for _ in range(CIRCUIT_WAITS):
            try:
                return _answer(await self._complete(question))
            except CircuitOpenError as error:
                # the backend rests: a reason to wait, not to fail the whole file
                await SYSTEM_CLOCK.sleep(min(error.retry_after or 1.0, LONGEST_WAIT))
        return _answer(await self._complete(question))

    async def _complete(self, question: Question) -> dict[str, Any]:
        return chat_json.completion(await self.llm.complete(question.prompt, **question.options))

    def _failed(self, number: int, code: str, message: str) -> dict[str, Any]:
        self.tally.failed += 1
        _clear(self.screen)
        self.screen.notice(f"line {number}: {code}: {message}")
        return {"error": {"code": code, "message": message}}

    def _progress(self) -> None:
        if sys.stderr.isatty() and not self.screen.quiet:
            share = 100 * self.lines.tell() // max(self.size, 1)
            sys.stderr.write(f"\r\x1b[K{share:3} % read, {self.tally.told()}")
            sys.stderr.flush()


def _answer(done: Mapping[str, Any]) -> dict[str, Any]:
    left_out = {"trace", "pruned"}
    return {name: value for name, value in done.items() if name not in left_out} | {"error": None}


def _clear(screen: Screen) -> None:
    """Remove the progress line."""
    if sys.stderr.isatty() and not screen.quiet:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
