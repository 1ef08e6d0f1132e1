"""One machine of a person: a real store, the real engine, and a hand that writes; no kernel."""

from __future__ import annotations

import errno
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from tests.remote.fake import Crash
from vaultfs.crypto.device import DeviceIdentity, make_device
from vaultfs.crypto.keys import VaultKeys
from vaultfs.remote import Backend, Limits, Remote
from vaultfs.sync.engine import Engine
from vaultfs.sync.ports import Ports
from vaultfs.sync.units import Known
from vaultfs.tree import ROOT, Device, Tree, create_store, open_store
from vaultfs.tree.incoming import NotHereError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from vaultfs.tree.arrivals import Batch
    from vaultfs.tree.housekeeping import Work

KEYS = VaultKeys(bytes(range(32)), bytes(range(16)))
FILE, DIRECTORY, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777
QUICK = Limits(call=5.0, attempt=2.0, first_pause=0.001, longest_pause=0.01)


@dataclass
class Direct:
    """A mount without a kernel: what is to come into place comes at once."""

    tree: Tree

    async def handover(self) -> None:
        """There is nobody who could have anything to hand over."""

    async def present_all(self, batches: Sequence[Batch]) -> list[bool]:
        """Place them."""
        return [self._present(batch) for batch in batches]

    def _present(self, batch: Batch) -> bool:
        try:
            self.tree.arrivals.place(batch)
        except OSError as problem:
            if problem.errno not in {errno.EBUSY, errno.ENOTEMPTY}:
                raise
            return False
        finally:
            self.tree.arrivals.done(batch)
        return True


NOBODY = 1 << 30  # no process has that number


class Computer:
    """A machine. What it does on its disk is done by plain calls; what it does with the remote, by awaiting."""

    def __init__(self, base: Path, label: str, backend: Backend, *, keys: VaultKeys = KEYS) -> None:
        self.base = base
        self.label = label
        self.backend = backend
        self.keys = keys
        self.identity: DeviceIdentity = make_device(label)
        self.starts = 0
        self.steps_left = 0  # until the machine dies, counted in pieces of work; 0: it does not
        self.store = base / label
        create_store(self.store, keys, self._device, uid=1000, gid=1000)
        self.handles: dict[str, int] = {}
        self._open()

    @property
    def _device(self) -> Device:
        return Device(self.identity.id, self.identity.label)

    def _open(self) -> None:
        self.tree = open_store(self.store, self.keys, self._device)
        self.handles.clear()
        self._working = trio.Lock()
        self.remote = Remote(self.backend, QUICK)
        ports = Ports(
            tree=self.tree, remote=self.remote, keys=self.keys, identity=self.identity, mount=Direct(self.tree),
            do=self._do, classify=Known(),
        )  # fmt: skip
        self.engine = Engine(ports)

    async def _do(self, decide: Callable[[], Work | None]) -> bool:
        """As `vaultfs.fuse.housekeeping` does it: one piece of work after the other, each to its end."""
        with trio.CancelScope(shield=True):
            async with self._working:
                work = decide()
                found = work is not None
                while work is not None:
                    self._step()
                    await trio.to_thread.run_sync(work.run)
                    self._step()
                    work = work.apply()
        return found

    async def housekeep(self) -> None:
        """What a mount does now and then: seals what rests, writes packs anew, makes durable."""
        while await self._do(self.tree.tick):
            pass

    def _step(self) -> None:
        """One more piece of work on the disk; the machine may die here."""
        self.steps_left -= 1
        if not self.steps_left:
            raise Crash

    # -- what happens to a machine

    def crash(self) -> None:
        """SIGKILL, and a new start."""
        self.steps_left = 0
        self.restore(self.image())

    def image(self) -> Path:
        """A copy of the disk as it is."""
        self.starts += 1
        copy = self.base / f"{self.label}-{self.starts}"
        shutil.copytree(self.store, copy)
        return copy

    def restore(self, image: Path) -> None:
        """The disk is as it was when the image was made."""
        self.abandon()
        shutil.rmtree(self.store)
        self.store = image
        self._open()

    def abandon(self) -> None:
        """Closes the files and writes nothing."""
        self.tree.state.journal.close()
        self.tree.state.db.close()

    def close(self) -> None:
        """An orderly end."""
        self.tree.close()

    # -- what it does with the remote

    async def begin(self) -> None:
        """Join the vault, or publish what is here."""
        await self.engine.begin()

    async def commit(self) -> bool:
        """Commit what was changed."""
        return await self.engine.commits.commit()

    async def publish(self) -> None:
        """Store what waits."""
        await self.engine.publish()

    async def follow(self) -> None:
        """Merge what others published, and bring in what can be."""
        await self.engine.follow()
        await self.engine.check_out()

    async def sync(self) -> None:
        """All of it."""
        await self.commit()
        await self.follow()
        await self.publish()

    # -- what a person does

    async def here(self, call: Callable[[], object]) -> object:
        """The call's result; what is not here yet is fetched first, as a mount does."""
        while True:
            try:
                return call()
            except NotHereError as missing:
                await self.engine.fetch(missing)

    async def find(self, path: str) -> int:
        """The inode of that path. Raises `OSError`."""
        ino = ROOT
        for part in filter(None, path.split("/")):
            found = await self.here(lambda ino=ino, part=part: self.tree.names.lookup(ino, part.encode()))  # type: ignore[misc]
            ino = found.ino  # type: ignore[attr-defined]
        return ino

    async def _parent(self, path: str) -> tuple[int, bytes]:
        above, _, name = path.rpartition("/")
        return await self.find(above), name.encode()

    async def make(self, path: str, mode: int, target: bytes = b"") -> int:
        """A new node."""
        parent, name = await self._parent(path)
        made = await self.here(lambda: self.tree.names.make(parent, name, mode, 1000, 1000, target=target))
        return made.ino  # type: ignore[attr-defined, no-any-return]

    async def write(self, path: str, data: bytes) -> None:
        """The file has this content now; it is made where it is not there."""
        try:
            ino = await self.find(path)
            await self.here(lambda: self.tree.attributes.set(ino, size=0))
        except FileNotFoundError:
            ino = await self.make(path, FILE)
        await self.here(lambda: self.tree.content.write(ino, 0, data))

    async def patch(self, path: str, offset: int, data: bytes) -> None:
        """A few bytes are written in place."""
        ino = await self.find(path)
        await self.here(lambda: self.tree.content.write(ino, offset, data))

    async def read(self, path: str) -> bytes:
        """The whole content."""
        ino = await self.find(path)
        size = self.tree.inode(ino).size
        return await self.here(lambda: self.tree.content.read(ino, 0, size))  # type: ignore[return-value]

    async def mkdir(self, path: str) -> None:
        """A new directory."""
        await self.make(path, DIRECTORY)

    async def remove(self, path: str) -> None:
        """A file, or an empty directory."""
        parent, name = await self._parent(path)
        ino = await self.find(path)
        remove = self.tree.names.rmdir if self.tree.inode(ino).is_dir else self.tree.names.unlink
        await self.here(lambda: remove(parent, name))
        if not self.tree.handles.is_open(ino):
            self.tree.forget(ino)

    async def rename(self, old: str, new: str, flags: int = 0) -> None:
        """Another name."""
        parent, name = await self._parent(old)
        new_parent, new_name = await self._parent(new)
        await self.here(lambda: self.tree.names.rename(parent, name, new_parent, new_name, flags))

    async def hold(self, path: str) -> None:
        """Open for writing, until `release`, by a program that has ended by then."""
        self.handles[path] = self.tree.handles.open(await self.find(path), writable=True, pid=NOBODY)

    def release(self, path: str) -> None:
        """Closed again."""
        handle = self.handles.pop(path, None)
        if handle is not None:
            ino = self.tree.handles.release(handle)
            with suppress(OSError):
                self.tree.forget(ino)

    # -- what is there

    async def listing(self, path: str = "") -> dict[str, bytes | None]:
        """Every path below, with its content; None for directories. All is fetched."""
        out: dict[str, bytes | None] = {}
        ino = await self.find(path)
        cookie = 0
        while page := await self.here(lambda at=cookie: self.tree.names.listing(ino, at)):  # type: ignore[misc]
            for name, node, following in page:  # type: ignore[attr-defined]
                cookie = following
                if name in {b".", b".."}:
                    continue
                here = f"{path}/{name.decode()}".lstrip("/")
                if node.is_dir:
                    out[here] = None
                    out.update(await self.listing(here))
                elif stat.S_ISLNK(node.mode):
                    out[here] = b"-> " + node.target
                else:
                    out[here] = await self.read(here)
        return out

    async def kept(self) -> list[bytes]:
        """The contents of all conflicts."""
        decisions = self.engine.decisions
        found = [await decisions.contents(kept) for kept in await decisions.list()]
        return [data for files in found for _, data in sorted(files.items())]
