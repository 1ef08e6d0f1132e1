"""From what was changed in the working tree to a commit: a cut's edits put into the base tree.

Pure but for the nodes it reads; for a worker thread. What belongs together is put together here: a database with its
`-wal` becomes one element, a git directory one unit.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from vaultfs.format.node import Blocks as BlocksRecord
from vaultfs.format.node import Directory, Dot, File, Indirect, Inline, Symlink, Unit
from vaultfs.format.node_blocks import change_blocks, content_of
from vaultfs.format.node_trie import Trie
from vaultfs.sync.edits import Editor
from vaultfs.sync.elements import identity
from vaultfs.sync.grouping import Grouping
from vaultfs.sync.merge import State, load_commit
from vaultfs.sync.seen import NOTHING, encode_seen, seen_element
from vaultfs.sync.units import MARKERS
from vaultfs.tree.edit import Moved, Removed, Written

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaultfs.format.node import Block, Content, Element, Nodes, Ref
    from vaultfs.sync.conflicts import Path
    from vaultfs.sync.elements import Identity
    from vaultfs.sync.units import Classifier
    from vaultfs.tree.changes import Slot
    from vaultfs.tree.edit import Edit
    from vaultfs.tree.inode import Inode

_WORK = b".vaultfs-unit-%d"  # where a held unit is edited; in no commit
_MADE_HERE = 1 << 20  # numbers of work places, behind those of what was held


class NotInBaseError(FileNotFoundError):
    """Edits are of what the base lacks. `lacking`: their names, each with how many directories above are lacking, too.

    So it is where the working tree is ahead of the base.
    """

    def __init__(self, lacking: Mapping[Slot, int], path: Path) -> None:
        super().__init__(errno.ENOENT, os.strerror(errno.ENOENT), b"/".join(path))
        self.lacking = lacking


class Contents(Protocol):
    """What a cut knows of its files (vaultfs.tree.cut.Cut)."""

    def content(self, ino: int) -> Content | Mapping[int, tuple[bytes, int] | None] | Sequence[Block] | None:
        """The content, or only the changed blocks, or all blocks; None: unchanged."""
        ...  # pragma: no cover

    def start(self, ino: int) -> bytes:
        """The first bytes of a file whose first block changed; empty for others."""
        ...  # pragma: no cover

    def file_id(self, inode: Inode) -> bytes:
        """The file's id in commits."""
        ...  # pragma: no cover


class Committing:
    """One commit in the making.

    `owner`: uid and gid that stand for whoever mounts. `lag`: what the working tree has where the base has something
    newer (vaultfs.sync.seen; None: nothing); `held`: the names of these, by path. Afterwards `seen` is what it has of
    them in this commit, where that changed: the next change is made from that. `breathe`: as of ThreadNodes.
    """

    def __init__(
        self,
        nodes: Nodes,
        base: State,
        dot: Dot,
        now: int,
        contents: Contents,
        *,
        owner: tuple[int, int],
        classify: Classifier,
        lag: Mapping[Slot, bytes | None],
        held: Mapping[Path, Slot],
        breathe: Callable[[], None] = lambda: None,
    ) -> None:
        self._nodes = nodes
        self._breathe = breathe
        self._base = base
        self._dot = dot
        self._contents = contents
        self._owner = owner
        self._classify = classify
        self._editor = Editor(nodes, base, dot, now)
        self._lag = lag
        self._held = held
        self.seen: dict[Slot, bytes | None] = {}
        self._groups = Grouping(self._editor, dot, classify, {path: lag[slot] for path, slot in held.items()})
        self._units: list[tuple[Path, Path, Unit]] = []
        self._lacking: dict[Slot, int] = {}  # see NotInBaseError
        self._dressed: set[Path] = set()  # units that are held and have other attributes now
        for number, (path, slot) in enumerate(held.items()):
            record = lag[slot]
            element = None if record is None else seen_element(record)
            if isinstance(element, Unit):
                self._units.append((path, (_WORK % number,), element))

    def run(self, edits: Sequence[Edit]) -> State:
        """The commit with these edits in it. Raises NotInBaseError, and what reading nodes raises."""
        self._begin_units(edits)
        for _, work, unit in self._units:
            self._editor.write(work, unit)
        missed: NotInBaseError | None = None
        for edit in edits:
            self._breathe()
            try:
                self._do(edit)
            except NotInBaseError as problem:
                missed = problem
            except OSError:
                if missed is None:  # else it may come of what was missed: all of them are done again
                    raise
        if missed is not None:
            raise missed
        self._groups.finish()
        self.seen |= {self._held[path]: record for path, record in self._groups.seen.items() if path in self._held}
        self._enclose(edits)
        for path, work, unit in self._units:
            self._settle(path, work, unit)
        return self._editor.commit()

    def _do(self, edit: Edit) -> None:
        if isinstance(edit, Removed):
            self._remove(self._there(edit.path), edit.slot)
        elif isinstance(edit, Moved):
            self._move(self._there(edit.old), self._there(edit.new), edit)
        else:
            self._write(self._there(edit.path), edit)

    def _move(self, old: Path, new: Path, edit: Moved) -> None:
        if not self._editor.exists(old) and self._groups.file_at(old) is None:
            raise self._not_in_base(edit.slot, old, 0)
        missing = self._missing_above(new)
        if missing and not any(new[:length] in self._held for length in range(1, len(new))):
            raise self._not_in_base(edit.to, new, missing)
        self._editor.parents(new)
        if not self._groups.move(old, new):
            self._editor.rename(old, new)

    def _missing_above(self, path: Path) -> int:
        """How many of the directories on the way there are not there."""
        missing = 0
        while missing < len(path) - 1 and not self._editor.exists(path[: len(path) - 1 - missing]):
            missing += 1
        return missing

    def _not_in_base(self, slot: Slot, path: Path, missing: int) -> NotInBaseError:
        self._lacking[slot] = missing
        return NotInBaseError(self._lacking, path)

    def _begin_units(self, edits: Sequence[Edit]) -> None:
        """Directories here where the base got a unit meanwhile: units of their own, so that the two never mix."""
        for edit in edits:
            if not isinstance(edit, Written) or not edit.path or not stat.S_ISDIR(edit.inode.mode):
                continue
            if edit.slot in self._lag and self._lag[edit.slot] is None and self._may_begin(edit.path):
                self._begin(edit.path, Unit(**self._attributes(edit), below=None))
        for path, slot in self._held.items():
            record = self._lag[slot]
            seen = None if record is None else seen_element(record)
            if isinstance(seen, Directory) and self._may_begin(path) and _any_in(path, edits):
                # What was committed of it before it became a unit stands beside the newer one.
                fields = {name: getattr(seen, name) for name in Directory.__struct_fields__}
                self._begin(path, Unit(**{**fields, "version": self._dot, "placed": None}, below=self._beside(path)))

    def _may_begin(self, path: Path) -> bool:
        return not any(path == known for known, _, _ in self._units) and self._editor.has_unit_in_place(path)

    def _begin(self, path: Path, unit: Unit) -> None:
        self._units.append((path, (_WORK % (_MADE_HERE + len(self._units)),), unit))

    def _beside(self, path: Path) -> Ref | None:
        """What stands in the base under that name, and in no unit."""
        below, trie = load_commit(self._nodes, self._base.root).below, Trie(self._nodes)
        for name in path:
            entry = trie.lookup(below, name)
            if entry is None:
                return None
            below = entry.below
        return below

    def _there(self, path: Path) -> Path:
        """Where a path is edited: what is in a held unit apart from the newer one that waits to take its place."""
        for unit, work, _ in self._units:
            if path[: len(unit)] == unit and len(path) > len(unit):
                return work + path[len(unit) :]
        return path

    def _settle(self, path: Path, work: Path, unit: Unit) -> None:
        entry = self._editor.look(work)
        changed = entry.elements[0] if entry is not None else unit
        self._editor.delete(work)
        if isinstance(changed, Unit) and (changed.below != unit.below or path in self._dressed):
            self._editor.parents(path)
            # Whole also where what it was made from is in place, because that was newer than what waited.
            self._editor.write(path, changed, seen=identity(unit), whole=True)
            self.seen[self._held[path]] = encode_seen(changed)

    def _remove(self, path: Path, slot: Slot) -> None:
        seen = self._seen(slot)
        if self._groups.remove(path):
            return
        with suppress(FileNotFoundError, NotADirectoryError):  # elsewhere it was removed as well
            self._editor.delete(path, seen=seen)
        if slot in self._lag:
            self.seen[slot] = None

    def _write(self, path: Path, edit: Written) -> None:
        seen = self._seen(edit.slot)
        if not path:
            self._editor.set_root(self._directory(edit))
            return
        missing = 0 if edit.new else self._missing_above(path)
        self._editor.parents(path)
        mode = edit.inode.mode
        work = next((work for unit, work, _ in self._units if unit == path), None)
        if work is not None and stat.S_ISDIR(mode) and seen is not None:
            # Only the attributes: what is in the unit that is here stays in it.
            self._editor.write(work, Unit(**self._attributes(edit), below=None))
            self._dressed.add(path)
        elif stat.S_ISDIR(mode):
            self._write_directory(path, edit, seen)
        elif stat.S_ISLNK(mode):
            link = Symlink(**self._attributes(edit), target=edit.inode.target)
            self._replaced(path)
            self._put(path, link, seen, edit.slot)
        else:
            file = self._file(path, edit, missing)
            start = self._contents.start(edit.ino)
            if not self._groups.write(path, file, start):
                self._put(path, file, seen, edit.slot)

    def _seen(self, slot: Slot) -> Identity | None:
        """What the edit was made from, where that is not what the base has; None: it is."""
        if slot not in self._lag:
            return None
        record = self._lag[slot]
        return NOTHING if record is None else identity(seen_element(record))

    def _replaced(self, path: Path) -> None:
        """Something of another kind stands where a file of a group was."""
        if self._groups.remove(path):
            self._groups.finish()

    def _write_directory(self, path: Path, edit: Written, seen: Identity | None) -> None:
        element: Directory | Unit = self._directory(edit)
        entry = self._editor.look(path)
        if entry is not None and any(isinstance(one, Unit) for one in entry.elements):
            element = Unit(**self._attributes(edit), below=None)
        elif entry is not None and not any(isinstance(one, Directory) for one in entry.elements) and not entry.below:
            # A directory took the place of a file.
            self._replaced(path)
        self._put(path, element, seen, edit.slot)

    def _put(self, path: Path, element: Element, seen: Identity | None, slot: Slot) -> None:
        self._editor.write(path, element, seen=seen)
        if slot in self._lag:
            self.seen[slot] = encode_seen(element)

    def _directory(self, edit: Written) -> Directory:
        return Directory(**self._attributes(edit))

    def _attributes(self, edit: Written) -> dict[str, Any]:
        """The fields that all inodes share."""
        inode = edit.inode
        return {
            "id": self._contents.file_id(inode),
            "version": self._dot,
            "placed": None,
            "time": inode.written,
            "mode": stat.S_IMODE(inode.mode),
            "uid": None if inode.uid == self._owner[0] else inode.uid,
            "gid": None if inode.gid == self._owner[1] else inode.gid,
            "mtime": inode.mtime,
            "xattrs": tuple(sorted(edit.xattrs)),
        }

    def _file(self, path: Path, edit: Written, missing: int) -> File:
        found = self._contents.content(edit.ino)
        content: Content
        if isinstance(found, Inline | BlocksRecord | Indirect):
            content = found
        elif found is not None and not isinstance(found, Mapping):
            content = content_of(self._nodes, found)
        else:
            before = self._groups.file_at(path)
            if before is None and not self._groups.is_companion(path):
                raise self._not_in_base(edit.slot, path, missing)
            # A log that was empty is in no commit (Grouping.finish_one): all that it has is new.
            content = Inline(b"") if before is None else before.content
            if found is not None:
                content = self._changed(content, dict(found))
        return File(**self._attributes(edit), size=edit.inode.size, content=content)

    def _changed(self, before: Content, changes: Mapping[int, tuple[bytes, int] | None]) -> BlocksRecord | Indirect:
        base = BlocksRecord(()) if isinstance(before, Inline) else before
        return change_blocks(self._nodes, base, changes)

    def _enclose(self, edits: Sequence[Edit]) -> None:
        """What has become a unit."""
        for edit in edits:
            path = edit.new if isinstance(edit, Moved) else edit.path
            if isinstance(edit, Removed) or len(path) < 2 or path[-1] not in MARKERS:  # noqa: PLR2004 - the top is none
                continue
            parent = self._there(path[:-1])
            names = [name for name in MARKERS if self._editor.exists((*parent, name))]
            if self._classify.is_unit(parent[-1], names) and not self._in_unit(parent):
                self._editor.enclose(parent)

    def _in_unit(self, path: Path) -> bool:
        return any(self._editor.is_unit(path[:length]) for length in range(1, len(path) + 1))


def _any_in(path: Path, edits: Sequence[Edit]) -> bool:
    """Whether one of these edits is of that directory, or of something in it."""
    paths = (one for edit in edits for one in ((edit.old, edit.new) if isinstance(edit, Moved) else (edit.path,)))
    return any(one[: len(path)] == path for one in paths)
