"""What an OpenAI-compatible server says, and how tests ask it."""

from __future__ import annotations

from typing import Any

from resilient_llm.models import Request

MESSAGES = [{"role": "user", "content": "Name three rivers."}]
CHAT = Request(messages=MESSAGES, model="m")
STREAM = Request(messages=MESSAGES, model="m", stream=True)


def answer(text: str = "Rhine", **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "chatcmpl-1", "model": "m-2", "choices": [choice], **more}


def delta(text: str, **more: Any) -> dict[str, Any]:
    return {"id": "c1", "model": "m-2", "choices": [{"index": 0, "delta": {"content": text}}], **more}


def stop(reason: str = "stop") -> dict[str, Any]:
    return {"id": "c1", "model": "m-2", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


USAGE = {"id": "c1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}
