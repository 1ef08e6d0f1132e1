"""Which paths only make sense together. Pure rules; who walks the tree asks them about what it sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from vaultfs.tree.obstacles import POSTGRES

if TYPE_CHECKING:
    from collections.abc import Collection

SQLITE_MAGIC = b"SQLite format 3\0"
SQLITE_SUFFIXES = (b"-journal", b"-wal")  # -shm stays on its machine: SQLite makes it anew
COMPANIONS = SQLITE_SUFFIXES  # what the names of members of a group can end in
START_BYTES = 16
_GIT = frozenset({b"HEAD", b"objects", b"refs"})
MARKERS = _GIT | {POSTGRES}  # a directory may have become a unit when one of these comes into it


def split_name(name: bytes) -> tuple[bytes, bytes]:
    """The group that a file of that name could belong to, and what its name ends in there; else itself, and nothing."""
    for suffix in COMPANIONS:
        if name.endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)], suffix
    return name, b""


def family(name: bytes) -> tuple[bytes, ...]:
    """All names that change hands together with a file of that name, if it belongs to a group; the group's first."""
    main, _ = split_name(name)
    return main, *(main + suffix for suffix in COMPANIONS)


class Classifier(Protocol):
    """A kind of unit."""

    def suffixes(self, name: bytes, start: bytes) -> tuple[bytes, ...]:
        """What the names of a file's companions end in; empty: it has none.

        `start`: the file's first `START_BYTES`, fewer if it is shorter.
        """
        ...  # pragma: no cover

    def is_unit(self, name: bytes, names: Collection[bytes]) -> bool:
        """Whether a directory with these names in it is a unit."""
        ...  # pragma: no cover


class Known:
    """SQLite databases, found by their header; Postgres (and PGlite) data and git directories, by what is in them."""

    def suffixes(self, name: bytes, start: bytes) -> tuple[bytes, ...]:
        """A database's journal and write-ahead log."""
        if start != SQLITE_MAGIC or name.endswith(SQLITE_SUFFIXES):
            return ()
        return SQLITE_SUFFIXES

    def is_unit(self, name: bytes, names: Collection[bytes]) -> bool:
        """Whether it is a Postgres data directory, or a git directory under any name."""
        del name
        return POSTGRES in names or all(needed in names for needed in _GIT)
