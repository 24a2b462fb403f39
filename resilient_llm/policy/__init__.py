"""Pure policies: arithmetic and state machines that take the time and their random draws as arguments."""
