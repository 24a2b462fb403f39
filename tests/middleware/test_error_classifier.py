"""ErrorClassifier: what the transport raises becomes a typed error that keeps the backend's answer."""

from __future__ import annotations

import copy
import pickle

import pytest

import resilient_llm as rl
from resilient_llm.events import TextDelta
from resilient_llm.testing import FaultServer, ScriptedTransport, Status, run_virtual

ASK = rl.Request(messages=({"role": "user", "content": "Hello"},))
LIMITED = rl.BackendFailure(429, {"retry-after": "7"}, '{"error": {"message": "a secret prompt"}}')
KEY = "sk-0123456789abcdef0123"


def failure(transport: ScriptedTransport, *, stream: bool = False) -> rl.LLMError:
    async def scenario() -> rl.LLMError:
        pipeline = rl.Pipeline([rl.ErrorClassifier(backend="openai")], transport)
        request = rl.Request(messages=ASK.messages, model="m", stream=stream)
        with pytest.raises(rl.LLMError) as caught:
            await (await pipeline(request)).completion()
        return caught.value

    return run_virtual(scenario())


def test_a_refusal_is_typed_and_keeps_the_answer() -> None:
    """The error says what happened, where, and has status, headers and bytes for those who know the dialect."""
    error = failure(ScriptedTransport(LIMITED))
    assert (error.code, error.backend, error.model, error.retry_after) == (
        "MODEL_RATE_LIMITED",
        "openai",
        "m",
        7,
    )
    assert error.__cause__ is LIMITED
    assert error.answer == rl.BackendAnswer(429, {"retry-after": "7"}, LIMITED.body.encode())


def test_so_is_a_failure_in_the_middle_of_a_stream() -> None:
    """What the stream told of its failure is the answer then."""
    broken = rl.BackendFailure(200, {"x-request-id": "r"}, b'{"error": {"code": 429}}', surface="stream")
    error = failure(ScriptedTransport([TextDelta("a"), broken]), stream=True)
    assert error.code == "MODEL_RATE_LIMITED"
    assert error.answer == rl.BackendAnswer(200, {"x-request-id": "r"}, b'{"error": {"code": 429}}')


def test_without_an_answer_there_is_none() -> None:
    """A connection that failed, and an error of one's own, have none."""
    assert failure(ScriptedTransport(ConnectionResetError("reset"))).answer is None
    assert failure(ScriptedTransport(rl.ModelOverloadedError("busy"))).answer is None


def test_the_answer_travels_and_is_not_shown() -> None:
    """It is copied and pickled with its error; its text shows neither headers nor body."""
    error = failure(ScriptedTransport(LIMITED))
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert twin.answer == error.answer
    assert repr(error.answer) == "BackendAnswer(status=429)"


async def test_our_own_key_is_hidden_in_the_answer() -> None:
    """A backend that quotes the key does not get it into the error, whatever reads it."""
    async with (
        FaultServer([Status(status=401, body=f'{{"error": "wrong key {KEY}"}}')]) as server,
        rl.AsyncClient("openai-compatible", base_url=server.base_url, model="m", api_key=KEY) as llm,
    ):
        with pytest.raises(rl.ModelAuthError) as caught:
            await llm.complete("Hello")
    answer = caught.value.answer
    assert answer is not None
    assert (answer.status, answer.headers["content-type"]) == (401, "application/json")
    assert b"wrong key" in answer.body
    assert KEY.encode() not in answer.body


def test_an_error_that_was_raised_before_does_not_become_its_own_cause() -> None:
    """A wrapped client's exception was caused by the error that it carries: the chain stays one that ends."""
    inner = rl.CircuitOpenError("open", retry_after=3)
    exc = RuntimeError("the client's own")
    try:
        try:
            raise inner
        except rl.LLMError as error:
            raise exc from error
    except RuntimeError:
        pass
    error = failure(ScriptedTransport(exc))
    assert (type(error), error.retry_after) == (rl.CircuitOpenError, 3)
    assert error.__cause__ is exc
    assert exc.__cause__ is inner is not error
    assert inner.__cause__ is None
