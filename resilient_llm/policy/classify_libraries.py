"""Whose exception it is: that of a library which calls models, or of the program that uses one."""

from __future__ import annotations

from typing import Final

from resilient_llm.errors import BackendFailure, LLMError

LIBRARIES: Final = frozenset(
    """
    aiohttp anthropic azure.ai azure.core botocore cerebras.cloud cohere fireworks google.api_core google.auth
    google.genai google.generativeai groq httpcore httpcore2 httpx httpx2 huggingface_hub litellm mistralai ollama
    openai replicate requests together urllib3 websockets
    http.client urllib.error socket ssl
    """.split()  # noqa: SIM905 - a list of quoted strings is no easier to read
)
"""Clients of HTTP and of models, by the package that defines their exceptions; the last row is Python's own."""

GENERATED: Final = ("APIError", ("request", "body", "message"))
"""The root of an SDK that was generated as OpenAI's and Anthropic's were, and what its objects have."""


def is_known(exc: BaseException) -> bool:
    """Is this one of our own errors, or of a library which calls models, or derived from one of theirs?

    Python's own `ConnectionError` and `TimeoutError` are; what a program raises on its own account is not, even if it
    was caused by one that is.

    Args:
        exc: What was raised.
    """
    if isinstance(exc, LLMError | BackendFailure | ConnectionError | TimeoutError):
        return True
    return any(_belongs(kind.__module__) or _is_generated(kind, exc) for kind in type(exc).__mro__)


def _belongs(module: str) -> bool:
    parts = module.split(".")
    return parts[0] in LIBRARIES or ".".join(parts[:2]) in LIBRARIES


def _is_generated(kind: type, exc: BaseException) -> bool:
    name, attributes = GENERATED
    return kind.__name__ == name and all(attribute in vars(exc) for attribute in attributes)
