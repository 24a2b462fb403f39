"""The clients that people already have, with a stack of stages around each of their calls."""
