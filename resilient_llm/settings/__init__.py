"""Settings: from arguments, the environment, TOML files, or an application's own configuration manager."""

from __future__ import annotations

from .clients import client_options
from .errors import SettingsError
from .load import load_settings
from .sources import Source
from .table import SETTINGS, Setting, Settings

__all__ = [
    "SETTINGS",
    "Setting",
    "Settings",
    "SettingsError",
    "Source",
    "client_options",
    "load_settings",
]
