"""The installed version."""

from importlib.metadata import version

__version__ = version("resilient-llm")
"""The version that is installed."""
