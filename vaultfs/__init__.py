"""vaultfs: one person's encrypted vault as a plain directory on every machine."""

__version__ = "0.1.0"
