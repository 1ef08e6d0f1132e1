"""Profiles of known agents. Filled by the issue 'Agents at home'."""
