"""Names: look up, make, link, unlink, rename, list."""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING, NamedTuple

from vaultfs.tree.incoming import NotHereError
from vaultfs.tree.inode import NAME_MAX, ROOT, TARGET_MAX, UNWRITTEN, Flag, Inode
from vaultfs.tree.statements import error

if TYPE_CHECKING:
    from vaultfs.tree.state import Name, State
    from vaultfs.tree.xattrs import Xattrs

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
LINK_MAX = 65000
_DOT, _DOTDOT = 1, 2
_PAGE_OF_NAMES = 64
_ACL_ROOM = 128 << 10


class Listed(NamedTuple):
    """One line of a directory listing; `cookie` is where the listing goes on after it."""

    name: bytes
    inode: Inode
    cookie: int


class Names:
    """Directory operations. All raise `OSError` with the errno of the POSIX call."""

    def __init__(self, state: State, xattrs: Xattrs) -> None:
        self._state = state
        self._xattrs = xattrs

    def lookup(self, parent: int, name: bytes) -> Inode:
        """The inode that `name` in directory `parent` stands for."""
        node = self.find(parent, name)
        if node is None:
            raise error(errno.ENOENT)
        return node

    def find(self, parent: int, name: bytes) -> Inode | None:
        """As `lookup`; None where there is no such name, which is asked for before each new file."""
        if len(name) > NAME_MAX:
            raise error(errno.ENAMETOOLONG)
        # Also what a part of an expansion brought is not seen yet: a newer version may still sweep it away.
        self._expanded(parent)
        entry = self._state.entry(parent, name)
        return None if entry is None else self._state.inode(entry.ino)

    def _expanded(self, ino: int) -> Inode:
        """The directory. Raises `NotHereError` as long as nobody knows what is in it."""
        node = self._state.inode(ino)
        if node.flags & Flag.FOLDED and node.is_dir:
            raise NotHereError(directory=ino)
        return node

    def target(self, ino: int) -> bytes:
        """What a symbolic link points to."""
        return self._state.inode(ino).target

    def make(
        self,
        parent: int,
        name: bytes,
        mode: int,
        uid: int,
        gid: int,
        *,
        rdev: int = 0,
        target: bytes = b"",
        umask: int = 0,
    ) -> Inode:
        """A new file, directory, symbolic link or special node, by the type bits of `mode`.

        Where the directory has a default ACL, that counts instead of `umask`.
        """
        state = self._state
        if len(target) > TARGET_MAX:
            raise error(errno.ENAMETOOLONG)
        directory, cookie = self._new_name(parent, name)
        is_dir = stat.S_ISDIR(mode)
        if is_dir and directory.nlink >= LINK_MAX:
            raise error(errno.EMLINK)
        inherits = directory.flags & Flag.DEFAULT_ACL and not stat.S_ISLNK(mode)
        if not inherits:
            mode &= ~umask
        now = state.begin(_ACL_ROOM if inherits else 0)
        ino = state.next_ino
        state.next_ino += 1
        node = Inode(
            ino, mode, 2 if is_dir else 1, uid, gid, rdev, len(target), now, now,
            now - UNWRITTEN if stat.S_ISREG(mode) else now, parent, 0, 0, 0, target=target,
        )  # fmt: skip
        if inherits:
            self._xattrs.inherit(node, directory)
        state.stamp(node, now)
        state.count(node, 1)
        state.put_name(parent, cookie, name, ino, was=0)
        if is_dir:
            directory.nlink += 1
        self._changed(directory, now)
        state.end()
        return node

    def _new_name(self, parent: int, name: bytes) -> tuple[Inode, int]:
        """The directory for a name that must not exist yet, and the name's cookie."""
        if len(name) > NAME_MAX:
            raise error(errno.ENAMETOOLONG)
        directory = self._expanded(parent)
        if not directory.is_dir:
            raise error(errno.ENOTDIR)
        if not directory.nlink:
            raise error(errno.ENOENT)
        existing, cookie = self._state.place(parent, name)
        if existing is not None:
            raise error(errno.EEXIST)
        return directory, cookie

    def _changed(self, directory: Inode, now: int) -> None:
        # It shows who did it; in commits, names are no part of a directory's element, and its time follows from them.
        state = self._state
        directory.mtime = directory.ctime = now
        recording, state.recording = state.recording, False
        state.stamp(directory, now)
        state.recording = recording

    def link(self, ino: int, parent: int, name: bytes) -> Inode:
        """Another name for a file."""
        node = self._state.inode(ino)
        if node.is_dir:
            raise error(errno.EPERM)
        if not node.nlink:
            raise error(errno.ENOENT)
        if node.nlink >= LINK_MAX:
            raise error(errno.EMLINK)
        directory, cookie = self._new_name(parent, name)
        now = self._state.begin()
        node.nlink += 1
        node.ctime = now
        if not node.id:
            # When one of its names comes back from elsewhere under another path, it is this inode that gets it.
            node.id = self._state.file_ids.of(node)
            self._state.put_arrived(node.id, ino)
        self._state.put_inode(node)
        self._state.put_name(parent, cookie, name, ino, was=0)
        self._changed(directory, now)
        self._state.end()
        return node

    def unlink(self, parent: int, name: bytes) -> None:
        """Removes a name of anything but a directory."""
        entry, node = self._existing(parent, name)
        if node.is_dir:
            raise error(errno.EISDIR)
        directory = self._state.inode(parent)
        now = self._state.begin(grows=False)
        self._state.drop_name(parent, entry.cookie, entry)
        self._drop_link(node, now)
        self._changed(directory, now)
        self._state.end()

    def rmdir(self, parent: int, name: bytes) -> None:
        """Removes an empty directory."""
        entry, node = self._existing(parent, name)
        self._check_empty(node)
        directory = self._state.inode(parent)
        now = self._state.begin(grows=False)
        self._state.drop_name(parent, entry.cookie, entry)
        self._drop_link(node, now)
        directory.nlink -= 1
        self._changed(directory, now)
        self._state.end()

    def _existing(self, parent: int, name: bytes) -> tuple[Name, Inode]:
        self._expanded(parent)
        entry = self._state.entry(parent, name)
        if entry is None:
            raise error(errno.ENOENT)
        return entry, self._state.inode(entry.ino)

    def _check_empty(self, node: Inode) -> None:
        if not node.is_dir:
            raise error(errno.ENOTDIR)
        # In a folded directory there is something, whatever it is.
        if (
            node.flags & Flag.FOLDED
            or self._state.one("SELECT 1 FROM dirent WHERE parent=? LIMIT 1", node.ino) is not None
        ):
            raise error(errno.ENOTEMPTY)

    def _drop_link(self, node: Inode, now: int) -> None:
        node.nlink = 0 if node.is_dir else node.nlink - 1
        node.ctime = now
        self._state.put_inode(node)
        if not node.nlink:
            self._state.put_orphan(node.ino)

    def rename(  # noqa: C901, PLR0912  # one POSIX call, its cases in order
        self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int = 0
    ) -> None:
        """Gives a node another name; by `flags` it must not replace, or the two names change places."""
        state = self._state
        if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE):
            raise error(errno.EINVAL)
        if len(new_name) > NAME_MAX:
            raise error(errno.ENAMETOOLONG)
        self._expanded(new_parent)
        source, node = self._existing(parent, name)
        target, cookie = state.place(new_parent, new_name)
        if target is None and flags & RENAME_EXCHANGE:
            raise error(errno.ENOENT)
        if target is not None and flags & RENAME_NOREPLACE:
            raise error(errno.EEXIST)
        other = None if target is None else state.inode(target.ino)
        if other is node and not flags:
            return
        directory, new_directory = state.inode(parent), state.inode(new_parent)
        if not new_directory.is_dir:
            raise error(errno.ENOTDIR)
        if not new_directory.nlink:
            raise error(errno.ENOENT)
        if node.is_dir:
            self._check_not_below(node.ino, new_parent)
        if flags & RENAME_EXCHANGE and other is not None:
            if other.is_dir:
                self._check_not_below(other.ino, parent)
            now = state.begin()
            state.put_name(parent, source.cookie, name, other.ino, was=node.ino)
            self._moved(other, new_directory, directory, now)
        else:
            if other is not None:
                self._check_replaceable(node, other)
            # Making room must be possible on a full disk too.
            now = state.begin(grows=False)
            state.drop_name(parent, source.cookie, source)
            if other is not None:
                self._drop_link(other, now)
                if other.is_dir:
                    new_directory.nlink -= 1
        state.put_name(new_parent, cookie, new_name, node.ino, was=0 if target is None else target.ino)
        self._moved(node, directory, new_directory, now)
        self._changed(directory, now)
        if new_directory is not directory:
            self._changed(new_directory, now)
        state.end()

    def _check_replaceable(self, node: Inode, other: Inode) -> None:
        if other.is_dir:
            if not node.is_dir:
                raise error(errno.EISDIR)
            self._check_empty(other)
        elif node.is_dir:
            raise error(errno.ENOTDIR)

    def _check_not_below(self, ino: int, directory: int) -> None:
        """A directory cannot be moved into itself."""
        while directory != ROOT:
            if directory == ino:
                raise error(errno.EINVAL)
            directory = self._state.inode(directory).parent

    def _moved(self, node: Inode, old: Inode, new: Inode, now: int) -> None:
        node.parent = new.ino
        node.ctime = now
        if node.is_dir and old is not new:
            old.nlink -= 1
            new.nlink += 1
        self._state.put_inode(node)

    def listing(self, ino: int, cookie: int) -> list[Listed]:
        """Up to a few dozen entries after `cookie` (0: from the start); empty at the end.

        Cookies come from the names, so they stay valid while the directory changes.
        """
        state = self._state
        node = self._expanded(ino)
        out: list[Listed] = []
        if cookie < _DOT:
            out.append(Listed(b".", node, _DOT))
        if cookie < _DOTDOT:
            out.append(Listed(b"..", state.find(node.parent) or node, _DOTDOT))
        rows = state.all(
            "SELECT d.cookie, d.name, d.ino, i.rec FROM dirent d LEFT JOIN inode i ON i.ino=d.ino"
            " WHERE d.parent=? AND d.cookie>? ORDER BY d.cookie LIMIT ?",
            ino,
            max(cookie, _DOTDOT),
            _PAGE_OF_NAMES,
        )
        for next_cookie, name, child, record in rows:
            # An inode that is newer than the last checkpoint has no row yet.
            found = state.find(child) if record is None else state.known(child, record)
            if found is not None:
                out.append(Listed(name, found, next_cookie))
        return out
