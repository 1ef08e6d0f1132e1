"""Unmount: find the mount that is meant, wait for what is open, and for the daemon to have saved everything."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from vaultfs.daemon.client import NoAnswerError, call
from vaultfs.daemon.holders import sandboxes_with, users_of
from vaultfs.daemon.lock import MOUNT, Holder, holder_of, last_holder, wait_until_free
from vaultfs.daemon.place import has_mount, place_of
from vaultfs.daemon.status import decode, printable
from vaultfs.errors import BusyError, DaemonGoneError, NotMountedError, UnpublishedError, UsageError
from vaultfs.fuse import mount
from vaultfs.fuse.mountinfo import mounts

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultfs.daemon.paths import Places, VaultPlaces

PAUSE = 0.2
STEP = 0.5
GRACE = 30.0  # seconds a forced daemon has to save before it is killed
SHOWN = 5
AT_ONCE = 2.0  # seconds; what ends within that needs no explanation
LEAST = 5.0  # seconds an unmount itself may take, however little patience was asked for


@dataclass(frozen=True)
class Mounted:
    """A mount to take away; `vault` is None for a dead one that no vault here remembers."""

    mountpoint: str
    vault: VaultPlaces | None
    holder: Holder | None

    @property
    def name(self) -> str:
        """For sentences."""
        return self.vault.name if self.vault else self.mountpoint


def find(places: Places, text: str | None, named: str | None) -> Mounted:
    """The mount at the directory `text`, or of the vault `text` or `named`, or the only one.

    NotMountedError, UsageError if several would do.
    """
    known = {name: places.vault(name) for name in places.names()}
    if text is not None:
        where = place_of(text)
        if has_mount(where):
            every = [*known.values(), *places.temporaries()]
            owners = [vault for vault in every if last_holder(vault).mountpoint == where]
            return _of(where, owners[0] if owners else None)
        named = text if text in known else None
    candidates = [known[named]] if named in known and named is not None else list(known.values())
    found = [it for it in (_of(last_holder(vault).mountpoint, vault) for vault in candidates) if _is_there(it)]
    if text is not None and named is None:
        raise NotMountedError(what=printable(text))
    if not found:
        raise NotMountedError(what=_vaults([named] if named else list(known)))
    if len(found) > 1:
        raise UsageError(detail="Several are mounted, say which: " + ", ".join(it.mountpoint for it in found))
    return found[0]


def unmount(target: Mounted, *, seconds: float, force: bool, waiting: Callable[[str, float], None]) -> None:
    """Take `target` away; when this returns its vault is saved, closed and free.

    Waits up to `seconds` for open files and sandboxes that have the mount (then BusyError, naming who has them), and
    for saving (then UnpublishedError). `force` does not wait for open files, and ends a daemon that does not end.
    `waiting(what, seconds)` is called while waiting.
    """
    started = time.monotonic()
    if force and target.vault is not None and target.holder is not None:
        _end(target.vault, target.holder, waiting)
    device = _device(target.mountpoint)
    if has_mount(target.mountpoint):
        _detach(target, started, seconds, lazy=force or target.holder is None, waiting=waiting)
    if target.vault is None or target.holder is None:
        return
    while not wait_until_free(target.vault, STEP):
        passed = time.monotonic() - started
        kept = "; ".join(sandboxes_with(target.mountpoint, device)) if passed > AT_ONCE else ""
        waiting(kept or _saving(target.vault), passed)
        if passed > seconds and kept:
            raise BusyError(path=target.mountpoint, detail=kept)
        if passed > seconds:
            raise UnpublishedError(detail=f"the daemon is still saving after {passed:.0f} s")
    # A daemon that closes the store empties the lock's text; one that failed or was killed does not. On a disk that
    # is read-only the text is an earlier daemon's, and there was nothing to save.
    if os.access(target.vault.lock, os.W_OK) and last_holder(target.vault).purpose == MOUNT:
        raise UnpublishedError(
            detail="the daemon ended before it had closed the store; the next mount replays its journal"
        )
    left = last_holder(target.vault).left
    if left:
        raise UnpublishedError(detail=f"{left}; the next mount publishes it")


def _device(mountpoint: str) -> str:
    """The number of the mount, by which it is known in every namespace; empty if there is none."""
    where = os.fsencode(mountpoint)
    return next((entry.device for entry in reversed(mounts()) if entry.mountpoint == where and entry.is_vault), "")


def _saving(vault: VaultPlaces) -> str:
    """What the daemon is doing after the mount has gone."""
    try:
        found = decode(call(vault.socket, "GET", "/status", timeout=STEP)).sync
    except (NoAnswerError, msgspec.DecodeError):
        return "saving"
    if found is None or found.all_published:
        return "saving"
    rate = f", {found.transfers.rate / 1024:.0f} KiB a second" if found.transfers.rate else ""
    return f"publishing {found.pending.bytes:,} bytes{rate}"


def _detach(
    target: Mounted, started: float, seconds: float, *, lazy: bool, waiting: Callable[[str, float], None]
) -> None:
    while True:
        error = _try(target, started, seconds, lazy=lazy, waiting=waiting)
        if error is None or isinstance(error, NotMountedError):
            return
        if not isinstance(error, BusyError):
            raise error
        passed = time.monotonic() - started
        if passed >= seconds:
            raise BusyError(path=target.mountpoint, detail=_who(target.mountpoint)) from None
        waiting(_who(target.mountpoint), passed)
        time.sleep(PAUSE)


def _try(
    target: Mounted, started: float, seconds: float, *, lazy: bool, waiting: Callable[[str, float], None]
) -> Exception | None:
    """One unmount, in a thread that may stay behind: a daemon that is stuck would hold it, and us, for ever."""
    outcome: list[Exception | None] = []

    def work() -> None:
        try:
            mount.detach(target.mountpoint, lazy=lazy)
        except Exception as error:  # noqa: BLE001 - handed over to the caller
            outcome.append(error)
        else:
            outcome.append(None)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(PAUSE)
        passed = time.monotonic() - started
        if passed > max(seconds, LEAST) and thread.is_alive():
            raise DaemonGoneError(name=target.name, path=target.mountpoint)
        waiting("handing over what the kernel still holds", passed)
    return outcome[0]


def _who(mountpoint: str) -> str:
    users = users_of(mountpoint)
    if not users:
        return "by another user's process"
    more = f" and {len(users) - SHOWN} more" if len(users) > SHOWN else ""
    return "; ".join(map(str, users[:SHOWN])) + more


def _end(vault: VaultPlaces, holder: Holder, waiting: Callable[[str, float], None]) -> None:
    """Have the daemon finish though files are open: by request, by signal, and at last by force.

    It gives open files a moment, then takes the mount away from them; the journal keeps what it has accepted.
    """
    started = time.monotonic()
    try:
        call(vault.socket, "POST", "/umount")
    except NoAnswerError:
        _signal(holder, signal.SIGTERM)
    while not wait_until_free(vault, STEP):
        passed = time.monotonic() - started
        waiting("ending the daemon", passed)
        if passed > GRACE:
            _signal(holder, signal.SIGKILL)
            wait_until_free(vault, GRACE)
            return


def _signal(holder: Holder, number: signal.Signals) -> None:
    if holder.pid:
        with suppress(ProcessLookupError):
            os.kill(holder.pid, number)


def _vaults(names: list[str]) -> str:
    if not names:
        return "There is no vault here, so it"
    quoted = ", ".join(f"'{name}'" for name in names)
    return f"The vault {quoted}" if len(names) == 1 else f"Each of the vaults {quoted}"


def _of(mountpoint: str, vault: VaultPlaces | None) -> Mounted:
    return Mounted(mountpoint, vault, holder_of(vault) if vault else None)


def _is_there(target: Mounted) -> bool:
    if target.holder is not None:
        return target.holder.purpose == MOUNT
    return bool(target.mountpoint) and has_mount(target.mountpoint)
