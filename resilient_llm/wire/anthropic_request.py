"""Requests in Anthropic's dialect: OpenAI's words where it has others, everything else untouched.

An option that the model would refuse the request for is left out if leaving it out does no harm (sampling, seeds,
penalties): the same call must be good for each backend of a fallback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from resilient_llm.errors import ModelInvalidRequestError

from .anthropic_content import Block, encode_content
from .anthropic_messages import encode_messages
from .anthropic_names import VERSION, takes_both, takes_effort, takes_sampling, thinks
from .anthropic_tools import encode_choice, encode_tools, forces
from .openai_functions import is_legacy
from .openai_request import check_chat, encode_body
from .payload import object_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_llm.models import Request

DEFAULT_MAX_TOKENS: Final = 4096
"""The longest answer, in tokens, where the caller sets no limit: the API demands one, and each model allows this."""
LEAST_BUDGET: Final = 1024
BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 24576, "max": 32768}
"""Tokens to think with, for models that are told a number; never more than half of the caller's `max_tokens`."""
EFFORTS: Final = {"minimal": "low"}
JSON_ONLY: Final = "Answer with a single JSON object and nothing else: no text around it and no code fence."

SAMPLING: Final = ("temperature", "top_p", "top_k")
TRANSLATED: Final = frozenset(
    {"max_tokens", "max_completion_tokens", "stop", "tools", "functions", "tool_choice", "function_call"}
    | {"parallel_tool_calls", "response_format", "reasoning_effort", "user", "safety_identifier", "system"}
    | {"service_tier"}
)
DROPPED: Final = frozenset(
    {"n", "seed", "logit_bias", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty", "store"}
    | {
        "stream_options",
        "prediction",
        "modalities",
        "verbosity",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)
"""Options of OpenAI's that have no counterpart, and whose absence does no harm."""
HANDLED: Final = TRANSLATED | DROPPED
SERVICE_TIERS: Final = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
COUNTED: Final = frozenset(
    {"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control"}
)
"""What the API wants to know to count tokens."""


def chat_body(request: Request, version: str = VERSION) -> dict[str, Any]:
    """The body of a chat request, before it is encoded. The extension `body` is merged last, as it is.

    Args:
        request: What is asked, in OpenAI's shape.
        version: The version of the API.

    Raises:
        ModelInvalidRequestError: There are no messages, more than one choice is asked for, or a message or a tool
            cannot be said in this dialect.
    """
    given = request.params
    check_chat(request.messages, given.get("n"))
    blocks, turns = encode_messages(request.messages)
    body: dict[str, Any] = {"model": request.model} if request.model else {}
    body["messages"] = turns
    body.update((name, value) for name, value in given.items() if name not in HANDLED)
    try:
        blocks = [*encode_content(given.get("system")), *blocks]
        if system := _system(blocks, given.get("response_format")):
            body["system"] = system
        _tools(body, request)
    except ValueError as error:
        msg = f"the request {error}"
        raise ModelInvalidRequestError(msg) from error
    _thinking(body, given, request.model)
    _output(body, given.get("response_format"))
    _names(body, given)
    _sampling(body, request.model, version)
    body["stream"] = request.stream
    body.update(request.extensions.get("body") or {})
    return body


def encode_chat(request: Request, version: str = VERSION) -> bytes:
    """The body of a chat request; see `chat_body`.

    Raises:
        ModelInvalidRequestError: As of `chat_body`; or a parameter cannot be written as JSON: it is named.
    """
    try:
        return encode_body(chat_body(request, version))
    except ModelInvalidRequestError:
        encode_body({"messages": request.messages, **request.params})  # names the culprit as the caller does
        raise


def encode_count(request: Request) -> bytes:
    """The body that asks how many tokens a chat request has.

    Raises:
        ModelInvalidRequestError: As of `encode_chat`.
    """
    body = chat_body(attrs.evolve(request, stream=False))
    return encode_body({name: value for name, value in body.items() if name in COUNTED})


def _system(blocks: list[Block], form: object) -> str | list[Block]:
    """Texts become one; blocks with more than a text (a cache's mark) stay apart."""
    if object_of(form).get("type") == "json_object":
        blocks.append({"type": "text", "text": JSON_ONLY})
    if all(block.keys() == {"type", "text"} for block in blocks):
        return "\n\n".join(block["text"] for block in blocks)
    return blocks


def _tools(body: dict[str, Any], request: Request) -> None:
    given = request.params
    tools = encode_tools(given.get("tools"), given.get("functions"))
    if not tools:
        return
    body["tools"] = tools
    choice = encode_choice(
        given.get("tool_choice") or given.get("function_call"),
        parallel=given.get("parallel_tool_calls"),
        legacy=is_legacy(request),
    )
    if choice is not None:
        body["tool_choice"] = choice


def _thinking(body: dict[str, Any], given: Mapping[str, Any], model: str) -> None:
    """How hard and how long: `reasoning_effort`, and the length that thinking counts towards."""
    length = given.get("max_completion_tokens", given.get("max_tokens"))
    effort = given.get("reasoning_effort")
    if effort is not None:
        _effort(body, effort, length, model)
    spent = object_of(body.get("thinking")).get("budget_tokens")
    if length is None:
        length = DEFAULT_MAX_TOKENS + (spent if isinstance(spent, int) else 0)
    body["max_tokens"] = length


def _effort(body: dict[str, Any], effort: object, length: object, model: str) -> None:
    # thinking and a forced call exclude each other
    told = "thinking" in body or forces(body.get("tool_choice"))
    if takes_effort(model):
        if effort == "none":
            body.setdefault("thinking", {"type": "disabled"})
            return
        body["output_config"] = {
            "effort": EFFORTS.get(str(effort), effort),
            **object_of(body.get("output_config")),
        }
        if not told:
            body["thinking"] = {"type": "adaptive", "display": "summarized"}  # else a stream is long silent
        return
    budget = BUDGETS.get(str(effort), 0)
    if isinstance(length, int):
        budget = min(budget, length // 2)
    if not told and budget >= LEAST_BUDGET and thinks(model):
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _output(body: dict[str, Any], form: object) -> None:
    form = object_of(form)
    if form.get("type") == "json_schema":
        schema = object_of(form.get("json_schema")).get("schema", form.get("schema"))
        body["output_config"] = {
            "format": {"type": "json_schema", "schema": schema},
            **object_of(body.get("output_config")),
        }


def _names(body: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Options that only have another name."""
    stop = given.get("stop")
    if stop:
        body["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    user = given.get("safety_identifier") or given.get("user")
    if user:
        body["metadata"] = {"user_id": user, **object_of(body.get("metadata"))}
    if tier := SERVICE_TIERS.get(str(given.get("service_tier"))):
        body["service_tier"] = tier


def _sampling(body: dict[str, Any], model: str, version: str) -> None:
    """Sampling as far as the model takes it; a model that thinks takes none."""
    if body.keys().isdisjoint(SAMPLING):
        return
    thinks_now = object_of(body.get("thinking")).get("type", "disabled") != "disabled"
    for name in SAMPLING:
        if thinks_now or not takes_sampling(model, version) or body.get(name) is None:
            body.pop(name, None)
    temperature = body.get("temperature")
    if isinstance(temperature, int | float) and temperature > 1:
        body["temperature"] = 1
    if temperature is not None and not takes_both(model):
        body.pop("top_p", None)
