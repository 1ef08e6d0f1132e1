"""One user of a vault at a time on this machine.

`flock` on the vault's lock file: the kernel lets go of it however the daemon ends, and it survives the fork
from the command that took it into the daemon. The file's text tells others who holds it; it is believed only
while the lock is held.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from typing import TYPE_CHECKING

import msgspec

from vaultfs.errors import AlreadyMountedError, BusyError, StoreReadOnlyError

if TYPE_CHECKING:
    from pathlib import Path

    from vaultfs.daemon.paths import VaultPlaces

MOUNT = "mount"  # the purpose of a daemon
MAX_TEXT = 1 << 16
GLANCE = 0.2  # seconds
PAUSE = 0.01


class Holder(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who uses a vault: what for, as which process, where mounted, since when (seconds since 1970).

    `left`: of a daemon that has ended, what it could not publish, in words.
    """

    purpose: str = "unknown"
    pid: int = 0
    mountpoint: str = ""
    since: float = 0.0
    read_only: bool = False
    left: str = ""


class VaultLock:
    """The lock, held from `take` until `release` or the end of every process that inherited it."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self.path = path

    @classmethod
    def take(cls, vault: VaultPlaces, holder: Holder) -> VaultLock:
        """Take the lock of `vault`; AlreadyMountedError or BusyError if somebody has it."""
        descriptor = _open(vault, read_only=holder.read_only)
        # Somebody who asks `holder_of` has it for a moment, hence the second look.
        deadline = time.monotonic() + GLANCE
        while not _try(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise _taken(vault)
            time.sleep(PAUSE)
        lock = cls(descriptor, vault.lock)
        lock.record(holder)
        return lock

    def record(self, holder: Holder) -> None:
        """Say in the file who holds the lock. The text is for people: a full disk does not stop a mount."""
        text = msgspec.json.encode(holder) + b"\n"
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text, 0)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EBADF, errno.EINVAL}:
                raise

    def release(self, left: str = "") -> None:
        """Let go, in this process. The text goes too: without a purpose it is a lock that was given back."""
        if self._descriptor >= 0:
            self.record(Holder(left=left))
            os.close(self._descriptor)
            self._descriptor = -1

    def forget(self) -> None:
        """Close this process's copy and leave the lock to the child that inherited it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def holder_of(vault: VaultPlaces) -> Holder | None:
    """Who holds the lock of `vault` now, or None."""
    return None if wait_until_free(vault, 0) else last_holder(vault)


def last_holder(vault: VaultPlaces) -> Holder:
    """What the lock file says, held or not: after a crash, the daemon that died."""
    try:
        with vault.lock.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_TEXT), type=Holder)
    except (OSError, msgspec.DecodeError):
        return Holder()


def wait_until_free(vault: VaultPlaces, seconds: float) -> bool:
    """Wait until nobody holds the lock; False if somebody still does after `seconds`."""
    try:
        descriptor = os.open(vault.lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    deadline = time.monotonic() + seconds
    try:
        while not _try(descriptor, fcntl.LOCK_SH):
            if time.monotonic() >= deadline:
                return False
            time.sleep(PAUSE)
        return True
    finally:
        os.close(descriptor)


def _open(vault: VaultPlaces, *, read_only: bool) -> int:
    try:
        return os.open(vault.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in {errno.EROFS, errno.EACCES, errno.EPERM}:
            raise
        if not read_only:
            raise StoreReadOnlyError(path=vault.root, detail=error.strerror) from error
    return os.open(vault.lock if vault.lock.exists() else vault.root, os.O_RDONLY | os.O_CLOEXEC)


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _taken(vault: VaultPlaces) -> AlreadyMountedError | BusyError:
    holder = last_holder(vault)
    if holder.purpose in {MOUNT, "unknown"}:
        return AlreadyMountedError(name=vault.name, mountpoint=holder.mountpoint or "an unknown place")
    return BusyError(path=f"The vault '{vault.name}'", detail=f"vaultfs {holder.purpose} runs (pid {holder.pid})")
