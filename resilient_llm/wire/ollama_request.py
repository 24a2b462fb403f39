"""Requests in Ollama's dialect, made of options in OpenAI's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from resilient_llm.errors import ModelInvalidRequestError

from .ollama_messages import write_messages
from .openai_request import check_chat, encode_body
from .payload import object_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resilient_llm.models import Request

MODEL_OPTIONS: Final = frozenset(
    """
    draft_num_predict f16_kv frequency_penalty logits_all low_vram main_gpu min_p mirostat mirostat_eta mirostat_tau
    numa num_batch num_ctx num_gpu num_keep num_predict num_thread penalize_newline presence_penalty repeat_last_n
    repeat_penalty seed stop temperature tfs_z top_k top_p typical_p use_mlock use_mmap vocab_only
    """.split()  # noqa: SIM905 - a list of thirty quoted strings is no easier to read
)
"""What stands in `options`; Ollama ignores what it does not know there."""

RENAMED: Final = {"max_tokens": "num_predict", "max_completion_tokens": "num_predict"}

TRANSLATED: Final = frozenset(
    {
        "function_call",
        "functions",
        "n",
        "options",
        "parallel_tool_calls",
        "reasoning_effort",
        "response_format",
        "stream_options",
        "tool_choice",
        "tools",
    }
)
"""What is not passed on under its own name. Usage is always told; calls in parallel cannot be forbidden."""

EFFORTS: Final[Mapping[object, object]] = {"none": False, "minimal": "low", "xhigh": "max"}


def encode_chat(request: Request) -> bytes:
    """The body of a chat request.

    Beside what the caller gave it says `truncate` and `shift` false, unless the caller said otherwise: Ollama
    would cut a conversation that is too long without a word. (Versions before 0.12.6 do not know the two.)

    Raises:
        ModelInvalidRequestError: There are no messages, more than one choice is asked for, a message that Ollama
            cannot take, or a parameter that cannot be written as JSON: it is named.
    """
    params = {**request.params, **(request.extensions.get("body") or {})}
    messages = params.pop("messages", request.messages)
    check_chat(messages, params.get("n"))
    body: dict[str, Any] = {"model": request.model} if request.model else {}
    body |= {
        "messages": write_messages(messages),
        "stream": request.stream,
        "truncate": False,
        "shift": False,
    }
    if tools := _tools(params):
        body["tools"] = tools
    if (shape := _format(params.get("response_format"))) is not None:
        body["format"] = shape
    if (effort := params.get("reasoning_effort")) is not None:
        body["think"] = EFFORTS.get(effort, effort)
    body.update(_others(params))
    return encode_body(body)


def encode_embeddings(request: Request) -> bytes:
    """The body of a request for embeddings; with `truncate` false, unless the caller said otherwise.

    Raises:
        ModelInvalidRequestError: There is no input, or a parameter cannot be written as JSON: it is named.
    """
    params = {**request.params, **(request.extensions.get("body") or {})}
    if not params.get("input"):
        msg = "input is empty; embeddings need at least one text"
        raise ModelInvalidRequestError(msg)
    body: dict[str, Any] = {"model": request.model} if request.model else {}
    return encode_body({**body, "truncate": False, **_others(params)})


def _others(params: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that only changes its place: the model's options, and what is passed on as it is."""
    options: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, value in params.items():
        if (option := RENAMED.get(name, name)) in MODEL_OPTIONS:
            options[option] = [value] if option == "stop" and isinstance(value, str) else value
        elif name not in TRANSLATED:
            others[name] = value
    options.update(object_of(params.get("options")))
    return {**others, "options": options} if options else others


def _tools(params: Mapping[str, Any]) -> Sequence[object]:
    """The tools on offer.

    Ollama knows no `tool_choice`: "none" offers no tool, and a named one is offered alone; "required" cannot be
    expressed.
    """
    tools, choice = params.get("tools"), params.get("tool_choice")
    if not tools:
        functions = cast("Sequence[object]", params.get("functions") or ())
        tools = [{"type": "function", "function": function} for function in functions]
        choice = params.get("function_call")
    if choice == "none":
        return ()
    named = object_of(choice)
    name = object_of(named.get("function", choice)).get("name")
    if not name:
        return cast("Sequence[object]", tools)
    chosen = [tool for tool in tools if object_of(object_of(tool).get("function")).get("name") == name]
    if not chosen:
        msg = f"the function {name!r} was chosen, but is not among those on offer"
        raise ModelInvalidRequestError(msg)
    return chosen


def _format(response_format: object) -> object:
    """Ollama's `format`: `"json"`, or the schema itself; None for text."""
    wanted = object_of(response_format)
    schema = object_of(wanted.get("json_schema")).get("schema") or wanted.get("schema")
    if schema:
        return schema
    return "json" if wanted.get("type") in {"json_object", "json_schema"} else None
