"""Looking at the heads on the remote: one listing, and a get for each device that moved.

Listings may be late and name things twice, so nothing is concluded from what one of them does not show: only when a
head stayed away for `PATIENCE` listings is it asked for directly, and only its absence then is an alarm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from vaultfs.errors import NewerFormatError, RemoteObjectMissingError
from vaultfs.format.head import (
    MAX_BYTES,
    Head,
    HeadForgedError,
    HeadKeyError,
    HeadRefusedError,
    head_name,
    parse_name,
)
from vaultfs.sync.counted import open_counted
from vaultfs.sync.trust import Doubt, Trust
from vaultfs.sync.wary import together

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultfs.crypto.epochs import Members
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.remote import Remote
    from vaultfs.sync.facts import Alarm
    from vaultfs.sync.trust import SeenStore

PATIENCE = 3
_NO_LIMIT = 1 << 63
_CONTENT = 10  # listings until a head that is there, but not listed, is asked for again


@dataclass(frozen=True)
class Own:
    """What this machine knows of its own heads.

    `published`: the highest number that the remote is known to have. `queued`: the bytes of a head that was made and
    is not known to be there; None for a number that was never used.
    """

    device: bytes
    published: Callable[[], int] = lambda: 0
    queued: Callable[[int], bytes | None] = lambda _: None


@dataclass
class _Looking:
    """What one poll has listed."""

    listed: dict[bytes, set[int]]

    def newest(self, device: bytes) -> int:
        return max(self.listed.get(device, ()), default=0)


class Heads:
    """The heads of all devices, as far as they can be trusted.

    `unknown_own`: the number of a head of our own device that this machine never made, 0 if there is none. Then it
    was cloned, or restored from an older image: it has to take a new device id before it publishes again.
    `landed`: the highest number of a queued head of ours that is on the remote already: only the answer was lost.
    `unreadable`: devices whose newest head a later vaultfs wrote, or under keys that this machine does not have yet.
    `members`: whose heads count, by the newest header; None: everybody's.
    """

    def __init__(self, remote: Remote, keys: VaultKeys, store: SeenStore, own: Own) -> None:
        self.trust = Trust(store, remote.label, keys.vault_id)
        self.own = own
        self.unknown_own = 0
        self.landed = 0
        self.unreadable: dict[bytes, NewerFormatError] = {}
        self.members: Members | None = None
        self._remote = remote
        self._keys = keys
        self._absent: dict[tuple[str, bytes], int] = {}
        self._own_looked_at = 0
        self._new: list[Head] = []

    @property
    def alarms(self) -> list[Alarm]:
        """What stands until `accept`."""
        return self.trust.alarms

    @property
    def seen(self) -> list[Head]:
        """The newest head seen of every device that can be trusted, this one's too."""
        return [head for device, head in self.trust.heads.items() if not self.trust.ignored(device)]

    def published(self, head: Head) -> None:
        """A head of ours is on the remote."""
        self.trust.take(head)

    def accept(self, device: bytes) -> list[Alarm]:
        """End the alarms about a device: from the next poll on, what the remote has of it counts."""
        self._absent = {key: count for key, count in self._absent.items() if key[1] != device}
        return self.trust.accept(device, own=device == self.own.device)

    def fingerprint(self) -> str:
        """All heads seen in one line, to compare with another machine's."""
        return self.trust.fingerprint()

    async def poll(self) -> list[Head]:
        """The new heads of others, verified, oldest first. One request when nothing changed.

        They are in `seen` from now on, also after a crash: whoever starts merges what of `seen` is not in the base yet.
        Raises what the remote raises; what was found before that comes with the next poll.
        """
        looking = _Looking(await self._list())
        await self._look_at_own(looking)
        moved = [device for device in looking.listed if self._moved(device, looking)]
        await together(partial(self._read_newest, looking, device) for device in moved)
        for device in list(self.trust.heads):
            await self._miss_seen(looking, device)
        expected = self.trust.expected(self.own.device)
        self._absent = {key: count for key, count in self._absent.items() if key[0] != "named" or key[1] in expected}
        for device, counter in expected.items():
            if not self._counts(device, counter):
                continue
            await self._miss_named(looking, device, counter)
        new, self._new = self._new, []
        return sorted(new, key=lambda head: (head.time, head.device))

    async def _list(self) -> dict[bytes, set[int]]:
        listed: dict[bytes, set[int]] = {}
        for entry in await self._remote.list("heads"):
            try:
                device, number = parse_name(entry.name)
            except HeadRefusedError:
                continue  # not ours, or not in a form we know
            if self._counts(device, number) and not self.trust.skipped(device, number):
                listed.setdefault(device, set()).add(number)
        return listed

    def _last(self, device: bytes) -> int:
        """The highest number of a head of the device that counts: no limit unless it was removed."""
        return _NO_LIMIT if self.members is None else self.members.removed.get(device, _NO_LIMIT)

    def _counts(self, device: bytes, number: int) -> bool:
        return self.members is None or self.members.counts(device, number)

    def _moved(self, device: bytes, looking: _Looking) -> bool:
        if device == self.own.device or self.trust.ignored(device):
            return False
        return looking.newest(device) > self.trust.number(device)

    # Heads of others.

    async def _read_newest(self, looking: _Looking, device: bytes) -> None:
        await self._read(device, looking.newest(device), listed=True)

    async def _read(self, device: bytes, number: int, *, listed: bool) -> bool:
        """Take a head. False: there is none."""
        name = head_name(device, number)
        try:
            head = await self._open(device, number)
        except RemoteObjectMissingError:
            if listed and self._stays(f"listed {number}", device):
                text = f"{name} is listed, but cannot be read"
                self.trust.doubt(Doubt.DAMAGED, device, name, text)
            return False
        except NewerFormatError as error:
            self.unreadable[device] = error
        except HeadForgedError as error:
            kind = Doubt.KEY if isinstance(error, HeadKeyError) else Doubt.FORGED
            text = f"head {number} of {self.trust.label(device)}: {error}"
            self.trust.doubt(kind, device, name, text)
        except HeadRefusedError as error:
            # It may still be on its way to there, where a store shows half an object.
            if self._stays(f"damaged {number}", device):
                text = f"head {number} of {self.trust.label(device)}: {error}"
                self.trust.doubt(Doubt.DAMAGED, device, name, text)
        else:
            self.unreadable.pop(device, None)
            if self.trust.take(head):
                self._new.append(head)
        return True

    async def _open(self, device: bytes, number: int) -> Head:
        name = head_name(device, number)
        data = await self._get(name)
        return open_counted(data, name, self._keys, self.members, public_key=self.trust.key(device))

    async def _get(self, name: str) -> bytes:
        # Nearly all are small: they get no more time for being allowed to be large.
        return await self._remote.get(name, 0, MAX_BYTES + 1, within=self._remote.limits.call)

    def _stays(self, what: str, device: bytes, patience: int = PATIENCE) -> bool:
        """Whether this has been seen in so many polls."""
        count = self._absent[what, device] = self._absent.get((what, device), 0) + 1
        return count >= patience

    def _over(self, what: str, device: bytes, count: int = 0) -> None:
        if count:
            self._absent[what, device] = count
        else:
            self._absent.pop((what, device), None)

    # What should be there.

    async def _miss_seen(self, looking: _Looking, device: bytes) -> None:
        """The newest head seen of a device, or a newer one, has to be there."""
        number = self.trust.number(device)
        excused = number <= self.trust.excused(device) or self._last(device) < _NO_LIMIT
        if excused or self.trust.ignored(device) or looking.newest(device) >= number:
            self._over("seen", device)
            return
        if not self._stays("seen", device):
            return
        known = self.trust.heads[device]
        try:
            head = await self._open(device, number)
        except RemoteObjectMissingError:
            if device != self.own.device and await self._read(device, number + 1, listed=False):
                self._over("seen", device)
                return
            older = looking.newest(device)
            left = f"only head {older} and older" if older else "none of its heads"
            text = f"it had {self.trust.last_seen(device)}; now it has {left}"
            self.trust.doubt(Doubt.ROLLBACK, device, known.name, text)
        except (HeadRefusedError, NewerFormatError) as error:
            text = f"it had {self.trust.last_seen(device)}, which is now damaged: {error}"
            self.trust.doubt(Doubt.DAMAGED, device, known.name, text)
        else:
            self._over("seen", device, PATIENCE - _CONTENT)
            if head != known and device == self.own.device:
                self.unknown_own = number
            elif head != known:
                text = f"it has another head {number} of {self.trust.label(device)} than the one seen before"
                self.trust.doubt(Doubt.FORGED, device, known.name, text)

    async def _miss_named(self, looking: _Looking, device: bytes, counter: int) -> None:
        """A head that other devices have seen has to be there."""
        if looking.newest(device) >= counter or not self._stays("named", device):
            return
        for number in (counter, counter + 1):
            if await self._read(device, number, listed=False):
                self._over("named", device)
                return
        witnesses = [head.device for head in self.seen if dict(head.vector).get(device, 0) >= counter]
        names = " and ".join(self.trust.label(witness) for witness in witnesses)
        text = f"{names or 'another device'} has seen head {counter} of {self.trust.label(device)}"
        self.trust.doubt(Doubt.WITHHELD, device, head_name(device, counter), f"{text}, which the remote does not show")

    # Our own.

    async def _look_at_own(self, looking: _Looking) -> None:
        own, number = self.own, looking.newest(self.own.device)
        named = max((dict(head.vector).get(own.device, 0) for head in self.seen), default=0)
        if named > max(own.published(), number) and own.queued(named) is None:
            self.unknown_own = max(self.unknown_own, named)
        if number < own.published() or number in (0, self._own_looked_at) or await self._is_ours(number):
            return
        self.unknown_own = max(self.unknown_own, number)

    async def _is_ours(self, number: int) -> bool:
        """Whether the newest head of ours on the remote is one that this machine made. Asks once for each."""
        own, known = self.own, self.trust.heads.get(self.own.device)
        queued = own.queued(number)
        try:
            if queued is not None:
                ours = await self._get(head_name(own.device, number)) == queued
                self.landed = number if ours else self.landed
            elif number == own.published():
                # A clone of this machine may have put another one under the same number.
                ours = known is None or known.number != number or await self._open(own.device, number) == known
            else:
                ours = False
        except (RemoteObjectMissingError, HeadRefusedError):
            return True  # gone or damaged: whether that lasts is looked at elsewhere
        self._own_looked_at = number
        return ours
