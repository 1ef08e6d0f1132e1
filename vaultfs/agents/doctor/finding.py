"""One thing that was looked at, and how it is."""

from __future__ import annotations

import shlex
from enum import StrEnum

import msgspec

from vaultfs.daemon.text import printable


class Severity(StrEnum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"  # worth knowing
    WARNING = "warning"  # an agent goes on, but something may be other than expected
    PROBLEM = "problem"  # an agent does not go on, or goes on from something else than its last state


class Finding(msgspec.Struct, frozen=True):
    """`check` is a short name that stays, `text` a sentence, `mend` a command; `agent`: whom it is about, if anybody.

    Text and command can be shown as they are.
    """

    check: str
    severity: Severity
    text: str
    mend: str | None = None
    agent: str | None = None


def ok(check: str, text: str, agent: str | None = None) -> Finding:
    """It is well."""
    return Finding(check, Severity.OK, printable(text), None, agent)


def note(check: str, text: str, mend: str | None = None, agent: str | None = None) -> Finding:
    """Worth knowing."""
    return Finding(check, Severity.NOTE, printable(text), mend and printable(mend), agent)


def warning(check: str, text: str, mend: str | None = None, agent: str | None = None) -> Finding:
    """It may be in the way."""
    return Finding(check, Severity.WARNING, printable(text), mend and printable(mend), agent)


def problem(check: str, text: str, mend: str | None = None, agent: str | None = None) -> Finding:
    """It is in the way."""
    return Finding(check, Severity.PROBLEM, printable(text), mend and printable(mend), agent)


def command(*words: str) -> str:
    """A command line as a shell takes it."""
    return shlex.join(words)
