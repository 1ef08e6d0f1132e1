"""Verify a vault's store: by its daemon when mounted, else here under the lock."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from vaultfs.daemon.client import NoAnswerError, call
from vaultfs.daemon.lock import MOUNT, Holder, VaultLock, holder_of
from vaultfs.daemon.status import printable
from vaultfs.daemon.vault import read_device
from vaultfs.errors import DaemonGoneError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.daemon.paths import VaultPlaces
    from vaultfs.tree.check import Problem

MOST = 10_000  # problems told; a store with more is beyond reading
LONGEST = 7 * 24 * 3600.0  # seconds
TICK = 0.1


class CheckRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What is asked of the daemon."""

    read_data: bool = False


class ProblemFact(msgspec.Struct, frozen=True):
    """One thing that is wrong: what kind, in which object of the store, serving which path."""

    kind: str
    object: str
    path: str
    detail: str

    @classmethod
    def of(cls, problem: Problem) -> ProblemFact:
        """The tree's problem, fit for JSON."""
        return cls(problem.kind, problem.object, printable(problem.path), printable(problem.detail))


def check(
    vault: VaultPlaces,
    unlock: Callable[[], VaultKeys],
    *,
    read_data: bool,
    waiting: Callable[[float], None],
) -> list[ProblemFact]:
    """What is wrong with the store of `vault`. `unlock` is called only if it is not mounted."""
    holder = holder_of(vault)
    if holder is not None and holder.purpose == MOUNT:
        return _patiently(lambda: _ask(vault, holder, read_data=read_data), waiting)
    lock = VaultLock.take(vault, Holder("check", os.getpid(), since=time.time()))
    try:
        keys = unlock()
        device = read_device(vault, keys)
        return _patiently(lambda: look(vault.store, keys, device.id, device.label, read_data=read_data), waiting)
    finally:
        lock.release()


def look(store: Path, keys: VaultKeys, device: bytes, label: str, *, read_data: bool) -> list[ProblemFact]:
    """Check the store itself; blocks."""
    from vaultfs.tree import Device  # noqa: PLC0415 - the store loads SQLite
    from vaultfs.tree.check import check as check_store  # noqa: PLC0415

    problems = check_store(store, keys, Device(device, label), read_data=read_data)
    return [ProblemFact.of(problem) for problem in islice(problems, MOST)]


def _ask(vault: VaultPlaces, holder: Holder, *, read_data: bool) -> list[ProblemFact]:
    body = msgspec.json.encode(CheckRequest(read_data))
    try:
        answer = call(vault.socket, "POST", "/check", body=body, timeout=LONGEST)
        return msgspec.json.decode(answer, type=list[ProblemFact])
    except (NoAnswerError, msgspec.DecodeError) as error:
        raise DaemonGoneError(name=vault.name, path=holder.mountpoint) from error


def _patiently(work: Callable[[], list[ProblemFact]], waiting: Callable[[float], None]) -> list[ProblemFact]:
    """Run `work` in a thread, so that Ctrl-C and the progress line work meanwhile."""
    started = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        while wait([future], TICK).not_done:
            waiting(time.monotonic() - started)
        return future.result()
