"""What a remote shows, against what this machine has seen, and against what the heads there have seen of each other.

For verbs that look only once, without a mount. Nothing is concluded from a listing, which may be late: what it lacks is
asked for by name, and only its absence then is a doubt (vaultfs.sync.heads).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from vaultfs.errors import NewerFormatError, RemoteDamagedError, RemoteObjectMissingError
from vaultfs.format.head import head_name
from vaultfs.sync.trust import Doubt
from vaultfs.sync.wary import together

if TYPE_CHECKING:
    from vaultfs.errors import VaultfsError
    from vaultfs.sync.archive import Archive
    from vaultfs.sync.facts import Alarm


async def doubts(archive: Archive, own: bytes = bytes(16)) -> list[Alarm]:
    """What is against it, those alarms first that stand already. `own`: this machine. Call `look` before.

    The newest head of every device is in `archive.trust` then, and what was only missing in the listing in
    `archive.numbers`. No more requests than `Archive.newest`, as long as all is there. Raises what the remote raises.
    """
    comparing = _Comparing(archive)
    await together(partial(comparing.look, device) for device in {*archive.numbers, *archive.trust.heads})
    for device, counter in archive.trust.expected(own).items():
        await comparing.look_for_named(device, counter)
    return archive.trust.alarms


class _Comparing:
    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._trust = archive.trust
        self._errors: dict[bytes, VaultfsError] = {}

    async def look(self, device: bytes) -> None:
        """Take the newest head of a device; one that was seen here has to be there, or a newer one."""
        number = self._trust.number(device)
        newest = max(self._archive.numbers.get(device, ()), default=0)
        if newest >= max(number, 1) and await self._take(device, newest):
            return
        excused = number <= self._trust.excused(device) or self._archive.removed(device)
        if excused or await self._take(device, number) or await self._take(device, number + 1):
            return
        damage = self._errors.get(device)
        text = f"it had {self._trust.last_seen(device)}, "
        text += f"which is now damaged: {damage.fields.get('detail') or damage.message}" if damage else "which is gone"
        self._trust.doubt(Doubt.DAMAGED if damage else Doubt.ROLLBACK, device, head_name(device, number), text)

    async def look_for_named(self, device: bytes, counter: int) -> None:
        """A head that other devices have seen has to be there."""
        if self._archive.removed(device, counter) or self._trust.number(device) >= counter:
            return
        if await self._take(device, counter) or await self._take(device, counter + 1):
            return
        witnessed = self._trust.witnessed(self._trust.heads.values(), device, counter)
        text = f"{witnessed}, which the remote does not show"
        self._trust.doubt(Doubt.WITHHELD, device, head_name(device, counter), text)

    async def _take(self, device: bytes, number: int) -> bool:
        """Whether that head is there and whole."""
        try:
            head = await self._archive.head(device, number)
        except RemoteObjectMissingError:
            return False
        except (RemoteDamagedError, NewerFormatError) as error:
            self._errors[device] = error
            return False
        self._archive.found(device, number)
        if number > self._trust.number(device):
            self._trust.take(head)
        return True
