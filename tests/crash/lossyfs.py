"""The forgetful disk as a file system: `python -m tests.crash.lossyfs MOUNTPOINT SOCKET [DIRECTORY]`.

The socket takes one JSON object a line: {"do": "cut", "seed": 1, "drop_all": false, "save": DIR} ends the process;
{"do": "fault", "errno": 28, "after": 10}; {"do": "heal"}; {"do": "facts"}. Every line is answered with one.
"""

from __future__ import annotations

import errno
import json
import os
import random
import stat
import sys
from pathlib import Path
from typing import Any

import pyfuse3
import trio

from tests.crash.disk import ROOT, Disk, Fault, Node


def attributes(node: Node) -> pyfuse3.EntryAttributes:
    """What the kernel wants to know."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino, entry.st_mode, entry.st_nlink = node.ino, node.mode, max(node.links, 0)
    entry.st_uid, entry.st_gid = node.uid, node.gid
    entry.st_size = len(node.target) or len(node.data)
    entry.st_blksize, entry.st_blocks = 4096, (len(node.data) + 511) // 512
    entry.st_atime_ns, entry.st_mtime_ns, entry.st_ctime_ns = node.times
    entry.attr_timeout = entry.entry_timeout = 1.0
    return entry


class Operations(pyfuse3.Operations):  # type: ignore[misc]
    """Requests to calls of the disk; handles are inode numbers, so nothing is to be kept."""

    enable_writeback_cache = False

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self.disk = disk

    async def lookup(self, parent: int, name: bytes, ctx: object = None) -> pyfuse3.EntryAttributes:
        del ctx
        node = self.disk.node(parent)
        if name in (b".", b".."):
            return attributes(node if name == b"." else self.disk.node(node.parent))
        with translated():
            return attributes(self.disk.find(parent, name))

    async def getattr(self, ino: int, ctx: object = None) -> pyfuse3.EntryAttributes:
        del ctx
        return attributes(self.disk.node(ino))

    async def setattr(self, ino: int, attr: Any, fields: Any, fh: object, ctx: object) -> pyfuse3.EntryAttributes:
        del fh, ctx
        node = self.disk.node(ino)
        if fields.update_size:
            with translated():
                self.disk.truncate(ino, attr.st_size)
        if fields.update_mode:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(attr.st_mode)
        if fields.update_uid:
            node.uid = attr.st_uid
        if fields.update_gid:
            node.gid = attr.st_gid
        if fields.update_atime:
            node.times[0] = attr.st_atime_ns
        if fields.update_mtime:
            node.times[1] = attr.st_mtime_ns
        return attributes(node)

    async def readlink(self, ino: int, ctx: object) -> bytes:
        del ctx
        return self.disk.node(ino).target

    async def mkdir(self, parent: int, name: bytes, mode: int, ctx: Any) -> pyfuse3.EntryAttributes:
        return self._make(parent, name, stat.S_IFDIR | (mode & ~ctx.umask), ctx)

    async def mknod(self, parent: int, name: bytes, mode: int, rdev: int, ctx: Any) -> pyfuse3.EntryAttributes:
        del rdev
        return self._make(parent, name, mode & ~ctx.umask, ctx)

    async def symlink(self, parent: int, name: bytes, target: bytes, ctx: Any) -> pyfuse3.EntryAttributes:
        return self._make(parent, name, stat.S_IFLNK | 0o777, ctx, target)

    def _make(self, parent: int, name: bytes, mode: int, ctx: Any, target: bytes = b"") -> pyfuse3.EntryAttributes:
        with translated():
            return attributes(self.disk.make(parent, name, mode, ctx.uid, ctx.gid, target))

    async def create(self, parent: int, name: bytes, mode: int, flags: int, ctx: Any) -> tuple[Any, Any]:
        del flags
        entry = self._make(parent, name, stat.S_IFREG | (mode & ~ctx.umask), ctx)
        return pyfuse3.FileInfo(fh=entry.st_ino), entry

    async def link(self, ino: int, parent: int, name: bytes, ctx: object) -> pyfuse3.EntryAttributes:
        del ctx
        with translated():
            return attributes(self.disk.link(ino, parent, name))

    async def unlink(self, parent: int, name: bytes, ctx: object) -> None:
        del ctx
        with translated():
            self.disk.remove(parent, name, directory=False)

    async def rmdir(self, parent: int, name: bytes, ctx: object) -> None:
        del ctx
        with translated():
            self.disk.remove(parent, name, directory=True)

    async def rename(self, old: int, old_name: bytes, new: int, new_name: bytes, flags: int, ctx: object) -> None:
        del ctx
        if flags:
            raise pyfuse3.FUSEError(errno.EINVAL)
        with translated():
            self.disk.rename(old, old_name, new, new_name)

    async def open(self, ino: int, flags: int, ctx: object) -> pyfuse3.FileInfo:
        del ctx
        if flags & os.O_TRUNC:
            with translated():
                self.disk.truncate(ino, 0)
        return pyfuse3.FileInfo(fh=ino, keep_cache=True)

    async def read(self, fh: int, offset: int, size: int) -> bytes:
        return bytes(self.disk.node(fh).data[offset : offset + size])

    async def write(self, fh: int, offset: int, data: bytes) -> int:
        with translated():
            return self.disk.write(fh, offset, bytes(data))

    async def fsync(self, fh: int, datasync: bool) -> None:
        del datasync
        with translated():
            self.disk.sync(fh)

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        del datasync
        with translated():
            self.disk.sync_names(fh)

    async def flush(self, fh: int) -> None:
        del fh

    async def release(self, fh: int) -> None:
        del fh

    async def opendir(self, ino: int, ctx: object) -> int:
        del ctx
        return ino

    async def readdir(self, fh: int, start: int, token: Any) -> None:
        names = sorted((ino, name) for name, ino in self.disk.node(fh).names.items())
        for ino, name in names:
            if ino > start and not pyfuse3.readdir_reply(token, name, attributes(self.disk.node(ino)), ino):
                break

    async def releasedir(self, fh: int) -> None:
        del fh

    async def statfs(self, ctx: object) -> pyfuse3.StatvfsData:
        del ctx
        facts = pyfuse3.StatvfsData()
        facts.f_bsize = facts.f_frsize = 4096
        facts.f_blocks, facts.f_namemax = 1 << 20, 255
        full = self.disk.fault.code == errno.ENOSPC and self.disk.fault.left < 0
        facts.f_bfree = facts.f_bavail = 0 if full else 1 << 19
        facts.f_files = facts.f_ffree = facts.f_favail = 1 << 20
        return facts


class translated:  # noqa: N801 - reads as a statement
    """OSError of the disk as pyfuse3 wants it."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise pyfuse3.FUSEError(error.errno) from None


def obey(disk: Disk, order: dict[str, Any]) -> dict[str, Any]:
    """One order of the control socket."""
    if order["do"] == "cut":
        disk.cut(random.Random(order["seed"]), drop_all=order["drop_all"])
        disk.save(Path(order["save"]))
    elif order["do"] == "fault":
        disk.fault = Fault(order["errno"], order["after"])
    elif order["do"] == "heal":
        disk.fault = Fault()
    return {"changes": disk.fault.changes, "hits": disk.fault.hits, "syncs": disk.syncs}


async def serve(disk: Disk, socket: str) -> None:
    """Answer FUSE and the control socket until a cut, SIGTERM or the unmount."""
    server = trio.socket.socket(trio.socket.AF_UNIX)
    await server.bind(socket)
    server.listen()

    async def control() -> None:
        while True:
            connection, _ = await server.accept()
            order = json.loads(await connection.recv(65_536))
            answer = obey(disk, order)
            line = json.dumps(answer).encode() + b"\n"
            if order["do"] == "cut":
                # Not a moment in which an fsync that came too late could still be answered.
                os.write(connection.fileno(), line)
                os._exit(0)  # the connection dies with us: whoever waits gets ENOTCONN
            await connection.send(line)
            connection.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(control)
        await pyfuse3.main()
        nursery.cancel_scope.cancel()


def main(mountpoint: str, socket: str, directory: str | None = None) -> None:
    """Load, mount, serve."""
    disk = Disk()
    if directory:
        disk.load(Path(directory))
    options = set(pyfuse3.default_options) | {"fsname=lossyfs", "subtype=lossyfs", "default_permissions"}
    pyfuse3.init(Operations(disk), mountpoint, options)
    try:
        trio.run(serve, disk, socket)
    finally:
        pyfuse3.close()


assert ROOT == pyfuse3.ROOT_INODE
if __name__ == "__main__":
    main(*sys.argv[1:])
