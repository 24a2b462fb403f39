"""Gathering the settings: arguments before environment before files before defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .files import project_file, user_file
from .sources import Arguments, Environment, Layer, configuration
from .table import SETTINGS, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .sources import Source
    from .table import Setting

_PROVIDER, _ADDRESS, *_OTHERS = SETTINGS


def load_settings(source: Source | None = None, overrides: Mapping[str, object] | None = None) -> Settings:
    """Gather the settings, each from the first source that has it.

    The order: `overrides`; environment variables; `resilient-llm.toml` in the working directory, or
    `[tool.resilient_llm]` in its `pyproject.toml`; the user's file; the defaults. An address counts only with the
    provider that it was set for, so that choosing another backend does not send its key to the old address.

    Args:
        source: An application's own configuration, instead of environment and files: a mapping (nested or with
            dotted keys), or a function that takes a key and returns its value or None.
        overrides: What wins over all that; None is not given.

    Raises:
        SettingsError: A value is not accepted, a file cannot be read or has an unknown key.
        TypeError: `source` is something else.
    """
    layers = _layers(source, overrides or {})
    provider = str(_value(layers, _PROVIDER, ""))
    values: dict[str, Any] = {_PROVIDER.name: provider, _ADDRESS.name: _address(layers, provider)}
    values |= {setting.name: _value(layers, setting, provider) for setting in _OTHERS}
    return Settings(**values)


def explain_settings(
    source: Source | None = None, overrides: Mapping[str, object] | None = None
) -> list[tuple[Setting, object, str]]:
    """Each setting with its value and where that stood: a variable, a file and its line, or `default`.

    Args:
        source: See `load_settings`, also for what is raised.
        overrides: See `load_settings`; they are called `option`.
    """
    settings = load_settings(source, overrides)
    layers = _layers(source, overrides or {})
    return [
        (setting, getattr(settings, setting.name), _origin(layers, setting, settings)) for setting in SETTINGS
    ]


def _origin(layers: Sequence[Layer], setting: Setting, settings: Settings) -> str:
    for layer in layers:
        found = layer.find(setting, settings.llm_provider)
        if found is not None and found.read() == getattr(settings, setting.name):
            if isinstance(layer, Arguments):
                return "option"
            return found.origin.removeprefix(f"{setting.key} (").removesuffix(")")
    return "default"


def _layers(source: Source | None, overrides: Mapping[str, object]) -> list[Layer]:
    given = Arguments(overrides)
    if source is not None:
        return [given, configuration(source)]
    files = [file for file in (project_file(), user_file()) if file is not None]
    return [given, Environment(), *files]


def _value(layers: Sequence[Layer], setting: Setting, provider: str) -> object:
    for layer in layers:
        if (found := layer.find(setting, provider)) is not None:
            return found.read()
    return setting.default


def _address(layers: Sequence[Layer], provider: str) -> object:
    """The first address that was not set for another provider."""
    for place, layer in enumerate(layers):
        found = layer.find(_ADDRESS, provider)
        if found is not None and _value(layers[place:], _PROVIDER, "") in {provider, _PROVIDER.default}:
            return found.read()
    return _ADDRESS.default
