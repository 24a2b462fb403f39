"""The classifier against recorded errors: every line right.

The corpus lies beside the repository, or where `RESILIENT_LLM_ERROR_CORPUS` says. The classifier sees what a client
sees, nothing of the labels.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from resilient_llm.errors import ErrorCode, LLMError
from resilient_llm.policy.classify import classify
from resilient_llm.policy.classify_exception import classify_exception_text

CORPUS = Path(
    os.environ.get("RESILIENT_LLM_ERROR_CORPUS")
    or Path(__file__).parents[3] / "shared" / "error-corpus" / "errors.jsonl"
)
LINES: list[dict[str, Any]] = (
    [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()] if CORPUS.exists() else []
)
if not LINES:
    pytest.skip(f"no corpus at {CORPUS}", allow_module_level=True)

EQUIVALENT = {ErrorCode.MODEL_LOADING: "MODEL_OVERLOADED"}
"""The corpus has one code for a full server and for one that is loading."""


def judged(line: dict[str, Any], backend: str | None) -> LLMError:
    if line["surface"] == "connection":
        name, _, message = line["exception"].partition(": ")
        return classify_exception_text(name, message, backend=backend)
    return classify(
        status=line["status"],
        headers=line["headers"],
        body=line["body"],
        surface=line["surface"],
        backend=backend,
    )


@pytest.mark.parametrize("named", [True, False], ids=["backend known", "backend unknown"])
@pytest.mark.parametrize("line", LINES, ids=lambda line: line["id"])
def test_recorded_errors_are_understood(line: dict[str, Any], named: bool) -> None:
    """Code, retryability, wait and sizes are those of the label, whether or not the backend is known."""
    error = judged(line, line["backend"] if named else None)
    assert EQUIVALENT.get(error.code, error.code) == line["expected"]
    assert error.retryable == line["retryable"]
    assert error.retry_after == pytest.approx(line["retry_after_s"])
    assert error.context_limit == line["context_limit"]
    assert error.context_requested == line["context_requested"]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line["id"])
def test_messages_are_short_lines_without_markup(line: dict[str, Any]) -> None:
    """What an error says fits a log line."""
    message = judged(line, None).message
    assert 0 < len(message) <= 300
    assert "\n" not in message
    assert "<html" not in message.lower()
    assert not message.endswith((".", "。", " "))


@pytest.mark.parametrize("line", [line for line in LINES if line["body"]], ids=lambda line: line["id"])
def test_bytes_are_judged_as_text(line: dict[str, Any]) -> None:
    """A body's type does not matter."""
    text = classify(
        status=line["status"], headers=line["headers"], body=line["body"], surface=line["surface"]
    )
    raw = classify(
        status=line["status"], headers=line["headers"], body=line["body"].encode(), surface=line["surface"]
    )
    assert (raw.code, raw.message) == (text.code, text.message)
