"""From OpenAI's messages to Anthropic's turns.

The rules of this file, which are the API's:

- System messages stand apart, wherever they stood. User and assistant alternate, neighbours of one role are one
  turn, and a user begins.
- A call's result stands in the next turn, before any text. Ids of calls are made of letters, digits, `_` and `-`, and
  no two calls of a conversation share one; other backends count from 0 in each answer.
- What OpenAI's shape cannot say of an assistant's answer (signed thoughts, searches of the server, citations, and
  the order of them all) rides on its message as `anthropic_content` and goes back as it came, as long as the text
  and the calls beside it are still those of the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from resilient_llm.errors import ModelInvalidRequestError

from .anthropic_content import Block, as_list, as_mapping, encode_content, text_block
from .messages import ANTHROPIC_CONTENT
from .payload import Object, object_of, objects_of, text_of

OPENING: Final = "Begin."
"""What is put before a conversation that no user begins."""

NO_ID: Final = re.compile(r"[^a-zA-Z0-9_-]")

_validate = msgspec.json.Decoder().decode


def encode_messages(messages: object) -> tuple[list[Block], list[Block]]:
    """The system's blocks, and the turns.

    Raises:
        ModelInvalidRequestError: A message has a role or content that cannot be said here; its place is named.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        msg = f"messages must be a list of messages, not {type(messages).__name__}"
        raise ModelInvalidRequestError(msg)
    system: list[Block] = []
    turns = _Turns()
    for place, message in enumerate(messages):
        try:
            _encode(as_mapping(message, "a message"), system, turns)
        except ValueError as error:
            msg = f"messages[{place}] {error}"
            raise ModelInvalidRequestError(msg) from error
    return system, turns.finished()


def _encode(message: Object, system: list[Block], turns: _Turns) -> None:
    match message.get("role"):
        case "system" | "developer":
            system += _marked(encode_content(message.get("content")), message)
        case "user":
            turns.add("user", _marked(encode_content(message.get("content")), message))
        case "assistant":
            turns.add("assistant", _marked(_said(message, turns.ids), message))
        case "tool" | "function" as role:
            key = f"function:{message.get('name')}" if role == "function" else message.get("tool_call_id")
            turns.add("user", _marked([_result(message, turns.ids.of_result(key))], message))
        case role:
            msg = f"has the role {role!r}; accepted are system, developer, user, assistant, tool, function"
            raise ValueError(msg)


def _marked(blocks: list[Block], message: Object) -> list[Block]:
    """With the cache's mark, which may stand on the message, on the last block."""
    if blocks and message.get("cache_control"):
        blocks[-1] = {**blocks[-1], "cache_control": message["cache_control"]}
    return blocks


class _CallIds:
    """Ids of calls as the API takes them, and which call a result belongs to."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}
        self._latest: dict[str, str] = {}

    def of_call(self, given: object) -> str:
        key = text_of(given) or ""
        base = NO_ID.sub("_", key) or "call"
        identity, count = base, self._used.get(base, 0)
        while identity in self._used:
            count += 1
            identity = f"{base}_{count}"
        self._used[base] = max(count, 1)
        self._used.setdefault(identity, 1)
        self._latest[key] = identity
        return identity

    def of_result(self, given: object) -> str:
        key = text_of(given) or ""
        return self._latest.get(key) or NO_ID.sub("_", key) or "call"


class _Turns:
    """The turns so far."""

    def __init__(self) -> None:
        self.ids = _CallIds()
        self._turns: list[tuple[str, list[Block]]] = []

    def add(self, role: str, blocks: list[Block]) -> None:
        if self._turns and self._turns[-1][0] == role:
            self._turns[-1][1].extend(blocks)
        elif blocks:
            self._turns.append((role, list(blocks)))

    def finished(self) -> list[Block]:
        turns = self._turns
        if turns and turns[-1][0] == "assistant":
            _trim(turns[-1][1])
        if not turns or turns[0][0] != "user":
            turns.insert(0, ("user", text_block(OPENING)))
        return [_turn(role, blocks) for role, blocks in turns]


def _trim(blocks: list[Block]) -> None:
    """An answer to be gone on with must not end in white space."""
    if blocks[-1].get("type") == "text":
        blocks[-1] = {**blocks[-1], "text": str(blocks[-1].get("text")).rstrip()}


def _turn(role: str, blocks: list[Block]) -> Block:
    if role == "user":
        blocks.sort(key=lambda block: block.get("type") != "tool_result")
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return {"role": role, "content": blocks[0]["text"]}
    return {"role": role, "content": blocks}


def _result(message: Object, identity: str) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": identity}
    content = message.get("content")
    blocks = encode_content(content)
    if blocks:
        block["content"] = content if isinstance(content, str) else blocks
    if message.get("is_error"):
        block["is_error"] = True
    return block


# What the assistant said ...


def _said(message: Object, ids: _CallIds) -> list[Block]:
    blocks = encode_content(message.get("content")) or text_block(text_of(message.get("refusal")) or "")
    calls = _calls(message, ids)
    kept = [block for block in objects_of(message.get(ANTHROPIC_CONTENT)) if _holds_something(block)]
    uses = [block for block in kept if block.get("type") == "tool_use"]
    if kept and len(uses) == len(calls) and _joined(kept) == _joined(blocks):
        rest = iter(calls)
        return [{**block, **(next(rest) if block.get("type") == "tool_use" else {})} for block in kept]
    return blocks + calls


def _holds_something(block: Object) -> bool:
    """Answers may hold empty texts, which are refused when they are sent back."""
    return block.get("type") != "text" or bool(str(block.get("text") or "").strip())


def _joined(blocks: Sequence[Mapping[str, Any]]) -> str:
    return "".join(str(block.get("text")) for block in blocks if block.get("type") == "text")


def _calls(message: Object, ids: _CallIds) -> list[Block]:
    legacy = message.get("function_call")
    if legacy and not message.get("tool_calls"):
        function = as_mapping(legacy, "a function call")
        return [_use(ids.of_call(f"function:{function.get('name')}"), function)]
    blocks = []
    for entry in as_list(message.get("tool_calls"), "tool calls"):
        call = as_mapping(entry, "a tool call")
        blocks.append(_use(ids.of_call(call.get("id")), object_of(call.get("function"))))
    return blocks


def _use(identity: str, function: Object) -> Block:
    return {
        "type": "tool_use",
        "id": identity,
        "name": function.get("name"),
        "input": _input(function.get("arguments")),
    }


def _input(arguments: object) -> object:
    """A call's arguments as the object that the API wants; what is none goes into one, for the model to see."""
    if not arguments:
        return {}
    if not isinstance(arguments, str):
        return arguments
    if arguments.lstrip()[:1] == "{":
        try:
            _validate(arguments)
            return msgspec.Raw(arguments.encode())
        except (ValueError, RecursionError):
            pass
    return {"arguments": arguments}
