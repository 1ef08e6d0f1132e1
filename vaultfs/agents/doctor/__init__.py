"""`vaultfs doctor`: what would stop an agent from continuing on this machine, and what mends it."""
