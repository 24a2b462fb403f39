"""The standard stack, and the backends by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack

from . import transports
from .errors import ModelInvalidRequestError
from .middleware import Deadline, Logging, StreamRecovery
from .middleware.sharing import Sharing
from .stages import StackOptions, passed_on, target_stages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .fallback import Fallback
    from .pipeline import Middleware, Transport
    from .request import Recovery
    from .targets import SDKClient, Target


def standard_stack(*, backend: str | None = None, **options: Unpack[StackOptions]) -> list[Middleware]:
    """The stages that a call should pass, outermost first; a plain list, to be edited like one.

    Sharing if there is a state, Telemetry if asked for, Logging, Deadline, StreamRecovery (for `recovery="replay"`
    StreamReplay), Fallback if there are targets for it, then `target_stages`: Cache and Coalesce if there are any,
    TokenBudget, Retry, breaker.peek, RateLimit, ConcurrencyLimit if asked for, CircuitBreaker, AttemptTimeout,
    ErrorClassifier.

    Args:
        backend: The transport's name, for errors.
        options: See `StackOptions`.

    Raises:
        TypeError: An option that does not exist.
        ValueError: A value out of range.
    """
    stages = target_stages(backend=backend, **options)
    clock = passed_on(options, "clock")
    state = options.get("state")
    stack: list[Middleware] = [] if state is None else [Sharing(state)]
    if telemetry := options.get("telemetry"):
        stack.append(_telemetry(**clock) if telemetry is True else telemetry)
    stack += [
        Logging(**clock),
        Deadline(**clock, **passed_on(options, seconds="deadline")),
        _recovery(options.get("recovery", "raise")),
    ]
    if targets := options.get("fallback"):
        stack.append(_fallback(targets, backend, options))
    return [*stack, *stages]


def _recovery(mode: Recovery | Literal["replay"]) -> Middleware:
    if mode != "replay":
        return StreamRecovery(mode)
    from .integrations.replaying import StreamReplay  # noqa: PLC0415 - only wrapped clients have bytes to compare

    return StreamReplay()


def _telemetry(**options: Any) -> Middleware:
    from .middleware.telemetry import Telemetry  # noqa: PLC0415 - an extra

    return Telemetry(**options)


def _fallback(
    given: Sequence[Target | Transport | SDKClient] | Fallback, backend: str | None, options: StackOptions
) -> Fallback:
    from .fallback import Fallback  # noqa: PLC0415 - many have a single backend

    fallback = given if isinstance(given, Fallback) else Fallback(given, backend=backend, **options)
    for target in fallback.targets:
        if not callable(target.transport):
            kind = type(target.transport).__name__
            msg = f"a {kind} is a target for `wrap` alone; here give a transport, such as OpenAITransport()"
            raise TypeError(msg)
    return fallback.behind(backend)


AUTO = "auto"

BACKENDS: Mapping[str, str] = {
    "anthropic": "AnthropicTransport",
    AUTO: "AutomaticTransport",
    "llamacpp": "LlamaCppTransport",
    "llamafile": "LlamafileTransport",
    "lmstudio": "LMStudioTransport",
    "offline": "OfflineTransport",
    "ollama": "OllamaTransport",
    "openai": "OpenAITransport",
    "openai-compatible": "OpenAICompatibleTransport",
}
"""The backends that `AsyncClient` knows by name, and the transport of each."""


def create_transport(backend: str, **options: Any) -> Transport:
    """A transport by its backend's name; options that are None are left to the transport.

    `auto` with an address is whatever OpenAI-compatible server is there.

    Raises:
        ModelInvalidRequestError: An unknown name; the message lists the known ones.
        TypeError: A backend that has no usual address, and no `base_url`.
    """
    if backend == AUTO and options.get("base_url"):
        backend = "openai-compatible"
    try:
        factory: Callable[..., Transport] = getattr(transports, BACKENDS[backend])
    except (KeyError, TypeError):
        msg = f"unknown backend {backend!r}; known are {', '.join(sorted(BACKENDS))}"
        raise ModelInvalidRequestError(msg) from None
    if backend == "openai-compatible" and not options.get("base_url"):
        msg = 'say where it is: AsyncClient("openai-compatible", base_url="http://localhost:8000/v1")'
        raise TypeError(msg)
    options["name"] = backend
    return factory(**{key: value for key, value in options.items() if value is not None})
