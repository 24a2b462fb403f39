"""How backends refuse: the status and the words of each.

Taken from what the backends' sources, documentation and recorded answers say. What a backend has no words for of its
own is said in OpenAI's. `shapes` writes them down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

Backend: TypeAlias = Literal["openai", "anthropic", "ollama", "llamacpp", "lmstudio", "vllm"]
"""Whose words."""

Reason: TypeAlias = Literal[
    "rate_limited",
    "quota_exceeded",
    "overloaded",
    "failed",
    "loading",
    "context_length",
    "content_filtered",
    "unknown_model",
    "unauthorized",
    "malformed",
]
"""Why a backend refuses."""


@attrs.frozen
class Facts:
    """What a refusal may tell of the request.

    Args:
        number: The request's.
        model: The model asked for.
        tokens: Its size.
        asked: The tokens asked for as answer.
        window: The context window.
        detail: What is wrong with it.
    """

    number: int = 0
    model: str = ""
    tokens: int = 0
    asked: int = 0
    window: int = 0
    detail: str = "The request is malformed"

    @property
    def total(self) -> int:
        """The tokens needed."""
        return self.tokens + self.asked

    @property
    def size(self) -> str:
        """The size in OpenAI's words."""
        if not self.asked:
            return f"your messages resulted in {self.tokens} tokens"
        parts = f"{self.tokens} in the messages, {self.asked} in the completion"
        return f"you requested {self.total} tokens ({parts})"

    @property
    def excess(self) -> str:
        """The size in Anthropic's words."""
        if self.tokens > self.window:
            return f"prompt is too long: {self.tokens} tokens > {self.window} maximum"
        return (
            f"input length and `max_tokens` exceed context limit: {self.tokens} + {self.asked} > {self.window}, "
            "decrease input length or `max_tokens` and try again"
        )


@attrs.frozen
class Refusal:
    """A refusal: its status, its message with places for the facts, and the words for machines."""

    status: int
    message: str
    kind: str = ""
    code: str | None = None


_INVALID: Final = "invalid_request_error"

REFUSALS: Final[Mapping[Backend, Mapping[Reason, Refusal]]] = {
    "openai": {
        "rate_limited": Refusal(429, "Rate limit reached for requests", "requests", "rate_limit_exceeded"),
        "quota_exceeded": Refusal(
            429,
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            "insufficient_quota",
        ),
        "overloaded": Refusal(
            503, "The engine is currently overloaded, please try again later", "server_error"
        ),
        "failed": Refusal(500, "The server had an error while processing your request", "server_error"),
        "loading": Refusal(503, "The model {model} is currently loading", "server_error"),
        "context_length": Refusal(
            400,
            "This model's maximum context length is {window} tokens. However, {size}. Please reduce the length of the "
            "messages.",
            _INVALID,
            "context_length_exceeded",
        ),
        "content_filtered": Refusal(
            400,
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
            _INVALID,
            "invalid_prompt",
        ),
        "unknown_model": Refusal(
            404,
            "The model `{model}` does not exist or you do not have access to it.",
            _INVALID,
            "model_not_found",
        ),
        "unauthorized": Refusal(401, "Incorrect API key provided", _INVALID, "invalid_api_key"),
        "malformed": Refusal(400, "{detail}", _INVALID),
    },
    "anthropic": {
        "rate_limited": Refusal(
            429,
            "This request would exceed your account's rate limit. Please try again later.",
            "rate_limit_error",
        ),
        "quota_exceeded": Refusal(
            400,
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
            "purchase credits.",
            _INVALID,
        ),
        "overloaded": Refusal(529, "Overloaded", "overloaded_error"),
        "failed": Refusal(500, "Internal server error", "api_error"),
        "context_length": Refusal(400, "{excess}", _INVALID),
        "content_filtered": Refusal(400, "Output blocked by content filtering policy", _INVALID),
        "unknown_model": Refusal(404, "model: {model}", "not_found_error"),
        "unauthorized": Refusal(401, "invalid x-api-key", "authentication_error"),
        "malformed": Refusal(400, "{detail}", _INVALID),
    },
    "ollama": {
        "rate_limited": Refusal(
            429, "you've reached your hourly usage limit, please wait or upgrade to continue"
        ),
        "overloaded": Refusal(503, "server busy, please try again.  maximum pending requests exceeded"),
        "failed": Refusal(500, "an error was encountered while running the model: unexpected EOF"),
        "loading": Refusal(500, "unexpected server status: llm server loading model"),
        "context_length": Refusal(400, "the input length exceeds the context length"),
        "unknown_model": Refusal(404, "model '{model}' not found"),
        "unauthorized": Refusal(401, "unauthorized"),
    },
    "llamacpp": {
        "overloaded": Refusal(503, "no slot available", "unavailable_error"),
        "loading": Refusal(503, "Loading model", "unavailable_error"),
        "failed": Refusal(500, "Compute error.", "server_error"),
        "context_length": Refusal(
            400,
            "request ({tokens} tokens) exceeds the available context size ({window} tokens), try increasing it",
            "exceed_context_size_error",
        ),
        "unauthorized": Refusal(401, "Invalid API Key", "authentication_error"),
    },
    "lmstudio": {
        "failed": Refusal(400, "The model has crashed without additional information. (Exit code: null)"),
        "context_length": Refusal(
            400,
            "The number of tokens to keep from the initial prompt is greater than the context length "
            "(n_keep: {tokens}>= n_ctx: {window}). Try to load the model with a larger context length, or provide a "
            "shorter input.",
        ),
        "unknown_model": Refusal(
            404,
            "No models loaded. Please load a model in the developer page or use the 'lms load' command.",
        ),
    },
    "vllm": {
        "context_length": Refusal(
            400,
            "This model's maximum context length is {window} tokens. However, {size}. Please reduce the length of the "
            "messages or completion.",
            "BadRequestError",
        ),
        "failed": Refusal(
            500,
            "EngineCore encountered an issue. See stack trace (above) for the root cause.",
            "InternalServerError",
        ),
        "unknown_model": Refusal(404, "The model `{model}` does not exist.", "NotFoundError"),
        "malformed": Refusal(400, "{detail}", "BadRequestError"),
    },
}


def status_of(reason: Reason) -> int:
    """The status with which OpenAI refuses for a reason."""
    return REFUSALS["openai"][reason].status
