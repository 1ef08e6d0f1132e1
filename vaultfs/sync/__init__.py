"""Publish, follow, merge, check out. Filled by the issue 'Two machines, one vault'."""
