"""`resilient-llm demo`: what the stages buy, shown on a backend that fails on schedule."""

from .command import demo

__all__ = ["demo"]
