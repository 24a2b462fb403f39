"""Providers: a backend by name and a table of parameters, for code that picks its model from a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeAlias

import attrs

from .errors import ModelInvalidRequestError
from .settings.clients import transport_for
from .settings.kinds import (
    ADDRESS,
    BOOLEAN,
    COUNT,
    PATH,
    PROVIDERS,
    SECONDS,
    TEMPERATURE,
    TEXT,
    Kind,
    harmless,
)
from .settings.table import Settings
from .stages import StackOptions
from .sync import Client

if TYPE_CHECKING:
    from types import TracebackType

    from .models import Message

DEADLINE: Final = 600.0
STAND_IN: Final = "local_model"
"""What LM Studio's users write for "whichever model is loaded"."""


def _key(value: object) -> object:
    if not (isinstance(value, str) or callable(value)):
        raise TypeError
    return value


def _mapping(value: object) -> object:
    if not isinstance(value, Mapping):
        raise TypeError
    return value


KINDS: Final[Mapping[str, Kind]] = {
    "api_base": ADDRESS,
    "base_url": ADDRESS,
    "model": TEXT,
    "api_key": Kind("a text or a function that gives one", _key),
    "max_tokens": COUNT,
    "temperature": TEMPERATURE,
    "timeout": SECONDS,
    "auto_select_model": BOOLEAN,
    "headers": Kind("a mapping", _mapping),
    "query": Kind("a mapping", _mapping),
    "model_path": PATH,
}
"""The parameters of the providers here, besides the options of `standard_stack`."""
HIDDEN: Final = frozenset({"api_key", "headers", "query"})
DEFAULTS: Final[Mapping[str, Mapping[str, object]]] = {"lmstudio": {"max_tokens": 1024}}


def _own(parameters: Mapping[str, object]) -> dict[str, object]:
    return dict(parameters)


def _harmless(parameters: Mapping[str, object]) -> str:
    shown = KINDS.keys() - HIDDEN
    told = (f"{name!r}: {harmless(value) if name in shown else '...'}" for name, value in parameters.items())
    return f"{{{', '.join(told)}}}"


@attrs.frozen
class LLMProviderConfig:
    """Which provider, and how it is set up; its `repr` shows no key.

    Args:
        provider_type: The provider's name, such as `"lmstudio"`.
        parameters: See `LLMBackendAdapter.create_provider`.
    """

    provider_type: str
    parameters: Mapping[str, object] = attrs.field(factory=dict, converter=_own, repr=_harmless)


class LLMProvider(Protocol):
    """What answers prompts, and blocks until it has."""

    def generate(self, prompt: str, **options: object) -> str:
        """The answer's text to a prompt."""
        ...

    def generate_with_context(self, prompt: str, context: Sequence[Message], **options: object) -> str:
        """The answer's text to a prompt that follows a conversation."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...

    def __enter__(self) -> Self:
        """The provider itself."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        """Close it."""
        ...


ProviderFactory: TypeAlias = Callable[[Mapping[str, Any]], LLMProvider]
"""Makes a provider of its parameters."""


@attrs.frozen
class ClientProvider:
    """A provider by a `Client`, which can be used for all else: streams, tools, embeddings.

    Args:
        name: The provider's name.
        client: The client.
    """

    name: str
    client: Client

    def generate(self, prompt: str, **options: object) -> str:
        """The answer's text to a prompt; the options are those of `Client.complete`."""
        return self.client.generate(prompt, **options)

    def generate_with_context(self, prompt: str, context: Sequence[Message], **options: object) -> str:
        """The answer's text to a prompt that follows a conversation."""
        return self.client.generate_with_context(prompt, context, **options)

    def close(self) -> None:
        """Close the client."""
        self.client.close()

    def __enter__(self) -> Self:
        """The provider itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


class LLMBackendAdapter:
    """Makes providers by name: those of this package, and any that were registered with it."""

    def __init__(self) -> None:
        self._factories: dict[str, ProviderFactory] = {}

    def register(self, name: str, factory: ProviderFactory) -> None:
        """Have `name` stand for a provider of one's own; one of this package's gives way."""
        self._factories[name] = factory

    def create_provider(
        self, provider: str | LLMProviderConfig, parameters: Mapping[str, object] | None = None
    ) -> LLMProvider:
        """A provider.

        Args:
            provider: A name, or a config, which brings its parameters along.
            parameters: `api_base`, `model`, `api_key`, `headers`, `query`: where and what; `max_tokens` (LM
                Studio: 1024) and `temperature`, for calls that do not say; `timeout`, the seconds that an attempt
                has for its answer, of a stream for its first token; `auto_select_model` (True), whether a loaded
                model is taken where none is named; `model_path`, of the offline provider; and the options of
                `standard_stack`. None counts as not given.

        Raises:
            ModelInvalidRequestError: An unknown provider, or parameters that it does not take; all are named.
            LLMError: The backend cannot be used so, for want of a key for example.
        """
        if isinstance(provider, LLMProviderConfig):
            if parameters is not None:
                msg = "a config brings its parameters along: give it or a name and parameters, not both"
                raise TypeError(msg)
            parameters = provider.parameters
            provider = provider.provider_type
        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        factory = self._factories.get(provider)
        if factory is not None:
            return factory(given)
        if provider not in PROVIDERS:
            known = ", ".join(sorted({*PROVIDERS, *self._factories}))
            msg = f"unknown provider {provider!r}; known are {known}"
            raise ModelInvalidRequestError(msg)
        _check(provider, given)
        return ClientProvider(provider, _client(provider, {**DEFAULTS.get(provider, {}), **given}))


def _check(provider: str, given: Mapping[str, object]) -> None:
    problems = []
    for name, value in given.items():
        if name in KINDS:
            try:
                KINDS[name].check(value)
            except (TypeError, ValueError):
                shown = type(value).__name__ if name in HIDDEN else harmless(value)
                problems.append(f"{name} must be {KINDS[name].accepted}, not {shown}")
        elif name not in StackOptions.__annotations__:
            problems.append(f"unknown parameter {name!r}, known are {', '.join(KINDS)}")
    if provider == "openai-compatible" and not (given.get("api_base") or given.get("base_url")):
        problems.append("api_base is missing")
    if problems:
        msg = f"{provider} cannot be set up: {'; '.join(problems)}"
        raise ModelInvalidRequestError(msg, backend=provider)


def _client(provider: str, given: Mapping[str, Any]) -> Client:
    model, selects = given.get("model", ""), given.get("auto_select_model", True)
    if provider == "lmstudio" and selects and model == STAND_IN:
        model = ""
    settings = Settings(
        llm_provider=provider,
        llm_api_base=given.get("api_base") or given.get("base_url") or "",
        llm_model=model or ("" if selects or provider != "lmstudio" else STAND_IN),
        llm_auto_select_model=selects,
        offline_model_path=given.get("model_path", ""),
    )
    transport = transport_for(settings, {name: given.get(name) for name in HIDDEN})
    options: Any = {name: value for name, value in given.items() if name not in KINDS}
    if "timeout" in given:
        seconds = given["timeout"]
        limits = {
            "first_token_timeout": seconds,
            "attempt_timeout": seconds,
            "deadline": max(seconds, DEADLINE),
        }
        options = {**limits, **options}
    defaults = {name: given[name] for name in ("max_tokens", "temperature") if name in given}
    return Client(transport=transport, model=settings.llm_model, defaults=defaults, **options)
