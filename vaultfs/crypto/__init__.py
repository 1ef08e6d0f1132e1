"""Master key, slots, derived keys, sealing and opening."""
