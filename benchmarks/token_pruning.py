"""Pruning conversations: what is kept, whether it fits, how long it takes; peers in environments of their own.

Seeded conversations with tool rounds, ending with an answer and inside a turn. Six properties are judged by an
independent count; CPU time is measured for 10 to 10,000 messages at budgets of 90 % and 25 %; our own bounds are
checked. Nothing is downloaded: the peers' counters read the vocabulary that resilient_llm carries.

    python benchmarks/token_pruning.py --ours
    python benchmarks/token_pruning.py --peer langchain-core=/path/to/python [--peer ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import math
import os
import platform
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from results import Table, save
from tables import progress, table
from token_conversations import PROPERTIES, Judge, conversation, summary

WORKER = Path(__file__).parent / "token_peers.py"
URL = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
SIZES = (10, 100, 1_000, 10_000)
CASE = 40
BUDGETS = (0.9, 0.6, 0.35, 0.15)
OURS = "resilient_llm"
BOUNDS = {
    "first count in a fresh process, after import": 0.25,
    "10,000 messages to 8k tokens / counting all of them": 0.01,
    "the next turn / counting all of them": 0.001,
    "Conversation.add at 10,000 messages / counting all of them": 0.001,
}


class GaveUpError(Exception):
    """A worker did not answer in time, or ended."""


class Worker:
    """A library in a Python of its own."""

    def __init__(self, name: str, python: str, cache: str) -> None:
        self.name = name
        self._command = [python, str(WORKER), name]
        here = {"TIKTOKEN_CACHE_DIR": cache, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        self._environment = {**os.environ, **here}
        self._process: subprocess.Popen | None = None
        self.version = "?"

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self._environment,
        )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, args=(self._process, self._answers), daemon=True).start()
        self.version = self._answer(60)["version"]

    @staticmethod
    def _read(process: subprocess.Popen, answers: queue.Queue[str]) -> None:
        for line in process.stdout:
            answers.put(line)
        answers.put("")

    def _answer(self, seconds: float) -> dict:
        try:
            line = self._answers.get(timeout=seconds)
        except queue.Empty:
            self.stop()
            msg = f"> {seconds:.0f} s"
            raise GaveUpError(msg) from None
        if not line:
            self.stop()
            msg = "ended"
            raise GaveUpError(msg)
        return json.loads(line)

    def ask(self, job: dict, seconds: float) -> dict:
        if self._process is None:
            self.start()
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return self._answer(seconds)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


# What is kept ...


def cases(seeds: int) -> Iterator[tuple[list[dict], float]]:
    for seed in range(seeds):
        for inside in (False, True):
            messages = conversation(CASE, seed, inside_a_turn=inside)
            for share in BUDGETS:
                yield messages, share


def judge_kept(worker: Worker, judge: Judge, seeds: int, patience: float) -> dict:
    """Percentages of the six properties over all feasible cases, and what happens in the others."""
    verdicts, shares, worst, refused, infeasible = [], [], 0.0, 0, 0
    begun, total = time.monotonic(), seeds * 2 * len(BUDGETS)
    for number, (messages, share) in enumerate(cases(seeds), 1):
        if time.monotonic() - begun > patience:
            break
        progress(f"{worker.name}: case {number} of {total}")
        budget = int(judge.size(messages) * share)
        best = judge.best(messages, budget)
        answer = worker.ask({"messages": messages, "budget": budget}, patience)
        if best is None:
            infeasible += 1
            refused += "error" in answer
        elif "error" in answer:
            verdicts.append(dict.fromkeys(PROPERTIES, False))
        else:
            kept = answer["kept"]
            verdicts.append(judge.verdict(messages, kept, budget))
            shares.append(judge.size(kept) / judge.size(best))
            worst = max(worst, judge.size(kept) / budget)
    told = summary(verdicts, shares, worst)
    return {**told, "feasible cases": len(verdicts), "infeasible cases": infeasible, "refused": refused}


# How long it takes ...


def measure_times(worker: Worker, judge: Judge, sizes: list[int], patience: float) -> dict[str, float | str]:
    """Seconds by size and budget; a size that took too long ends the row."""
    told: dict[str, float | str] = {}
    for share in (0.9, 0.25):
        for size in sizes:
            name = f"{size} at {share:.0%}"
            progress(f"{worker.name}: {name}")
            messages = conversation(size, 1)
            job = {"messages": messages, "budget": int(judge.size(messages) * share), "time_only": True}
            try:
                answer = worker.ask({**job, "repeat": 5 if size <= 100 else 1}, patience)
            except GaveUpError as gave_up:
                told[name] = str(gave_up)
                break
            told[name] = answer["seconds"] if "error" not in answer else "refused"
    return told


def growth(times: dict[str, float | str], sizes: list[int], share: str) -> str:
    """The exponent between the two largest sizes that were measured."""
    points = [(size, times.get(f"{size} at {share}")) for size in sizes]
    measured = [(size, seconds) for size, seconds in points if isinstance(seconds, float)]
    if len(measured) < 2:
        return "-"
    (n1, t1), (n2, t2) = measured[-2:]
    return f"n^{math.log(t2 / t1) / math.log(n2 / n1):.1f}"


# Our own bounds ...


def seconds(function: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """CPU time: what else runs on this machine matters less."""
    begun = clock()
    function()
    return clock() - begun


def first_count() -> float:
    """The seconds of the first count in a fresh process, after the import: the least of five."""
    program = (
        "import time; from resilient_llm.tokens import TokenTracker; tracker = TokenTracker('gpt-4o')\n"
        "begun = time.process_time(); tracker.count_tokens('hello'); print(time.process_time() - begun)"
    )
    runs = [
        float(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)
        for _ in range(5)
    ]
    return min(runs)


def own_figures(judge: Judge) -> dict[str, float]:
    """Medians of nine rounds, each part measured in every round."""
    from resilient_llm.tokens import ChatCounter, Conversation, TokenTracker, preload, prune

    preload("gpt-4o")
    messages = conversation(10_000, 1)
    following = {"role": "user", "content": "And what would you do first, if you had only a single day?"}
    longer = [*messages, following]
    texts = [m["content"] for m in messages if m["content"]]
    rounds: dict[str, list[float]] = {}
    for number in range(9):
        progress(f"own bounds: round {number + 1} of 9")
        counter, talk = ChatCounter("gpt-4o"), Conversation("gpt-4o", max_tokens=8_000)
        own = TokenTracker("gpt-4o")
        for name, function in {
            "count all": lambda: ChatCounter("gpt-4o").conversation(messages),
            "prune": lambda counter=counter: prune(messages, 8_000, counter),
            "next turn": lambda counter=counter: prune(longer, 8_000, counter),
            "fill": lambda talk=talk: talk.add(*messages),
            "add": lambda talk=talk: (talk.add(following), talk.messages),
        }.items():
            rounds.setdefault(name, []).append(seconds(function))
        rounds.setdefault("batch", []).append(
            seconds(lambda own=own: own.count_batch(texts), time.perf_counter)
        )
    median = {name: statistics.median(times) for name, times in rounds.items()}
    assert prune(messages, 8_000, ChatCounter("gpt-4o")).tokens <= 8_000
    return {
        "tokens": judge.size(messages),
        "counting all 10,000 messages": median["count all"],
        "count_batch of their texts, by the clock": median["batch"],
        "the same with tiktoken's batch, 2 threads, by the clock": batch_by_tiktoken(texts),
        "first count in a fresh process, after import": first_count(),
        "10,000 messages to 8k tokens / counting all of them": median["prune"] / median["count all"],
        "the next turn / counting all of them": median["next turn"] / median["count all"],
        "Conversation.add at 10,000 messages / counting all of them": median["add"] / median["count all"],
    }


def batch_by_tiktoken(texts: list[str]) -> float:
    import tiktoken

    encoding = tiktoken.get_encoding("o200k_base")

    def count() -> object:
        return encoding.encode_batch(texts, num_threads=2, disallowed_special=())

    return min(seconds(count, time.perf_counter) for _ in range(3))


# The report ...


def fill_cache(folder: str) -> None:
    """The published vocabulary, rebuilt from ours, where tiktoken looks for it; it checks the hash itself."""
    from resilient_llm.tokens.vocabulary import read, unpack

    lines = (
        b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in unpack(read("o200k_base")).items()
    )
    name = hashlib.sha1(URL.encode(), usedforsecurity=False).hexdigest()
    (Path(folder) / name).write_bytes(b"".join(lines))


def shown(value: float | str | None) -> str:
    if value is None:
        return "not run"
    if isinstance(value, str):
        return value
    return f"{value * 1e3:,.0f}" if value >= 0.1 else f"{value * 1e3:.2g}"


def tables(results: dict[str, dict], sizes: list[int]) -> list[Table]:
    """What is kept, and how long it takes."""
    head = ["%", *PROPERTIES, "all six", "share of best", "worst", "cases", "infeasible: refused"]
    rows = [
        [
            name,
            *(f"{told['kept'][key]:.0f}" for key in (*PROPERTIES, "all six")),
            f"{told['kept']['share, median']:.2f} ({told['kept']['share, least']:.2f})",
            f"{told['kept']['tokens/budget, worst']:.2f}",
            f"{told['kept']['feasible cases']}",
            f"{told['kept']['refused']} of {told['kept']['infeasible cases']}",
        ]
        for name, told in results.items()
    ]
    note = f"Cases of {CASE} messages; share: median and least; worst: tokens / budget."
    kept = Table(title="What is kept", head=head, rows=rows, note=note)
    head = ["ms", *(f"{size:,}: 90 % | 25 %" for size in sizes), "growth"]
    rows = [
        [
            name,
            *(
                f"{shown(told['times'].get(f'{size} at 90%'))} | {shown(told['times'].get(f'{size} at 25%'))}"
                for size in sizes
            ),
            f"{growth(told['times'], sizes, '90%')} | {growth(told['times'], sizes, '25%')}",
        ]
        for name, told in results.items()
    ]
    return [kept, Table(title="How long it takes (CPU)", head=head, rows=rows)]


def report(results: dict[str, dict], own: dict[str, float], sizes: list[int]) -> bool:
    """Print the tables; True if all of our own bounds are kept and nothing of ours failed."""
    for one in tables(results, sizes):
        print(f"\n{one.title} {one.note}".rstrip())
        print(table(one.head, one.rows))
    print(f"\n{OURS}, 10,000 messages of {own['tokens']:,} tokens")
    best = results[OURS]["kept"]
    kept = best["all six"] == 100 and round(best["share, least"], 9) == 1.0
    kept &= best["refused"] == best["infeasible cases"]
    for name, value in own.items():
        if name in BOUNDS:
            kept &= value <= BOUNDS[name]
            unit = f"{value:.3f} s" if BOUNDS[name] > 0.1 else f"{value:.3%}"
            bound = f"{BOUNDS[name]} s" if BOUNDS[name] > 0.1 else f"{BOUNDS[name]:.1%}"
            print(f"  {name}: {unit} (bound {bound}: {'kept' if value <= BOUNDS[name] else 'MISSED'})")
        elif name != "tokens":
            print(f"  {name}: {value * 1e3:.0f} ms")
    return kept


def own_table(own: dict[str, float]) -> Table:
    """Our own figures, and whether the bounds are kept."""
    rows = []
    for name, value in own.items():
        if name in BOUNDS:
            told = f"{value:.3f} s" if BOUNDS[name] > 0.1 else f"{value:.3%}"
            bound = f"{BOUNDS[name]} s" if BOUNDS[name] > 0.1 else f"{BOUNDS[name]:.1%}"
            rows.append([name, told, f"{'kept' if value <= BOUNDS[name] else 'MISSED'}: {bound}"])
        elif name != "tokens":
            rows.append([name, f"{value * 1e3:.0f} ms", ""])
    title = f"{OURS}: 10,000 messages of {own['tokens']:,} tokens"
    return Table(title=title, head=["what", "measured", "bound"], rows=rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ours", action="store_true", help="only our own columns and bounds; quick")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--seeds", type=int, default=20, help="eight cases of 40 messages each")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--patience", type=float, default=60.0, help="seconds for each measurement of a peer")
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    peers = {} if options.ours else dict(peer.split("=", 1) for peer in options.peer)
    results, missing, versions = {}, {}, {"Python": platform.python_version()}
    with tempfile.TemporaryDirectory() as cache:
        fill_cache(cache)
        os.environ["TIKTOKEN_CACHE_DIR"] = cache
        import tiktoken

        encoding = tiktoken.get_encoding("o200k_base")
        versions["tiktoken"] = tiktoken.__version__
        judge = Judge(lambda text: len(encoding.encode(text, disallowed_special=())))
        for name, python in {OURS: sys.executable, **peers}.items():
            worker = Worker(name, python, cache)
            try:
                worker.start()
                versions[name] = worker.version
                results[name] = {
                    "kept": judge_kept(worker, judge, options.seeds, options.patience),
                    "times": measure_times(worker, judge, sizes, options.patience),
                }
            except GaveUpError as gave_up:
                progress("")
                missing[name] = f"its worker {gave_up}"
                print(f"{name}: skipped, {missing[name]}")
            finally:
                worker.stop()
        own = own_figures(judge)
    progress("")
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    kept = report(results, own, sizes)
    save(
        "bench_tokens",
        told=versions,
        tables=[*tables(results, sizes), own_table(own)],
        data={"peers": results, "own": own, "sizes": sizes},
        options={"seeds": options.seeds, "patience": options.patience},
        missing=missing,
    )
    if options.json:
        options.json.write_text(json.dumps({"versions": versions, "peers": results, "own": own}, indent=2))
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
