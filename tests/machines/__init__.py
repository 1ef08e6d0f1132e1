"""Several machines with one vault: the whole engine over real stores, without mounts; the remote is in memory."""
