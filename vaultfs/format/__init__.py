"""The records and the pack codec: pure functions, no I/O."""
