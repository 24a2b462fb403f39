"""State that stages share: in one process, or in many."""

from .memory import MemoryState

__all__ = ["MemoryState"]
