"""The stages: thin shells over `resilient_llm.policy`."""
