"""From settings to the options of a client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from resilient_llm.presets import create_transport
from resilient_llm.state.redis import RedisState

from .errors import SettingsError
from .load import load_settings
from .table import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_llm.pipeline import Transport

    from .sources import Source
    from .table import Settings

SAME: Final = {"backend": "llm_provider", "base_url": "llm_api_base", "model": "llm_model"}
"""The client's options that are settings by another name."""

CONNECTION: Final = ("api_key", "headers", "query", "connector", "session")


def client_options(source: Source | None, overrides: Mapping[str, object]) -> dict[str, Any]:
    """The options of `AsyncClient` that the settings ask for.

    Args:
        source: See `load_settings`.
        overrides: Settings and options of the client, which win.

    Raises:
        SettingsError: A setting cannot be used.
        LLMError: The backend cannot be used so, for want of a key for example.
    """
    names = {name for setting in SETTINGS for name in (setting.name, setting.key)}
    given = {SAME.get(name, name): value for name, value in overrides.items() if value is not None}
    settings = load_settings(source, {name: value for name, value in given.items() if name in names})
    options: dict[str, Any] = {
        name: value for name, value in overrides.items() if SAME.get(name, name) not in names
    }
    defaults = {"max_tokens": settings.llm_max_tokens, "temperature": settings.llm_temperature}
    options["defaults"] = {**defaults, **(options.get("defaults") or {})}
    options["model"] = settings.llm_model
    if options.get("middleware") is None:  # a stack of one's own has limits of its own
        options.setdefault("first_token_timeout", settings.llm_timeout)
        if settings.redis_url and "state" not in options:
            options["state"] = RedisState(settings.redis_url, settings.redis_namespace)
    if options.get("transport") is None:
        connection = {name: options.pop(name, None) for name in CONNECTION}
        options["transport"] = transport_for(settings, connection)
    return options


def transport_for(settings: Settings, connection: Mapping[str, object]) -> Transport:
    """The transport that the settings ask for.

    Args:
        settings: The settings.
        connection: `api_key`, `headers`, `query`, `connector`, `session`; None is not given.
    """
    provider, address = settings.llm_provider, settings.llm_api_base
    if settings.offline_mode or provider == "offline":
        return create_transport(
            "offline", model=settings.llm_model or None, model_path=settings.offline_model_path or None
        )
    options = {
        **connection,
        "base_url": address or None,
        "model": settings.llm_model or None,
        "auto_select": None if settings.llm_auto_select_model else False,
    }
    if provider == "openai-compatible" and not address:
        msg = "llm_provider 'openai-compatible' needs an address: set llm_api_base (RESILIENT_LLM_API_BASE)"
        raise SettingsError(msg)
    return create_transport(provider, **options)
