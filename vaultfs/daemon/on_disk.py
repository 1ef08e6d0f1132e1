"""What a vault's files say of it while no daemon does."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from vaultfs.crypto.records import VERSION, WalletSlot
from vaultfs.crypto.slots import slot_address
from vaultfs.daemon.status import HealthFact, Status, StorageFact, instant
from vaultfs.daemon.vault import read_header
from vaultfs.errors import VaultfsError

if TYPE_CHECKING:
    from pathlib import Path

    from vaultfs.crypto.records import Header
    from vaultfs.daemon.lock import Holder
    from vaultfs.daemon.paths import VaultPlaces


def on_disk(vault: VaultPlaces, remote: str, holder: Holder, state: str, problems: list[str]) -> Status:
    """The status; `holder`: who has, or had, the vault. Damage is added to `problems`, not raised."""
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
