"""Files that only make sense together, put together while a commit is made: a database with its `-wal` and `-journal`.

The working tree has them as files of their own; in a commit they are the members of one `Group`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import replace

from vaultfs.format.node import Dot, File, Group, Member
from vaultfs.sync.elements import identity, in_place
from vaultfs.sync.seen import NOTHING, encode_seen, seen_element
from vaultfs.sync.units import COMPANIONS, split_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaultfs.sync.conflicts import Path
    from vaultfs.sync.edits import Editor
    from vaultfs.sync.elements import Identity
    from vaultfs.sync.units import Classifier


@dataclass(slots=True)
class _Pending:
    """A group that is touched: its members before (by suffix), what was written or (None) taken away since.

    `seen`: what the change was made from, where that is not what the base has.
    """

    before: dict[bytes, File]
    was_group: bool
    seen: Identity | None = None
    changes: dict[bytes, File | None] = field(default_factory=dict)
    start: bytes = b""


class Grouping:
    """The groups of one commit. `held`: by path, what the working tree has where the base has something newer.

    `seen`: by path, what it has in this commit, of the groups that were written.
    """

    def __init__(self, editor: Editor, dot: Dot, classify: Classifier, held: Mapping[Path, bytes | None]) -> None:
        self._editor = editor
        self._dot = dot
        self._classify = classify
        self._held = held
        self._pending: dict[Path, _Pending] = {}
        self.seen: dict[Path, bytes | None] = {}

    def file_at(self, path: Path) -> File | None:
        """The file of that path as it is now, in a group or not; None where there is no file."""
        key = self._key(path)
        if key is not None:
            main, suffix = key
            pending = self._touch(main)
            return pending.changes[suffix] if suffix in pending.changes else pending.before.get(suffix)
        return self._plain(path)

    def is_companion(self, path: Path) -> bool:
        """Whether the path is that of a database's log."""
        key = self._key(path)
        return key is not None and bool(key[1])

    def write(self, path: Path, file: File, start: bytes) -> bool:
        """A file was written, `start` is its first bytes if they changed. False: it belongs to no group."""
        key = self._key(path, start)
        if key is None:
            return False
        main, suffix = key
        pending = self._touch(main)
        pending.changes[suffix] = file
        if not suffix:
            pending.start = start or pending.start
        return True

    def remove(self, path: Path) -> bool:
        """The file is gone. False: it belongs to no group; then, if it is a directory, what is in it is forgotten."""
        key = self._key(path)
        if key is None:
            self._pending = {at: one for at, one in self._pending.items() if at[: len(path)] != path}
            return False
        main, suffix = key
        self._touch(main).changes[suffix] = None
        return True

    def move(self, old: Path, new: Path) -> bool:
        """The file has another name. False: neither has to do with a group."""
        from_group, to_group = self._key(old), self._key(new)
        if from_group is None and to_group is None:
            self._pending = {_moved(at, old, new): one for at, one in self._pending.items()}
            return False
        file = self.file_at(old)
        if file is None:  # a directory takes the place of a file of a group
            self.remove(new)
            if to_group is not None:
                self.finish_one(to_group[0])
            return False
        was_main = from_group is not None and not from_group[1] and not new[-1].endswith(COMPANIONS)
        if not self.remove(old):
            self._editor.delete(old)
        if was_main:
            pending = self._touch(new)
            pending.was_group, pending.changes[b""] = True, file
        elif not self.write(new, file, b""):
            self._editor.write(new, file)
        return True

    def finish(self) -> None:
        """Put the groups into the commit."""
        for main in sorted(self._pending):
            self.finish_one(main)

    def finish_one(self, main: Path) -> None:
        """Put one group, or the files that it has come apart into, into the commit."""
        pending = self._pending.pop(main)
        members = {suffix: file for suffix, file in (pending.before | pending.changes).items() if file is not None}
        if pending.seen is None:
            self._take_in(main, pending, members)
        database = members.get(b"")
        grouped = pending.was_group
        if pending.start:
            grouped = bool(self._classify.suffixes(main[-1], pending.start))
        if database is not None and grouped:
            # An empty log says what none says. SQLite makes one for the first reader, and removes it after the last.
            members = {suffix: file for suffix, file in members.items() if file.size or not suffix}
            if pending.was_group and members == pending.before:
                return
            newest = max(file.time for file in members.values())
            listed = tuple(Member(suffix, members[suffix]) for suffix in sorted(members))
            group = Group(database.id, self._dot, None, newest, listed)
            self._editor.write(main, group, seen=pending.seen)
            record = encode_seen(group)
            self.seen |= {_beside(main, suffix): record for suffix in (b"", *COMPANIONS)}
            return
        if database is None and self._editor.look(main) is not None:
            self._editor.delete(main, seen=pending.seen)
        self.seen |= {_beside(main, suffix): None for suffix in (b"", *COMPANIONS)}
        for suffix, file in sorted(members.items()):
            self._editor.write(_beside(main, suffix), file, seen=None if suffix else pending.seen)
            self.seen[_beside(main, suffix)] = encode_seen(replace(file, version=self._dot, placed=None))

    def _take_in(self, main: Path, pending: _Pending, members: dict[bytes, File]) -> None:
        """What stood beside the database before it was one belongs to it, or has been replaced."""
        hidden = self._group(main) is not None
        for suffix in (b"", *COMPANIONS):
            path = _beside(main, suffix)
            plain = self._plain(path)
            if plain is None:
                continue
            if suffix in pending.changes:
                if suffix and not hidden:
                    self._editor.delete(path)  # SQLite makes a new journal each time: no conflict
            elif suffix not in members:
                if hidden and suffix:
                    # A merge brought it there, and nobody here has seen it: it is no log of this database.
                    self._editor.put_aside(path)
                else:
                    members[suffix] = plain

    # -- which group

    def _key(self, path: Path, start: bytes = b"") -> tuple[Path, bytes] | None:
        """The path of the group that a file belongs to, and its suffix there; None: it belongs to none."""
        if not path:
            return None
        name, suffix = split_name(path[-1])
        if suffix and self._is_group((*path[:-1], name)):
            return (*path[:-1], name), suffix
        if self._is_group(path) or self._classify.suffixes(path[-1], start):
            return path, b""
        return None

    def _is_group(self, path: Path) -> bool:
        if path in self._pending:
            return True
        lagging, record = self._record(path)
        if lagging:
            return record is not None and isinstance(seen_element(record), Group)
        return self._group(path) is not None

    def _record(self, main: Path) -> tuple[bool, bytes | None]:
        """Whether any name of a group lags, and what the working tree has there."""
        for suffix in (b"", *COMPANIONS):
            name = _beside(main, suffix)
            if name in self._held:
                return True, self._held[name]
        return False, None

    def _group(self, path: Path) -> Group | None:
        entry = self._editor.look(path)
        element = entry and in_place(entry)
        return element if isinstance(element, Group) else None

    def _plain(self, path: Path) -> File | None:
        entry = self._editor.look(path)
        element = entry and in_place(entry)
        return element if isinstance(element, File) else None

    def _touch(self, main: Path) -> _Pending:
        pending = self._pending.get(main)
        if pending is None:
            pending = self._pending[main] = self._found(main)
        return pending

    def _found(self, main: Path) -> _Pending:
        lagging, record = self._record(main)
        if lagging:
            if record is None:
                return _Pending({}, was_group=False, seen=NOTHING)
            element = seen_element(record)
            seen = identity(element)
            if isinstance(element, Group):
                return _Pending(_files(element), was_group=True, seen=seen)
            return _Pending({b"": element} if isinstance(element, File) else {}, was_group=False, seen=seen)
        group = self._group(main)
        return _Pending(_files(group) if group is not None else {}, was_group=group is not None)


def _files(group: Group) -> dict[bytes, File]:
    return {member.suffix: member.file for member in group.members}


def _beside(main: Path, suffix: bytes) -> Path:
    return (*main[:-1], main[-1] + suffix)


def _moved(path: Path, old: Path, new: Path) -> Path:
    return new + path[len(old) :] if path[: len(old)] == old else path
