"""One mount to be made: everything the daemon must know, collected before anything is started."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from vaultfs.daemon.lock import MOUNT, Holder, VaultLock
from vaultfs.daemon.place import has_mount, place_of
from vaultfs.errors import MountPointError
from vaultfs.fuse import mount
from vaultfs.fuse.options import MountOptions
from vaultfs.sync.ports import LIVE, Pace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultfs.crypto.device import DeviceIdentity
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.daemon.config import Config
    from vaultfs.daemon.paths import VaultPlaces


@dataclass
class Job:
    """What to mount where and how.

    `since` is seconds since 1970, `timeout` seconds until it must answer; `bandwidth` bytes a second, 0 for no limit.
    `pinned`: the commit (device, number) to be shown, of a store that goes with the mount.
    """

    vault: VaultPlaces
    mountpoint: str
    options: MountOptions
    remote: str = ""
    pace: Pace = field(default_factory=Pace)
    cache_bytes: int = 10 << 30
    fetch_ahead: int = 64 << 20
    bandwidth: int = 0
    fetch_timeout: float = 60.0
    sync_timeout: float = 600.0
    retention_days: int = 30
    respect_leases: bool = False
    notifications: bool = True
    pinned: tuple[bytes, int] | None = None
    log_level: str = "info"
    log_bytes: int = 1 << 20
    timeout: float = 600.0
    since: float = field(default_factory=time.time)
    made_directory: bool = False

    @property
    def holder(self) -> Holder:
        """What the lock file says of this mount, by the process that asks."""
        return Holder(MOUNT, os.getpid(), self.mountpoint, self.since, self.options.read_only)

    def take_lock(self) -> VaultLock:
        """AlreadyMountedError or BusyError if the vault is in use."""
        return VaultLock.take(self.vault, self.holder)

    def prepare_directory(self) -> list[str]:
        """Make the mount point if only its last part is missing, and check it; a dead mount there is removed.

        Returns sentences about what was done. MountPointError, MountPointNotEmptyError.
        """
        notes = []
        try:
            os.mkdir(self.mountpoint, 0o700)  # noqa: PTH102 - the text is what errors show
            self.made_directory = True
            notes.append(f"Made the directory {self.mountpoint}.")
        except FileNotFoundError as error:
            raise MountPointError(path=self.mountpoint, detail="its parent does not exist") from error
        except OSError:
            pass  # it is there, or the check says what else is the matter
        if has_mount(self.mountpoint) and _dead(self.mountpoint):
            mount.detach(self.mountpoint, lazy=True)
            notes.append(f"A dead mount left at {self.mountpoint} was removed.")
        return notes + mount.check_mountpoint(self.mountpoint)

    def undo_directory(self) -> None:
        """Remove the mount point again if it was made for this mount, which then failed."""
        if self.made_directory:
            try:
                os.rmdir(self.mountpoint)  # noqa: PTH106 - as above
            except OSError:
                return  # busy or filled: not ours to judge


@dataclass
class Opened:
    """A job whose vault is locked and unlocked: all the daemon needs. `wallet` is an address, or empty."""

    job: Job
    lock: VaultLock
    keys: VaultKeys
    identity: DeviceIdentity
    wallet: str = ""


def _dead(mountpoint: str) -> bool:
    """Whether nobody serves the mount. statfs is never answered from the kernel's cache, stat may be."""
    try:
        os.statvfs(mountpoint)
    except OSError as error:
        return error.errno in {errno.ENOTCONN, errno.ECONNABORTED}
    return False


def _pace(config: Config, vault: str, *, live: bool | None) -> Pace:
    if config.truth("live", flag=live, vault=vault):
        return LIVE
    after, every, poll, idle = (
        config.number(name, vault=vault) for name in ("commit_after", "commit_every", "poll", "idle_poll")
    )
    return Pace(after, max(after, every), poll, max(poll, idle))


def prepare(
    vault: VaultPlaces,
    mountpoint: str,
    config: Config,
    *,
    read_only: bool | None,
    words: Sequence[str],
    live: bool | None = None,
    respect_leases: bool | None = None,
    lane: str | None = None,
) -> Job:
    """A job from the command line and the settings. UsageError for an unknown mount option."""
    name = vault.name
    given = words or [config.text("mount_options", vault=name)]
    options = MountOptions.parse(given, read_only=config.truth("read_only", flag=read_only, vault=name))
    options = replace(
        options,
        lane=config.text("lane", flag=lane, vault=name),
        quick_wakes=config.truth("quick_wakes", vault=name),
    )
    return Job(
        vault=vault,
        mountpoint=place_of(mountpoint),
        options=options,
        remote=config.text("remote", vault=name),
        pace=_pace(config, name, live=live),
        cache_bytes=int(config.number("cache_bytes", vault=name)),
        fetch_ahead=int(config.number("fetch_ahead", vault=name)),
        bandwidth=int(config.number("bandwidth", vault=name)),
        fetch_timeout=config.number("fetch_timeout", vault=name),
        sync_timeout=config.number("sync_timeout", vault=name),
        respect_leases=config.truth("respect_leases", flag=respect_leases, vault=name),
        notifications=config.truth("notifications", vault=name),
        retention_days=int(config.number("retention_days", vault=name)),
        log_level=config.text("log_level", vault=name),
        log_bytes=int(config.number("log_bytes", vault=name)),
        timeout=config.number("mount_timeout", vault=name),
    )
