"""A call in the words of OpenTelemetry's semantic conventions for generative AI; names and shapes, no OpenTelemetry.

https://opentelemetry.io/docs/specs/semconv/gen-ai/ (attributes of spans and metrics, messages as JSON).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from .payload import object_of, objects_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_llm.models import Completion, Message, Request, Usage

ERROR_TYPE: Final = "error.type"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OPERATION: Final = "gen_ai.operation.name"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
STATUS_CODE: Final = "http.response.status_code"
KIND_OF_TOKEN: Final = "gen_ai.token.type"  # noqa: S105 - no password
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"

OF_METRICS: Final = frozenset({OPERATION, PROVIDER, REQUEST_MODEL})
"""What is known of a call from its start and told with its metrics."""

OPERATIONS: Final = {"embed": "embeddings"}
"""Our operations where the conventions have another word."""

NUMBERS: Final = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "max_output_tokens": "gen_ai.request.max_tokens",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
    "n": "gen_ai.request.choice.count",
    "dimensions": "gen_ai.embeddings.dimension.count",
}
"""Parameters that are numbers, and their attributes."""

USAGE: Final = {
    "prompt_tokens": INPUT_TOKENS,
    "completion_tokens": OUTPUT_TOKENS,
    "cached_tokens": "gen_ai.usage.cache_read.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
}


def operation_of(request: Request) -> str:
    """The operation's name in the conventions, or ours where they have none."""
    return OPERATIONS.get(request.operation, request.operation)


def request_attributes(request: Request) -> dict[str, Any]:
    """What is asked for, without a word of the conversation."""
    found: dict[str, Any] = {OPERATION: operation_of(request)}
    if request.model:
        found[REQUEST_MODEL] = request.model
    if request.stream:
        found["gen_ai.request.stream"] = True
    params = request.params
    for name, attribute in NUMBERS.items():
        value = params.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[attribute] = value
    stop = params.get("stop")
    stops = [stop] if isinstance(stop, str) else stop
    if isinstance(stops, list | tuple) and stops and all(isinstance(item, str) for item in stops):
        found["gen_ai.request.stop_sequences"] = list(stops)
    if params.get("response_format"):
        found["gen_ai.output.type"] = "json"
    return found


def usage_attributes(usage: Usage) -> dict[str, int]:
    """The tokens, as far as they were told."""
    told = {attribute: getattr(usage, name) for name, attribute in USAGE.items()}
    return {attribute: value for attribute, value in told.items() if value is not None}


def input_messages(messages: Sequence[Message]) -> str:
    """A conversation as JSON; images and other media by their kind and address only, never their bytes."""
    return _json([{"role": str(message.get("role")), "parts": _parts(message)} for message in messages])


def output_messages(answer: Completion) -> str:
    """An answer as JSON."""
    parts: list[dict[str, object]] = []
    if answer.reasoning:
        parts.append({"type": "reasoning", "content": answer.reasoning})
    if answer.text:
        parts.append({"type": "text", "content": answer.text})
    parts += [_call(call.id, call.name, call.arguments) for call in answer.tool_calls]
    if answer.function_call is not None:
        parts.append(_call(None, answer.function_call.name, answer.function_call.arguments))
    return _json(
        [{"role": "assistant", "parts": parts, "finish_reason": answer.finish_reason or "incomplete"}]
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _parts(message: Message) -> list[dict[str, object]]:
    content = message.get("content")
    if isinstance(content, list | tuple):
        content = [_part(part) for part in content if isinstance(part, Mapping)]
    if message.get("role") in {"tool", "function"}:
        return [{"type": "tool_call_response", "id": message.get("tool_call_id"), "response": content}]
    parts = content if isinstance(content, list) else []
    if isinstance(content, str):
        parts.append({"type": "text", "content": content})
    for call in objects_of(message.get("tool_calls")):
        function = object_of(call.get("function"))
        parts.append(_call(call.get("id"), function.get("name"), function.get("arguments")))
    return parts


def _part(part: Mapping[str, Any]) -> dict[str, object]:
    kind = str(part.get("type"))
    if kind == "text":
        return {"type": "text", "content": part.get("text")}
    if kind == "image_url":
        image = part.get("image_url")
        url = str(image.get("url") if isinstance(image, Mapping) else image)
        if url.startswith("data:"):
            return {"type": "blob", "modality": "image", "mime_type": url[5:].partition(";")[0]}
        return {"type": "uri", "modality": "image", "uri": url}
    return {"type": kind}


def _call(id_: object, name: object, arguments: object) -> dict[str, object]:
    return {"type": "tool_call", "id": id_, "name": name, "arguments": arguments}
