"""Times and names as everything shows them."""

from __future__ import annotations

from datetime import UTC, datetime


def instant(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def printable(path: str | bytes) -> str:
    """`path` with bytes that are no UTF-8 and control characters escaped: safe in JSON and on a terminal."""
    raw = path if isinstance(path, bytes) else path.encode("utf-8", "surrogateescape")
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
