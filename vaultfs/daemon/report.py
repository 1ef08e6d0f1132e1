"""The status of a vault as seen from outside its daemon: asked of the daemon, or found on the disk."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import msgspec

from vaultfs.crypto.records import VERSION, WalletSlot
from vaultfs.crypto.slots import slot_address
from vaultfs.daemon.client import NoAnswerError, call
from vaultfs.daemon.lock import MOUNT, Holder, holder_of, last_holder
from vaultfs.daemon.status import HealthFact, Status, StorageFact, decode, instant
from vaultfs.daemon.vault import read_header
from vaultfs.errors import VaultfsError
from vaultfs.fuse.mountinfo import vault_at

if TYPE_CHECKING:
    from pathlib import Path

    from vaultfs.crypto.records import Header
    from vaultfs.daemon.paths import VaultPlaces

ANSWER_SECONDS = 5.0


def report(vault: VaultPlaces, *, remote: str = "") -> Status:
    """The status of `vault`, which must exist. Damage is reported in it, not raised."""
    holder = holder_of(vault)
    if holder is not None and holder.purpose in {MOUNT, "unknown"}:
        try:
            return decode(call(vault.socket, "GET", "/status", timeout=ANSWER_SECONDS))
        except (NoAnswerError, msgspec.DecodeError):
            problem = f"the daemon (pid {holder.pid}) does not answer on {vault.socket}"
            return _on_disk(vault, remote, holder, "mounted", [problem])
    if holder is not None:
        return _on_disk(vault, remote, holder, "busy", [])
    last = last_holder(vault)
    if last.mountpoint and vault_at(last.mountpoint):
        problem = "its daemon has died; mounting it again cleans up"
        return _on_disk(vault, remote, last, "dead", [problem])
    return _on_disk(vault, remote, Holder(), "unmounted", [])


def _on_disk(vault: VaultPlaces, remote: str, holder: Holder, state: str, problems: list[str]) -> Status:
    header: Header | None = None
    try:
        header = read_header(vault)
    except VaultfsError as error:
        problems.append(error.message)
    problems += [f"{path} is missing" for path in (vault.device, vault.store) if not path.exists()]
    wallets = [slot for slot in header.slots if isinstance(slot, WalletSlot)] if header else []
    return Status(
        vault=vault.name,
        vault_id=header.vault_id.hex() if header else None,
        state=state,
        wallet=slot_address(wallets[0]) if wallets else None,
        mountpoint=holder.mountpoint or None,
        pid=holder.pid or None if state != "dead" else None,
        since=instant(holder.since) if holder.since else None,
        read_only=holder.read_only,
        remote=remote or None,
        storage=StorageFact(
            journal_bytes=_bytes_below(vault.store / "journal"),
            pack_bytes=_bytes_below(vault.store / "packs"),
        ),
        format_version=VERSION if header else None,
        health=HealthFact(not problems, problems),
    )


def _bytes_below(path: Path) -> int:
    total = 0
    for directory, _, names in os.walk(path):
        for name in names:
            try:
                found = os.lstat(os.path.join(directory, name))  # noqa: PTH118 - many files
            except OSError:
                continue
            total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total
