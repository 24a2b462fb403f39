"""Where settings come from: each source finds a setting's value, and says where it stood."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import attrs

from .table import SETTINGS, Setting, Settings

if TYPE_CHECKING:
    from .kinds import Kind

Source: TypeAlias = Mapping[str, Any] | Callable[[str], object] | Settings
"""An application's own configuration: a mapping, a function from a key to its value (or None), or `Settings`."""


@attrs.frozen
class Found:
    """A value that somebody set.

    Args:
        value: As it stood there.
        origin: Where, for messages.
        kind: What is accepted there.
        text: May it be a text that stands for something else?
    """

    value: object
    origin: str
    kind: Kind
    text: bool = True

    def read(self) -> object:
        """The value, checked."""
        return self.kind.read(self.value, self.origin, text=self.text)


class Layer(Protocol):
    """One source, of whatever make."""

    def find(self, setting: Setting, provider: str) -> Found | None:
        """What the source says about a setting, given the provider; None if nothing."""
        ...


@attrs.frozen
class Arguments:
    """Keywords: a setting by its attribute's name or its key; None is not given."""

    given: Mapping[str, object]

    def find(self, setting: Setting, provider: str) -> Found | None:
        """The keyword, if it was given."""
        del provider
        for name in (setting.name, setting.key):
            if self.given.get(name) is not None:
                return Found(self.given[name], name, setting.kind, text=False)
        return None


class Environment:
    """Variables; an empty one is not set."""

    def find(self, setting: Setting, provider: str) -> Found | None:
        """The setting's own variable, else the one that the provider's users have."""
        if value := os.environ.get(setting.variable, "").strip():
            return Found(value, setting.variable, setting.kind)
        also = setting.also
        if (
            also is not None
            and provider in also.providers
            and (value := os.environ.get(also.name, "").strip())
        ):
            return Found(value, also.name, also.kind)
        return None


@attrs.frozen
class Configuration:
    """An application's own configuration. What it holds beside settings is its own business."""

    ask: Callable[[str], object]

    def find(self, setting: Setting, provider: str) -> Found | None:
        """What the application answers."""
        del provider
        value = self.ask(setting.key)
        return None if value is None else Found(value, f"{setting.key} (configuration)", setting.kind)


def configuration(source: Source) -> Configuration:
    """The application's configuration, whatever its form.

    Raises:
        TypeError: It is neither a mapping nor a function.
    """
    if isinstance(source, Settings):
        return Configuration({row.key: getattr(source, row.name) for row in SETTINGS}.get)
    if isinstance(source, Mapping):
        return Configuration(lambda key: _look_up(source, key))
    if callable(source):
        return Configuration(source)
    msg = f"source must be a mapping or a function of a key, not {type(source).__name__}"
    raise TypeError(msg)


def _look_up(mapping: Mapping[str, Any], key: str) -> object:
    """A dotted key as it is, else through nested mappings."""
    if key in mapping:
        return mapping[key]
    head, _, rest = key.partition(".")
    inner = mapping.get(head) if rest else None
    return _look_up(inner, rest) if isinstance(inner, Mapping) else None
