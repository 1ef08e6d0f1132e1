"""Write what a commit holds into a plain directory: `vaultfs restore` and `vaultfs export`.

Everything is made by a name in a directory that is open, never by a path, and never over something: a symbolic link
that is in the vault, or that somebody puts there meanwhile, is never gone through. Permissions and times of a directory
are set when all in it is done.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from vaultfs.errors import RemoteObjectMissingError, TargetExistsError
from vaultfs.format.node import Commit, Directory, Entry, File, NodeDamagedError, Symlink, Unit
from vaultfs.format.node_codec import encode_node
from vaultfs.format.node_trie import Trie
from vaultfs.format.pack import PackDamagedError
from vaultfs.sync.history import pieces
from vaultfs.sync.walking import Snapshot, nameless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from vaultfs.format.node import Element, Inode, Nodes
    from vaultfs.sync.conflicts import Path
    from vaultfs.sync.history import Source
    from vaultfs.sync.walking import Found

    Progress = Callable[["Restored"], None]

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# What concerns one name (too long, not allowed on that file system, there already by another spelling); the rest goes
# on. Anything else, a full disk say, ends it.
_OF_ONE_NAME = {
    errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOTSUP, errno.EPERM, errno.EMLINK,
    errno.EFBIG, errno.ELOOP, errno.ENOENT, errno.ENOTDIR,
}  # fmt: skip
DAMAGE = (KeyError, NodeDamagedError, PackDamagedError, RemoteObjectMissingError)


class Failure(NamedTuple):
    """A path that could not be restored, and why."""

    path: Path
    detail: str


@dataclass
class Restored:
    """What was written, and what was not. `bytes`: of files, holes not counted."""

    files: int = 0
    directories: int = 0
    symlinks: int = 0
    links: int = 0
    bytes: int = 0
    attributes_lost: int = 0
    failures: list[Failure] = field(default_factory=list)


def _silent(_: Restored) -> None:
    return


def restore(
    snapshot: Snapshot,
    source: Source,
    path: Path,
    target: str,
    *,
    progress: Progress = _silent,
) -> Restored:
    """Write what is at `path`, with all that it makes sense with, into the directory `target`, under its own name.

    Of the whole tree (the empty path) what is in it. The directory is made, if need be, in one that exists; what is in
    it already stays. `progress` is called often, with what is done so far.

    A file that cannot be read is left out and told in `failures`; so is one whose name `target` cannot hold.

    Raises:
        OSError: as `Snapshot.find`; what the file system of `target` says.
        TargetExistsError: something of one of the names is there; nothing was written.
        RemoteError: the remote does not answer; what was written so far stays.
    """
    found = snapshot.find(path)
    taken = list(snapshot.inside(found)) if not path else snapshot.together(found)[1]
    with suppress(FileExistsError):
        os.mkdir(target)  # noqa: PTH102 - the text is what errors show
    top = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check_free(top, target, [item.path[-1] for item in taken], alone=not path)
        writing = _Writing(snapshot, source, top, len(taken[0].path) - 1 if taken else 0, progress)
        writing.all(taken)
        if not path:
            with suppress(PermissionError):  # somebody else's directory, that we may write to
                writing.attributes(top, found.item.element)
        return writing.done
    finally:
        os.close(top)


def restore_element(
    nodes: Nodes, source: Source, name: bytes, element: Element, target: str, *, progress: Progress = _silent
) -> Restored:
    """As `restore`, of a single element under the name `name`: a conflict, say, which no path leads to."""
    below = Trie(nodes).build([Entry(name, (element,), None)])
    root = nodes.put(encode_node(Commit((nameless(()),), below, None)))
    return restore(Snapshot(nodes, root), source, (name,), target, progress=progress)


def _check_free(top: int, target: str, names: Sequence[bytes], *, alone: bool) -> None:
    with os.scandir(top) as entries:
        there = {os.fsencode(entry.name) for entry in entries}
    if alone and there:
        raise TargetExistsError(path=target, detail="the directory is not empty")
    for name in names:
        if name in there:
            raise TargetExistsError(path=os.path.join(target, os.fsdecode(name)), detail="there is something already")  # noqa: PTH118


class _Writing:
    """One restore. `cut`: how many names at the start of a path are not made in the target."""

    def __init__(self, snapshot: Snapshot, source: Source, top: int, cut: int, progress: Progress) -> None:
        self._snapshot = snapshot
        self._source = source
        self._top = top
        self._cut = cut
        self._progress = progress
        self._names: dict[tuple[bytes, object], Path] = {}
        self._owner = os.geteuid() == 0
        self.done = Restored()

    def all(self, taken: list[Found]) -> None:
        """These, and what is in them. A directory is looked into when it is made, and finished when all in it is."""
        waiting: list[tuple[Found, bool]] = [(found, False) for found in reversed(taken)]
        while waiting:
            found, filled = waiting.pop()
            try:
                with self._parent(found.path) as parent:
                    if filled:
                        self._finish(parent, found)
                    elif self._make(parent, found):
                        waiting.append((found, True))
                        waiting += [(below, False) for below in reversed(list(self._snapshot.inside(found)))]
            except DAMAGE as error:
                self._failed(found, _said(error))
            except OSError as error:
                if error.errno not in _OF_ONE_NAME:
                    raise
                self._failed(found, error.strerror or "it cannot be written")
            self._progress(self.done)

    @contextmanager
    def _parent(self, path: Path) -> Iterator[int]:
        """The directory that `path` is in, reached name by name from the top."""
        directory = os.dup(self._top)
        try:
            for name in path[self._cut : -1]:
                directory, before = os.open(name, _OPEN, dir_fd=directory), directory
                os.close(before)
            yield directory
        finally:
            os.close(directory)

    def _make(self, parent: int, found: Found) -> bool:
        """True for a directory: look into it."""
        element, name = found.item.element, found.path[-1]
        if isinstance(element, Directory | Unit):
            os.mkdir(name, 0o700, dir_fd=parent)
            self.done.directories += 1
            return True
        if isinstance(element, Symlink):
            os.symlink(element.target, name, dir_fd=parent)
            self._times(name, element, dir_fd=parent, follow_symlinks=False)
            self.done.symlinks += 1
        elif not self._link(parent, found):
            self._file(parent, found, element)
        return False

    def _link(self, parent: int, found: Found) -> bool:
        """Another name for a file that was written already."""
        element = found.item.element
        first = self._names.setdefault((element.id, element.version), found.path)
        if first == found.path:
            return False
        try:
            with self._parent(first) as directory:
                os.link(first[-1], found.path[-1], src_dir_fd=directory, dst_dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            if error.errno == errno.EEXIST:
                raise
            return False  # a file system without hard links, or a first name that could not be written
        self.done.links += 1
        return True

    def _file(self, parent: int, found: Found, element: File) -> None:
        name = found.path[-1]
        descriptor = os.open(name, _MAKE, 0o600, dir_fd=parent)
        try:
            for offset, data in pieces(self._snapshot.nodes, self._source, element):
                _write(descriptor, data, offset)
                self.done.bytes += len(data)
                self._progress(self.done)
            os.ftruncate(descriptor, element.size)
            self.attributes(descriptor, element)
        except BaseException:
            os.unlink(name, dir_fd=parent)
            raise
        finally:
            os.close(descriptor)
        self.done.files += 1

    def _finish(self, parent: int, found: Found) -> None:
        descriptor = os.open(found.path[-1], _OPEN, dir_fd=parent)
        try:
            self.attributes(descriptor, found.item.element)
        finally:
            os.close(descriptor)

    def attributes(self, descriptor: int, element: Inode) -> None:
        """Owner (root only), permissions, extended attributes and times of what is open."""
        for name, value in element.xattrs:
            if not name.startswith(b"user."):
                continue
            try:
                os.setxattr(descriptor, name, value)
            except OSError:
                self.done.attributes_lost += 1
        if self._owner and (element.uid is not None or element.gid is not None):
            with suppress(OSError):  # a file system without owners
                os.fchown(descriptor, _or_same(element.uid), _or_same(element.gid))
        os.fchmod(descriptor, element.mode)
        self._times(descriptor, element)

    @staticmethod
    def _times(what: int | bytes, element: Inode, **how: object) -> None:
        # A file system whose times end in 2038 takes what it can.
        with suppress(OSError, OverflowError):
            os.utime(what, ns=(element.mtime, element.mtime), **how)  # type: ignore[arg-type]

    def _failed(self, found: Found, detail: str) -> None:
        self.done.failures.append(Failure(found.path, detail))


def _or_same(number: int | None) -> int:
    return -1 if number is None else number


def _write(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _said(error: Exception) -> str:
    if isinstance(error, RemoteObjectMissingError | KeyError):
        return "a part of it is missing on the remote"
    return "a part of it is damaged on the remote"
