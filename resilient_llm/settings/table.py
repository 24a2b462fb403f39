"""The settings: one table of keys, variables, kinds, defaults and descriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from resilient_llm.presets import AUTO

from .kinds import (
    ADDRESS,
    BOOLEAN,
    COUNT,
    MILLISECONDS,
    NAMESPACE,
    PATH,
    PROVIDER,
    REDIS,
    SECONDS,
    TEMPERATURE,
    TEXT,
    Kind,
    harmless,
)

if TYPE_CHECKING:
    from .sources import Source


@attrs.frozen
class Variable:
    """A variable that users of one backend already have.

    Args:
        name: The variable.
        kind: What it holds; `read` gives the setting's own unit.
        providers: The providers for which it counts.
    """

    name: str
    kind: Kind
    providers: tuple[str, ...]


@attrs.frozen
class Setting:
    """One row of the table.

    Args:
        name: The attribute of `Settings`.
        key: The name in files and configuration managers; dots separate tables.
        variable: The environment variable.
        kind: What is accepted.
        default: What holds if nobody sets it.
        description: What it does.
        also: Another variable that counts, after `variable`.
    """

    name: str
    key: str
    variable: str
    kind: Kind
    default: object
    description: str
    also: Variable | None = None


def _valid(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    attribute.metadata["kind"].read(value, attribute.name)


def _setting(
    default: object,
    kind: Kind,
    variable: str,
    description: str,
    *,
    key: str | None = None,
    also: Variable | None = None,
) -> Any:
    row = {"kind": kind, "variable": variable, "description": description, "key": key, "also": also}
    return attrs.field(default=default, validator=_valid, metadata=row, repr=kind is not REDIS and harmless)


@attrs.frozen(kw_only=True)
class Settings:
    """What is set; `Settings.load()` gathers it, `AsyncClient.from_settings` uses it.

    Each attribute is a row of the table in `docs/reference/settings.md`, with its unit and its default. The repr shows
    neither passwords nor keys that stand in addresses.

    Raises:
        SettingsError: A value that is not accepted.
    """

    llm_provider: str = _setting(
        AUTO,
        PROVIDER,
        "RESILIENT_LLM_PROVIDER",
        "the backend; `auto`: the first local server that answers, or with an address whatever is there",
    )
    llm_api_base: str = _setting(
        "",
        ADDRESS,
        "RESILIENT_LLM_API_BASE",
        "the backend's address; empty: its own default",
        also=Variable("LMSTUDIO_URL", ADDRESS, ("lmstudio",)),
    )
    llm_model: str = _setting(
        "", TEXT, "RESILIENT_LLM_MODEL", "the model to ask for; empty: selected automatically"
    )
    llm_max_tokens: int = _setting(
        1024, COUNT, "RESILIENT_LLM_MAX_TOKENS", "the most tokens of an answer, where a call does not say"
    )
    llm_temperature: float = _setting(
        0.7, TEMPERATURE, "RESILIENT_LLM_TEMPERATURE", "the temperature, where a call does not say"
    )
    llm_auto_select_model: bool = _setting(
        True,
        BOOLEAN,
        "RESILIENT_LLM_AUTO_SELECT_MODEL",
        "where no model is named, take the first that is loaded",
    )
    llm_timeout: float = _setting(
        60.0,
        SECONDS,
        "RESILIENT_LLM_TIMEOUT",
        "seconds to the first token of a stream",
        also=Variable("LMSTUDIO_TIMEOUT", MILLISECONDS, ("lmstudio", AUTO)),
    )
    offline_mode: bool = _setting(
        False, BOOLEAN, "RESILIENT_LLM_OFFLINE", "use the offline backend, whatever else is set"
    )
    offline_model_path: str = _setting(
        "",
        PATH,
        "RESILIENT_LLM_OFFLINE_MODEL_PATH",
        "the offline backend's model, a GGUF file or a Hugging Face directory; empty: words and vectors by hashing",
        key="offline_provider.model_path",
    )
    redis_url: str = _setting(
        "",
        REDIS,
        "RESILIENT_LLM_REDIS_URL",
        "where processes share circuits, cool-downs and limits; empty: each has its own",
    )
    redis_namespace: str = _setting(
        "resilient-llm",
        NAMESPACE,
        "RESILIENT_LLM_REDIS_NAMESPACE",
        "what tells these processes from others in the same Redis",
    )

    @classmethod
    def load(cls, source: Source | None = None, **overrides: object) -> Settings:
        """Gather the settings; see `load_settings`."""
        from .load import load_settings  # noqa: PLC0415 - which needs this class

        return load_settings(source, overrides)


def _row(attribute: attrs.Attribute[Any]) -> Setting:
    row = dict(attribute.metadata)
    row["key"] = row["key"] or attribute.name
    return Setting(name=attribute.name, default=attribute.default, **row)


SETTINGS: Final[tuple[Setting, ...]] = tuple(_row(attribute) for attribute in attrs.fields(Settings))
"""The table: one row for each attribute of `Settings`."""
