"""The records of FUSE that the fast lane reads and writes, byte by byte (linux/fuse.h, version 7.31 and later).

Pure functions over bytes: lengths are checked before anything is taken from a record, and a record that is not what it
must be raises `OddRequestError`. Numbers are in the machine's byte order; times in nanoseconds.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from vaultfs.fuse.shown import BLOCK_BYTES, REMEMBER_SECONDS, Shown

if TYPE_CHECKING:
    from vaultfs.fuse.shown import Node

Record = bytes | bytearray | memoryview


class Op:
    """Opcodes."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    RELEASE = 18
    FSYNC = 20
    GETXATTR = 22
    FLUSH = 25
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    IOCTL = 39
    BATCH_FORGET = 42
    READDIRPLUS = 44
    RENAME2 = 45
    MOST = 64  # numbers from here on are none that we know


NAMES = {number: name.lower() for name, number in vars(Op).items() if name.isupper() and name != "MOST"}

HEADER = Struct("=IIQQIII4x")  # length, opcode, unique, node, uid, gid, pid
BODY = HEADER.size
REPLY = Struct("=IiQ")
UNIQUE_AT = 8

U32 = Struct("=I")
U64 = Struct("=Q")
PAIR = Struct("=II")
TWO = Struct("=QQ")
RANGE = Struct("=QQI")  # READ, WRITE, READDIR: handle, offset, size
RANGE_BYTES = 40
HANDLE_BYTES = 24  # RELEASE
CREATE = Struct("=III4x")  # flags, mode, umask
RENAME2 = Struct("=QI4x")
SETATTR = Struct("=I4xQQ8xQQQIIII4xII4x")
DATA_AT = BODY + RANGE_BYTES

_ATTR = "QQQQQQIIIIIIIIII"
_ENTRY = Struct("=IiQ" + "QQQQII" + _ATTR)
_ATTRIBUTES = Struct("=IiQ" + "QII" + _ATTR)
_OPEN = Struct("=IiQ" + "QI4x")
_CREATED = Struct("=IiQ" + "QQQQII" + _ATTR + "QI4x")
_LENGTH = Struct("=IiQ" + "I4x")
_PLUS = Struct("=" + "QQQQII" + _ATTR + "QQII")
_DIRENT = Struct("=QQII")
_FORGET_INODE = Struct("=IiQ" + "Qqq")
_FORGET_ENTRY = Struct("=IiQ" + "QII")
_DELETED = Struct("=IiQ" + "QQII")
_INVAL_INODE, _INVAL_ENTRY, _DELETE = 2, 3, 6

COOKIE_MAX = (1 << 63) - 1
DIRECT_IO, KEEP_CACHE = 1, 2  # flags in the reply to OPEN
_NANO = 1_000_000_000
_LATEST = (1 << 63) - 1  # ns since 1970
_REMEMBER = int(REMEMBER_SECONDS)
_TYPE_BITS = 12


class OddRequestError(Exception):
    """A record that is too short for what it says it is, or has no name where one must be."""


def fields(struct: Struct, record: Record, size: int, at: int = BODY) -> tuple[int, ...]:
    """The numbers that `struct` finds at `at` in a record of `size` bytes."""
    if size < at + struct.size:
        raise OddRequestError
    return struct.unpack_from(record, at)


def name_at(record: Record, size: int, at: int = BODY) -> bytes:
    """The name that goes from `at` to the end of the record, with its NUL."""
    if size < at + 2 or record[size - 1]:
        raise OddRequestError
    name = bytes(record[at : size - 1])
    if 0 in name:
        raise OddRequestError
    return name


def names_at(record: Record, size: int, at: int) -> tuple[bytes, bytes]:
    """The two names from `at` to the end of the record, each with its NUL."""
    if size < at + 4 or record[size - 1]:
        raise OddRequestError
    one, nul, other = bytes(record[at : size - 1]).partition(b"\0")
    if not nul or not one or not other or 0 in other:
        raise OddRequestError
    return one, other


class Change(NamedTuple):
    """A SETATTR: what is to be set, None for what stays. `now` times are filled in by who answers."""

    mode: int | None
    uid: int | None
    gid: int | None
    size: int | None
    atime: int | None
    mtime: int | None
    ctime: int | None
    by_name: bool


_MODE, _UID, _GID, _SIZE, _ATIME, _MTIME, _FH, _ATIME_NOW, _MTIME_NOW, _CTIME = (
    1, 2, 4, 8, 16, 32, 64, 128, 256, 1024,
)  # fmt: skip


def change_at(record: Record, size: int, now: int) -> Change:
    """What a SETATTR asks for; `now` is the time for those that say so."""
    valid, _, length, atime, mtime, ctime, atime_ns, mtime_ns, ctime_ns, mode, uid, gid = fields(SETATTR, record, size)
    return Change(
        mode if valid & _MODE else None,
        uid if valid & _UID else None,
        gid if valid & _GID else None,
        length if valid & _SIZE else None,
        now if valid & _ATIME_NOW else _time(atime, atime_ns) if valid & _ATIME else None,
        now if valid & _MTIME_NOW else _time(mtime, mtime_ns) if valid & _MTIME else None,
        _time(ctime, ctime_ns) if valid & _CTIME else None,
        not valid & _FH,
    )


def _time(seconds: int, rest: int) -> int:
    """Seconds are signed, though the record says otherwise; what 64 bits of nanoseconds cannot hold is cut off."""
    signed = seconds - (1 << 64) if seconds >> 63 else seconds
    return min(max(signed * _NANO + rest, -_LATEST), _LATEST)


def forgets_at(record: Record, size: int) -> list[tuple[int, int]]:
    """The inodes of a BATCH_FORGET, and how many times each."""
    (count,) = fields(U32, record, size)
    start = BODY + PAIR.size
    if size < start + count * TWO.size:
        raise OddRequestError
    return [TWO.unpack_from(record, start + number * TWO.size) for number in range(count)]


# -- replies


def error(unique: int, number: int) -> bytes:
    """The request failed with this errno; 0: it is done, and there is nothing to tell."""
    return REPLY.pack(REPLY.size, -number, unique)


def head(unique: int, length: int) -> bytes:
    """What goes before `length` bytes of data."""
    return REPLY.pack(REPLY.size + length, 0, unique)


def _attr(node: Node) -> tuple[int, ...]:
    atime, atime_ns = divmod(node.atime, _NANO)
    mtime, mtime_ns = divmod(node.mtime, _NANO)
    ctime, ctime_ns = divmod(node.ctime, _NANO)
    return (
        node.ino, node.size, node.blocks, atime & _U64, mtime & _U64, ctime & _U64, atime_ns, mtime_ns, ctime_ns,
        node.mode, node.nlink, node.uid, node.gid, node.rdev & _U32, BLOCK_BYTES, 0,
    )  # fmt: skip


_U64, _U32 = (1 << 64) - 1, (1 << 32) - 1


def _times(node: Node) -> tuple[int, int, int, int]:
    """How long the kernel may believe the name and the attributes: seconds, seconds, and their nanoseconds."""
    if isinstance(node, Shown):
        name, rest = divmod(int(node.name_seconds * _NANO), _NANO)
        attributes, more = divmod(int(node.seconds * _NANO), _NANO)
        return name, attributes, rest, more
    return _REMEMBER, _REMEMBER, 0, 0


def entry(unique: int, node: Node) -> bytes:
    """A name stands for this node."""
    return _ENTRY.pack(_ENTRY.size, 0, unique, node.ino, 0, *_times(node), *_attr(node))


def attributes(unique: int, node: Node) -> bytes:
    """A node's attributes."""
    _, seconds, _, rest = _times(node)
    return _ATTRIBUTES.pack(_ATTRIBUTES.size, 0, unique, seconds, rest, 0, *_attr(node))


def opened(unique: int, handle: int, flags: int) -> bytes:
    """A file is open."""
    return _OPEN.pack(_OPEN.size, 0, unique, handle, flags)


def created(unique: int, node: Node, handle: int, flags: int) -> bytes:
    """A file was made and is open."""
    return _CREATED.pack(_CREATED.size, 0, unique, node.ino, 0, *_times(node), *_attr(node), handle, flags)


def length_only(unique: int, length: int) -> bytes:
    """So many bytes were taken by a WRITE, or are in the value of an attribute that is not asked for yet."""
    return _LENGTH.pack(_LENGTH.size, 0, unique, length)


def line(name: bytes, node: Node, after: int) -> bytes:
    """One line of a listing."""
    length = len(name)
    return _DIRENT.pack(node.ino, after, length, node.mode >> _TYPE_BITS) + name + bytes(-length % 8)


def line_plus(name: bytes, node: Node, after: int) -> bytes:
    """One line of a listing with the node's attributes."""
    length, ino = len(name), node.ino
    whole = _PLUS.pack(ino, 0, *_times(node), *_attr(node), ino, after, length, node.mode >> _TYPE_BITS)
    return whole + name + bytes(-length % 8)


# -- what the kernel is to forget


def forget_inode(ino: int, *, attributes_only: bool) -> bytes:
    """An inode's attributes, and its pages unless `attributes_only`."""
    offset = -1 if attributes_only else 0
    return _FORGET_INODE.pack(_FORGET_INODE.size, _INVAL_INODE, 0, ino, offset, 0)


def forget_entry(parent: int, name: bytes, gone: int) -> bytes:
    """What a name stands for; `gone`: the inode is gone, not only to be looked up again."""
    length = len(name)
    if gone:
        return _DELETED.pack(_DELETED.size + length + 1, _DELETE, 0, parent, gone, length, 0) + name + b"\0"
    return _FORGET_ENTRY.pack(_FORGET_ENTRY.size + length + 1, _INVAL_ENTRY, 0, parent, length, 0) + name + b"\0"


# -- what was told and did not arrive


def node_of(reply: bytes) -> int:
    """The inode in a reply to LOOKUP, SYMLINK, MKDIR, LINK or CREATE."""
    return int(U64.unpack_from(reply, REPLY.size)[0])


def handle_of(reply: bytes) -> int:
    """The handle in a reply to OPEN or CREATE."""
    at = REPLY.size if len(reply) == _OPEN.size else _ENTRY.size
    return int(U64.unpack_from(reply, at)[0])
