"""Resilience middleware for LLM calls."""
