"""StreamRecovery against streams cut anywhere: what the reader has in the end is one backend's whole answer."""

from __future__ import annotations

import json
import random

import attrs
from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st
from middleware.streams import ASK, read, text_of

from resilient_llm.commit import commit
from resilient_llm.errors import ModelInvalidRequestError, ModelUnavailableError
from resilient_llm.events import Restarted, TextDelta
from resilient_llm.middleware import Retry, StreamRecovery
from resilient_llm.pipeline import Pipeline
from resilient_llm.response import ResponseInfo
from resilient_llm.testing import FakeClock, run_virtual
from resilient_llm.wire.openai import ChatStreamDecoder


@attrs.frozen
class Plan:
    """What becomes of one request.

    Args:
        answer: The whole answer that the model has in mind, should it begin anew.
        sizes: The lengths of the pieces that it comes in, over and over.
        share: How much of the bytes comes through; 1.0: all.
        fate: `"refused"`, if a beginning of the answer is refused; `"down"`, if nothing is answered.
    """

    answer: str
    sizes: list[int]
    share: float
    fate: str

    def pieces(self, text: str) -> list[str]:
        found: list[str] = []
        while text:
            size = self.sizes[len(found) % len(self.sizes)]
            found.append(text[:size])
            text = text[size:]
        return found

    def events(self, text: str) -> list[bytes]:
        """The server-sent events of a text, and the one that ends it."""
        deltas = [({"content": piece}, None) for piece in self.pieces(text)]
        chunks = [
            {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
            for delta, reason in [*deltas, ({}, "stop")]
        ]
        return [b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks]

    def sent(self, text: str) -> bytes:
        """What comes through of a text."""
        data = b"".join(self.events(text))
        return data[: round(len(data) * self.share)]


some = st.text("ab \n", max_size=6)
plans = st.builds(
    Plan,
    answer=st.tuples(some, st.sampled_from("ab"), some).map("".join),
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    share=st.sampled_from([1.0, *(share / 16 for share in range(2, 16))]),
    fate=st.sampled_from(["refused", "down", *[""] * 6]),
)


class Cut:
    """A body of server-sent events of which only the beginning comes through."""

    def __init__(self, data: bytes) -> None:
        self.info = ResponseInfo("cut", resumes=True)
        self._decoder = ChatStreamDecoder()
        self._left = data

    async def receive(self):
        piece, self._left = self._left[:7], self._left[7:]
        failed = self._decoder.failure is not None
        events = self._decoder.feed(piece) if piece else self._decoder.eof()
        if failed or (self._decoder.failure is not None and not events):
            raise self._decoder.failure
        return events

    def close(self) -> None:
        pass


class Backend:
    """Does with each request what the next plan says; a resumed answer goes on as it would have."""

    name = "cut"

    def __init__(self, given: list[Plan]) -> None:
        self.plans = given
        self.requests = []
        self._answer = ""

    async def __call__(self, request):
        plan = self.plans[min(len(self.requests), len(self.plans) - 1)]
        self.requests.append(request)
        beginning = request.extensions.get("resume_from", "")
        if plan.fate == "down":
            raise ModelUnavailableError(plan.fate)
        if plan.fate == "refused" and beginning:
            raise ModelInvalidRequestError(plan.fate)
        if not beginning:
            self._answer = plan.answer
        assert self._answer.startswith(beginning)
        assert beginning == beginning.rstrip()
        return await commit(Cut(plan.sent(self._answer.removeprefix(beginning))), request)

    async def aclose(self) -> None:
        pass


def predicted(mode: str, retries: int, given_plans: list[Plan]) -> tuple[int, str | None, str]:
    """How many requests are sent; the whole answer, or None; and what the reader has in the end."""
    answer = had = ""
    for number in range(1 + retries):
        plan = given_plans[min(number, len(given_plans) - 1)]
        beginning = had.rstrip() if mode == "resume" else ""
        if plan.fate == "down":
            continue
        if plan.fate == "refused" and beginning:
            mode = "restart"
            continue
        if not beginning:
            answer = plan.answer
        rest = answer.removeprefix(beginning)
        pieces, size, ends = [*plan.pieces(rest), ""], 0, []
        for chunk in plan.events(rest):
            size += len(chunk)
            ends.append(size - 2)  # the empty line after the last event is not missed
        came = sum(len(plan.sent(rest)) >= end for end in ends)
        if came == len(ends):
            return number + 1, answer, answer
        told = "".join(pieces[:came])
        if came and not beginning:
            had = told
        elif told.strip():  # white space is held back at a seam until something follows it
            had = beginning + told
    return 1 + retries, None, had


@settings(max_examples=120, deadline=None)
@given(
    mode=st.sampled_from(["restart", "resume"]),
    retries=st.sampled_from([3, 2, 4, 1, 0]),
    given_plans=st.lists(plans, min_size=1, max_size=5),
)
def test_wherever_streams_are_cut(mode, retries, given_plans) -> None:
    """The reader has one whole answer, or an error and what came of one; no request is sent beyond the retries."""

    async def scenario() -> None:
        backend = Backend(given_plans)
        clock = FakeClock()
        retry = Retry(max_retries=retries, budget=None, clock=clock, rng=random.Random(1))
        pipeline = Pipeline([StreamRecovery(mode), retry], backend, clock=clock)
        seen, error = await read(pipeline, ASK)
        count, answer, had = predicted(mode, retries, given_plans)
        assert (len(backend.requests), text_of(seen)) == (count, had)
        assert (error is None) == (answer is not None)
        if error is not None:
            assert error.attempts == count
            assert not isinstance(error, ModelInvalidRequestError)
            assert (error.partial.text if error.partial else "") == had
        assert not any(isinstance(each, TextDelta) and not each.text for each in seen)
        resumed = sum("resume_from" in request.extensions for request in backend.requests)
        restarted = sum(isinstance(each, Restarted) for each in seen)
        note(f"{mode}: {'failed' if error else 'whole'}, resumed {resumed}, restarted {restarted}")

    run_virtual(scenario())
