"""How deep a tree may be, and room on the interpreter's stack for that."""

from __future__ import annotations

import sys

LEVELS_MAX = 2048  # a path of PATH_MAX bytes has fewer names
_FRAMES = 10 * LEVELS_MAX  # measured: 5 a level


def allow_depth() -> None:
    """Let the functions that walk a tree call themselves often enough. Only ever raises the process's limit.

    Their frames lie on the heap (CPython since 3.11), so this does not endanger the C stack.
    """
    if sys.getrecursionlimit() < _FRAMES:
        sys.setrecursionlimit(_FRAMES)
