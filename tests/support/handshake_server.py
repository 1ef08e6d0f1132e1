"""One file in memory, mounted with the handshake or the plain way, for tests/mounted/test_handshake.py.

A process of its own, as pyfuse3 has one session per process and the tests also run it as another user. Prints one
JSON line when it serves and one with the counted requests when it has been unmounted.
"""

# ruff: noqa: ARG002  handlers have the arguments pyfuse3 gives them

from __future__ import annotations

import collections
import errno
import json
import os
import stat
import sys
from typing import TYPE_CHECKING

import pyfuse3
import trio
from pyfuse3 import FUSEError

from vaultfs.fuse import handshake, mount, protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE = 2


class OneFile(pyfuse3.Operations):
    """A root directory and the file `file`; counts what it is asked."""

    enable_writeback_cache = True

    def __init__(self) -> None:
        self.data = bytearray()
        self.counts: collections.Counter[str] = collections.Counter()

    def _attributes(self, inode: int) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.st_mode = stat.S_IFREG | 0o644 if inode == FILE else stat.S_IFDIR | 0o755
        entry.st_nlink = 1 if inode == FILE else 2
        entry.st_size = len(self.data) if inode == FILE else 0
        entry.st_uid, entry.st_gid = os.getuid(), os.getgid()
        return entry

    async def lookup(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        if name != b"file":
            raise FUSEError(errno.ENOENT)
        return self._attributes(FILE)

    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return self._attributes(inode)

    async def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        if fields.update_size:
            del self.data[attr.st_size :]
        return self._attributes(inode)

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=inode)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        self.counts["read"] += 1
        return bytes(self.data[off : off + size])

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        self.counts["write"] += 1
        self.data[off : off + len(buf)] = buf
        return len(buf)

    async def release(self, fh: int) -> None:
        pass

    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        self.counts[f"getxattr {name.decode()}"] += 1
        raise FUSEError(pyfuse3.ENOATTR)

    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        return ()


async def main(mountpoint: str, way: str) -> None:
    """Serve until unmounted. `way`: handshake, unoffered (as on an old kernel), plain."""
    operations = OneFile()
    options = mount.MountOptions()
    answer: dict[str, object] = {"way": way}
    if way == "plain":
        pyfuse3.init(operations, mountpoint, mount.plain_words(options))
    else:
        device = mount.attach(mountpoint, options)
        wishes = handshake.WISHES if way == "handshake" else protocol.Wishes()
        agreement = await handshake.negotiate(device, operations, wishes)
        answer |= {"killpriv": agreement.killpriv, "flags": agreement.flags, "minor": agreement.minor}
    print(json.dumps(answer), flush=True)  # noqa: T201  the parent reads it
    await pyfuse3.main()
    pyfuse3.close(unmount=False)
    print(json.dumps(operations.counts), flush=True)  # noqa: T201


if __name__ == "__main__":
    if sys.argv[3:]:
        uid, gid = map(int, sys.argv[3:])
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    trio.run(main, *sys.argv[1:3])
