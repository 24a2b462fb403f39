"""What a function's arguments tell the stages: conversation, model, and what else takes room in the prompt."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_llm.models import Message, Request

MESSAGES: Final = "messages"
MODEL: Final = "model"
SIZES: Final = (
    "max_tokens",
    "max_completion_tokens",
    "tools",
    "functions",
    "response_format",
    "system",
    "output_config",
)
"""Arguments that tell how much room the prompt has, named as the APIs name them."""


@attrs.frozen
class Parameter:
    """One that is read: its place among the positional ones, if it has one, and its default."""

    place: int | None = None
    default: Any = None


class Parameters:
    """Those of a function that the stages read, by their names; of `**kwargs` all that could be in it.

    Args:
        function: Whatever can be called; one that hides its signature is taken for `(*args, **kwargs)`.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._known = _read(function)

    def values(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments that are read, by name; None is as good as not given."""
        found = {}
        for name, parameter in self._known.items():
            place = parameter.place
            if name in kwargs:
                value = kwargs[name]
            elif place is not None and place < len(args):
                value = args[place]
            else:
                value = parameter.default
            if value is not None:
                found[name] = value
        return found

    def replaced(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], changes: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with some of them changed; what the caller gave is left alone."""
        places = list(args)
        named = dict(kwargs)
        for name, value in changes.items():
            place = self._known[name].place
            if name not in kwargs and place is not None and place < len(args):
                places[place] = value
            else:
                named[name] = value
        return tuple(places), named


@attrs.frozen
class Arguments:
    """The arguments of one call, as they were given and as the stages see them."""

    parameters: Parameters
    args: tuple[Any, ...] = attrs.field(repr=False)
    kwargs: dict[str, Any] = attrs.field(repr=False)
    told: Mapping[str, Any] = attrs.field(repr=False)

    @classmethod
    def of(cls, parameters: Parameters, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Look at a call's arguments."""
        return cls(parameters, args, kwargs, parameters.values(args, kwargs))

    @property
    def messages(self) -> Sequence[Message]:
        """The conversation; empty if there is none in OpenAI's or Anthropic's shape."""
        given = self.told.get(MESSAGES)
        return given if _is_conversation(given) else ()

    @property
    def model(self) -> str:
        """The model's name; empty if no argument says it."""
        given = self.told.get(MODEL)
        return given if isinstance(given, str) else ""

    @property
    def params(self) -> dict[str, Any]:
        """What else takes room; only what can be counted."""
        told = self.told
        return {name: told[name] for name in SIZES if name in told and _is_plain(told[name])}

    def sent(self, request: Request) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments as the stages want them: with messages or model that they changed."""
        changes: dict[str, Any] = {}
        if request.messages and request.messages is not self.told.get(MESSAGES):
            changes[MESSAGES] = list(request.messages)
        if MODEL in self.told and request.model != self.told[MODEL] and self.model:
            changes[MODEL] = request.model
        return (
            self.parameters.replaced(self.args, self.kwargs, changes) if changes else (self.args, self.kwargs)
        )


def _read(function: Callable[..., Any]) -> dict[str, Parameter]:
    wanted = (MESSAGES, MODEL, *SIZES)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return dict.fromkeys(wanted, Parameter())
    known: dict[str, Parameter] = {}
    for place, parameter in enumerate(parameters):
        if parameter.kind is parameter.VAR_KEYWORD:
            known = {name: Parameter() for name in wanted} | known
        elif parameter.name in wanted and parameter.kind is not parameter.VAR_POSITIONAL:
            default = None if parameter.default is parameter.empty else parameter.default
            known[parameter.name] = Parameter(
                None if parameter.kind is parameter.KEYWORD_ONLY else place, default
            )
    return known


def _is_conversation(value: object) -> TypeGuard[Sequence[Message]]:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str | bytes)
        and all(isinstance(message, Mapping) and isinstance(message.get("role"), str) for message in value)
    )


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(item, Mapping) for item in value)
    return isinstance(value, int | str | Mapping)
