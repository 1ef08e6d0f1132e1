"""For verbs that read the remote themselves: what this machine has seen of it, so that less does not go unnoticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultfs.cli.output import printable, warn
from vaultfs.errors import NewerFormatError, StoreDamagedError

if TYPE_CHECKING:
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.crypto.records import Header
    from vaultfs.daemon.paths import VaultPlaces
    from vaultfs.errors import RollbackError
    from vaultfs.remote import Remote
    from vaultfs.sync.archive import Archive
    from vaultfs.sync.trust import MemorySeen

NOBODY = bytes(16)


class Recall:
    """What is remembered of a vault; to be made before the remote is looked at. Nothing where it is not here.

    `strict`: whether it counts against this remote, which may be a copy of an earlier time that a person names. A mount
    of the vault goes on meanwhile, and is not asked: what it has seen in its last seconds is not in here.
    """

    def __init__(self, place: VaultPlaces, keys: VaultKeys, *, strict: bool = True) -> None:
        self.own = NOBODY
        self.seen = self._read(place, keys) if place.exists() else None
        self.strict = strict and self.seen is not None

    def _read(self, place: VaultPlaces, keys: VaultKeys) -> MemorySeen | None:
        from vaultfs.daemon.vault import read_device  # noqa: PLC0415 - not for --help
        from vaultfs.sync.trust import MemorySeen  # noqa: PLC0415
        from vaultfs.tree.remembered import remembered  # noqa: PLC0415 - loads SQLite

        try:
            self.own = read_device(place, keys).id
            found = remembered(place.store, keys, self.own)
        except (StoreDamagedError, NewerFormatError) as error:
            # Perhaps that is why somebody restores from the remote.
            warn(f"What this machine has seen of '{place.name}' cannot be compared: {error.message}")
            return None
        memory = MemorySeen()
        memory.rows.update(found.seen)
        memory.facts.update(found.facts)
        return memory

    async def archive(self, remote: Remote, keys: VaultKeys, header: Header, *, strict: bool = True) -> Archive:
        """The commits on the remote. Raises RollbackError when it shows less than was seen here, or an alarm stands.

        Only a warning comes where there is no memory but what heads say of each other, and unless `strict`: for who
        says which commit is meant, or looks what is wrong.
        """
        archive = await self.compared(remote, keys, header)
        error = self.judge(archive, strict=strict)
        if error is not None:
            raise error
        return archive

    async def compared(self, remote: Remote, keys: VaultKeys, header: Header) -> Archive:
        """Likewise, without a judgement: what is wrong is among the alarms of its `trust`."""
        from vaultfs.sync.archive import Archive  # noqa: PLC0415 - not for --help
        from vaultfs.sync.recalling import doubts  # noqa: PLC0415

        archive = Archive(remote, keys, header, self.seen)
        await archive.look()
        await doubts(archive, self.own)
        return archive

    def judge(self, archive: Archive, *, strict: bool = True) -> RollbackError | None:
        """The error to end with, if there is any; else what is wrong is a warning."""
        for alarm in archive.trust.alarms:
            if strict and self.strict:
                return archive.trust.error(alarm)
            warn(f"Warning: {archive.remote.label} may not show all that was published: {printable(alarm.text)}.")
        return None


def is_exact(commit: str | None) -> bool:
    """Whether that is DEVICE:NUMBER: what else the remote shows or hides makes no difference to it."""
    device, _, number = (commit or "").rpartition(":")
    return bool(device) and number.isdecimal()
