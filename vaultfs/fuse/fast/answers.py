"""What the fast lane answers: each decodes a request, makes one call of the meaning, and encodes the reply."""

from __future__ import annotations

import errno
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from vaultfs.fuse.fast import wire
from vaultfs.fuse.fast.wire import BODY, DATA_AT, OddRequestError, Op, fields, name_at
from vaultfs.fuse.meaning import VIRTUAL
from vaultfs.tree.incoming import NotHereError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vaultfs.fuse.fast.wire import Record
    from vaultfs.fuse.meaning import Meaning
    from vaultfs.fuse.meaning.files import Opened

    Reply = bytes | list[bytes]  # in one or more pieces
    Handler = Callable[[Record, int, int, int], Reply | None]  # record, its size, unique, node


_TELLS_NODE = frozenset((Op.LOOKUP, Op.SYMLINK, Op.MKDIR, Op.LINK, Op.CREATE))
_TELLS_HANDLE = frozenset((Op.OPEN, Op.CREATE))
_FORGET_AT_ONCE = 256


class Postponed(Exception):  # noqa: N818 - no error
    """The request has to wait: first for `wait`, and then it begins; without it for the disk, and then it is done."""

    def __init__(self, wait: Callable[[], Awaitable[None]] | None = None) -> None:
        super().__init__()
        self.wait = wait


class Asker:
    """Who makes the request that is being answered."""

    __slots__ = ("gid", "pid", "uid", "umask")

    def __init__(self) -> None:
        self.uid = self.gid = self.pid = self.umask = 0


class Answers:
    """Handlers by opcode; None: pyfuse3 answers. They raise OSError, NotHereError, OddRequestError, Postponed."""

    def __init__(self, meaning: Meaning) -> None:
        self.caller = Asker()
        self._meaning = meaning
        self._forgotten: list[int] = []  # see `drop`
        table: dict[int, Handler] = {
            Op.LOOKUP: self._lookup,
            Op.FORGET: self._forget,
            Op.GETATTR: self._getattr,
            Op.SETATTR: self._setattr,
            Op.READLINK: self._readlink,
            Op.SYMLINK: self._symlink,
            Op.MKDIR: self._mkdir,
            Op.UNLINK: self._unlink,
            Op.RMDIR: self._rmdir,
            Op.RENAME: self._rename,
            Op.LINK: self._link,
            Op.OPEN: self._open,
            Op.READ: self._read,
            Op.WRITE: self._write,
            Op.RELEASE: self._release,
            Op.FSYNC: self._fsync,
            Op.GETXATTR: self._getxattr,
            # Asked once, never again: with write-back the data arrives before close(2) returns all the same.
            Op.FLUSH: _always(errno.ENOSYS),
            # So, too: a listing needs no handle, and the kernel may keep it until it changes the directory itself.
            Op.OPENDIR: _always(errno.ENOSYS),
            Op.READDIR: self._readdir,
            Op.RELEASEDIR: _always(0),
            Op.FSYNCDIR: self._fsync,
            Op.ACCESS: self._access,
            Op.CREATE: self._create,
            Op.IOCTL: _always(errno.ENOTTY),
            Op.BATCH_FORGET: self._batch_forget,
            Op.READDIRPLUS: self._readdirplus,
            Op.RENAME2: self._rename2,
        }
        self.by_opcode = [table.get(opcode) for opcode in range(Op.MOST)]

    def unsay(self, opcode: int, reply: Reply) -> None:
        """A reply did not reach the kernel, so it does not know what was told in it."""
        if isinstance(reply, list) or len(reply) == wire.REPLY.size:
            return
        if opcode in _TELLS_NODE and (node := wire.node_of(reply)):
            self._meaning.let_go(node, 1)
        if opcode in _TELLS_HANDLE:
            self._meaning.close_file(wire.handle_of(reply))

    # -- names

    def _lookup(self, record: Record, size: int, unique: int, node: int) -> bytes:
        return wire.entry(unique, self._meaning.find(node, name_at(record, size), self.caller))

    def _forget(self, record: Record, size: int, unique: int, node: int) -> None:
        del unique
        (times,) = fields(wire.U64, record, size)
        self._let_go(node, times)

    def _batch_forget(self, record: Record, size: int, unique: int, node: int) -> None:
        del unique, node
        for ino, times in wire.forgets_at(record, size):
            self._let_go(ino, times)

    def _let_go(self, ino: int, times: int) -> None:
        if self._meaning.count_down(ino, times):
            self._forgotten.append(ino)
            if len(self._forgotten) >= _FORGET_AT_ONCE:
                self.drop()

    def drop(self) -> None:
        """Do what is left to do for inodes that the kernel forgot: nobody waits for that, so it is put off."""
        if self._forgotten:
            inodes, self._forgotten = self._forgotten, []
            with suppress(OSError, NotHereError):  # the next start removes what has no name
                self._meaning.drop(inodes)

    def _mkdir(self, record: Record, size: int, unique: int, node: int) -> bytes:
        mode, self.caller.umask = fields(wire.PAIR, record, size)
        name = name_at(record, size, BODY + wire.PAIR.size)
        return wire.entry(unique, self._meaning.make_directory(node, name, mode, self.caller))

    def _readlink(self, record: Record, size: int, unique: int, node: int) -> bytes:
        del record, size
        target = self._meaning.target(node)
        return wire.head(unique, len(target)) + target

    def _symlink(self, record: Record, size: int, unique: int, node: int) -> bytes:
        name, target = wire.names_at(record, size, BODY)
        return wire.entry(unique, self._meaning.make_symlink(node, name, target, self.caller))

    def _link(self, record: Record, size: int, unique: int, node: int) -> bytes:
        (ino,) = fields(wire.U64, record, size)
        name = name_at(record, size, BODY + wire.U64.size)
        return wire.entry(unique, self._meaning.make_link(ino, node, name))

    def _unlink(self, record: Record, size: int, unique: int, node: int) -> bytes:
        self._meaning.remove(node, name_at(record, size), self.caller)
        return wire.error(unique, 0)

    def _rmdir(self, record: Record, size: int, unique: int, node: int) -> bytes:
        self._meaning.remove_directory(node, name_at(record, size), self.caller)
        return wire.error(unique, 0)

    def _rename(self, record: Record, size: int, unique: int, node: int) -> bytes:
        (parent,) = fields(wire.U64, record, size)
        name, new = wire.names_at(record, size, BODY + wire.U64.size)
        self._meaning.move(node, name, parent, new, 0, self.caller)
        return wire.error(unique, 0)

    def _rename2(self, record: Record, size: int, unique: int, node: int) -> bytes:
        parent, flags = fields(wire.RENAME2, record, size)
        name, new = wire.names_at(record, size, BODY + wire.RENAME2.size)
        self._meaning.move(node, name, parent, new, flags, self.caller)
        return wire.error(unique, 0)

    # -- files

    def _create(self, record: Record, size: int, unique: int, node: int) -> bytes:
        flags, mode, self.caller.umask = fields(wire.CREATE, record, size)
        name = name_at(record, size, BODY + wire.CREATE.size)
        opened, inode = self._meaning.create_file(node, name, mode, flags, self.caller)
        return wire.created(unique, inode, opened.handle, _flags(opened))

    def _open(self, record: Record, size: int, unique: int, node: int) -> bytes:
        flags, _ = fields(wire.PAIR, record, size)
        if node >= VIRTUAL:
            self.drop()  # the status counts files
        opened = self._meaning.open_file(node, flags, self.caller)
        return wire.opened(unique, opened.handle, _flags(opened))

    def _read(self, record: Record, size: int, unique: int, node: int) -> list[bytes]:
        del node
        handle, offset, length = fields(wire.RANGE, record, size)
        pieces = self._meaning.read_file(handle, offset, length)
        return [wire.head(unique, sum(map(len, pieces))), *pieces]

    def _write(self, record: Record, size: int, unique: int, node: int) -> bytes:
        del node
        handle, offset, length = fields(wire.RANGE, record, size)
        if size != DATA_AT + length:
            raise OddRequestError
        meaning = self._meaning
        if meaning.tree.crowded:
            raise Postponed(meaning.housekeeping.room)
        written = meaning.write_file(handle, offset, memoryview(record)[DATA_AT:size])
        meaning.syncer.wrote(meaning.tree.sync_soon)
        return wire.length_only(unique, written)

    def _release(self, record: Record, size: int, unique: int, node: int) -> bytes:
        del node
        (handle,) = fields(wire.U64, record, size)
        self._meaning.close_file(handle)
        return wire.error(unique, 0)

    def _fsync(self, record: Record, size: int, unique: int, node: int) -> bytes:
        del record, size, node
        if not self._meaning.syncer.at_once():
            raise Postponed
        return wire.error(unique, 0)

    # -- directories

    def _readdir(self, record: Record, size: int, unique: int, node: int) -> bytes:
        return self._listing(record, size, unique, node, plus=False)

    def _readdirplus(self, record: Record, size: int, unique: int, node: int) -> bytes:
        return self._listing(record, size, unique, node, plus=True)

    def _listing(self, record: Record, size: int, unique: int, node: int, *, plus: bool) -> bytes:
        _, cookie, room = fields(wire.RANGE, record, size)
        if cookie > wire.COOKIE_MAX:
            raise OddRequestError
        meaning, encode = self._meaning, wire.line_plus if plus else wire.line
        lines: list[bytes] = []
        page = meaning.page(node, cookie)
        while page:
            for place, (name, found, after) in enumerate(page):
                encoded = encode(name, found, after)
                if len(encoded) > room:
                    meaning.keep(node, cookie, page[place:])
                    return wire.head(unique, sum(map(len, lines))) + b"".join(lines)
                room -= len(encoded)
                lines.append(encoded)
                if plus:
                    meaning.listed(name, found)
                cookie = after
            try:
                page = meaning.page(node, cookie)
            except NotHereError:
                break  # what is in the reply already must not be put there again: the kernel comes back for the rest
        return wire.head(unique, sum(map(len, lines))) + b"".join(lines)

    # -- attributes

    def _getattr(self, record: Record, size: int, unique: int, node: int) -> bytes:
        del record, size
        return wire.attributes(unique, self._meaning.node(node))

    def _setattr(self, record: Record, size: int, unique: int, node: int) -> bytes:
        change = wire.change_at(record, size, time.time_ns())
        found = self._meaning.change(
            node, self.caller, mode=change.mode, uid=change.uid, gid=change.gid, size=change.size,
            atime=change.atime, mtime=change.mtime, ctime=change.ctime, by_name=change.by_name,
        )  # fmt: skip
        return wire.attributes(unique, found)

    def _access(self, record: Record, size: int, unique: int, node: int) -> bytes:
        mask, _ = fields(wire.PAIR, record, size)
        return wire.error(unique, 0 if self._meaning.may(node, mask) else errno.EACCES)

    def _getxattr(self, record: Record, size: int, unique: int, node: int) -> bytes:
        room, _ = fields(wire.PAIR, record, size)
        value = self._meaning.attribute(node, name_at(record, size, BODY + wire.PAIR.size))
        if value is None:
            return wire.error(unique, errno.ENODATA)
        if not room:
            return wire.length_only(unique, len(value))
        if len(value) > room:
            return wire.error(unique, errno.ERANGE)
        return wire.head(unique, len(value)) + value


def _flags(opened: Opened) -> int:
    return (wire.DIRECT_IO if opened.direct else 0) | (wire.KEEP_CACHE if opened.keep_cache else 0)


def _always(number: int) -> Handler:
    """The same answer for whoever asks; 0: done, as there is nothing to do."""

    def answer(record: Record, size: int, unique: int, node: int) -> bytes:
        del record, size, node
        return wire.error(unique, number)

    return answer
