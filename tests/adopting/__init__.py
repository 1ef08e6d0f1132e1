"""Agents come into the vault and leave it: `vaultfs adopt`, `unadopt`, `run`."""
