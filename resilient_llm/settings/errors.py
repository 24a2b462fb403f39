"""What is wrong with a setting."""

from __future__ import annotations


class SettingsError(ValueError):
    """A setting cannot be used; the message names the variable, or the file and the key, and what is accepted."""
