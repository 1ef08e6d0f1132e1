"""Looking at the heads on the remote: one listing, and a get for each device that moved.

Listings may be late and name things twice, so nothing is concluded from what one of them does not show: only when a
head stayed away for `PATIENCE` listings is it asked for directly, and only its absence then is an alarm.
"""

from __future__ import annotations

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
from vaultfs.sync.looking import Found, Looking, Own
from vaultfs.sync.patience import LONG, PATIENCE, Failing
from vaultfs.sync.strangers import FEW, Strangers, in_turn
from vaultfs.sync.trust import Doubt, Trust
from vaultfs.sync.unreadable import Unreadable
from vaultfs.sync.wary import together

if TYPE_CHECKING:
    from vaultfs.crypto.epochs import Members
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.remote import Remote
    from vaultfs.sync.facts import Alarm
    from vaultfs.sync.trust import SeenStore

__all__ = ["Heads", "Own"]

_OWN_AT_ONCE = 4  # heads under our own name that are looked at in one poll
_TRIED = 2  # the newest may be on its way, where a store shows half an object; then the one before opens
_CONTENT = 10  # listings until a head that is there, but not listed, is asked for again


class Heads:
    """The heads of all devices, as far as they can be trusted.

    `unknown_own`: the number of a head of our own device, signed with its key, that this machine never made, 0 if
    there is none. Then it was cloned, or restored from an older image: it has to take a new device id before it
    publishes again. What anybody could have put under that name is an alarm, and no reason for that.
    `landed`: the highest number of a queued head of ours that is on the remote already: only the answer was lost.
    `unread`: devices whose newest head a later vaultfs wrote, or under keys that this machine does not have yet.
    `members`: whose heads count, by the newest header; None: everybody's.
    """

    def __init__(self, remote: Remote, keys: VaultKeys, store: SeenStore, own: Own) -> None:
        self.trust = Trust(store, remote.label, keys.vault_id)
        self.own = own
        self.unknown_own = 0
        self.landed = 0
        self.unread = Unreadable()
        self.members: Members | None = None
        self._remote = remote
        self._keys = keys
        self._absent: dict[tuple[str, bytes], int] = {}
        self._own_looked_at = 0
        self._own_junk: set[int] = set()
        self._failing = Failing()
        self._strangers = Strangers()
        self._new: list[Head] = []

    @property
    def alarms(self) -> list[Alarm]:
        """What stands until `accept`."""
        return [*self.trust.alarms, *self._strangers.alarms]

    @property
    def unreadable(self) -> dict[bytes, NewerFormatError]:
        """Why the newest head of a device cannot be read here, where that is no fault of its own."""
        return self.unread.errors

    @property
    def seen(self) -> list[Head]:
        """The newest head seen of every device that can be trusted, this one's too.

        Of ours it stays the newest, whatever somebody puts beside it.
        """
        about = {alarm.object for alarm in self.trust.alarms if alarm.device == self.own.device}
        return [
            head
            for device, head in self.trust.heads.items()
            if not self.trust.ignored(device) or (device == self.own.device and head.name not in about)
        ]

    def be(self, own: Own) -> None:
        """This machine is another device now: what was found of the one before says nothing of it."""
        self.unread.end(self.own.device)
        self.own = own
        self.unknown_own = self.landed = self._own_looked_at = 0
        self._own_junk.clear()

    def published(self, head: Head) -> None:
        """A head of ours is on the remote."""
        self.trust.take(head)

    def accept(self, device: bytes) -> list[Alarm]:
        """End the alarms about a device: from the next poll on, what the remote has of it counts."""
        self._absent = {key: count for key, count in self._absent.items() if key[1] != device}
        self._failing.opened(device)
        self.unread.accept(device)
        self.trust.skip(self._strangers.accept(device))
        return self.trust.accept(device, own=device == self.own.device)

    def fingerprint(self) -> str:
        """All heads seen in one line, to compare with another machine's."""
        return self.trust.fingerprint()

    async def poll(self) -> list[Head]:
        """The new heads of others, verified, oldest first. One request when nothing changed.

        They are in `seen` from now on, also after a crash: whoever starts merges what of `seen` is not in the base yet.
        Raises what the remote raises; what was found before that comes with the next poll.
        """
        looking = Looking(await self._list())
        self._strangers.keep(looking.shows)
        self.unread.keep(lambda device: device in self.trust.heads or device in looking.listed)
        try:
            await self._look(looking)
        finally:
            self.trust.save()
        new, self._new = self._new, []
        return sorted(new, key=lambda head: (head.time, head.device))

    async def _look(self, looking: Looking) -> None:
        await self._look_at_own(looking)
        await together(partial(self._read_newest, looking, device) for device in self._moved(looking))
        for device in list(self.trust.heads):
            await self._miss_seen(looking, device)
        expected = self.trust.expected(self.own.device)
        self._absent = {key: count for key, count in self._absent.items() if key[0] != "named" or key[1] in expected}
        for device, counter in expected.items():
            if not self._counts(device, counter):
                continue
            await self._miss_named(looking, device, counter)
        self._judge(looking)

    async def _list(self) -> dict[bytes, set[int]]:
        listed: dict[bytes, set[int]] = {}
        for entry in await self._remote.list("heads"):
            try:
                device, number = parse_name(entry.name)
            except HeadRefusedError:
                continue  # not ours, or not in a form we know
            skipped = self.trust.skipped(device, number) or number in self.unread.passed.get(device, ())
            if self._counts(device, number) and not skipped:
                listed.setdefault(device, set()).add(number)
        return listed

    def _removed(self, device: bytes) -> bool:
        return self.members is not None and device in self.members.removed

    def _counts(self, device: bytes, number: int) -> bool:
        return self.members is None or self.members.counts(device, number)

    def _moved(self, looking: Looking) -> list[bytes]:
        """The devices of which something newer is listed."""
        moved, unknown = [], []
        for device, numbers in looking.listed.items():
            if device == self.own.device or self.trust.ignored(device):
                continue
            if device in self.trust.heads:
                if max(numbers) > self.trust.number(device):
                    moved.append(device)
            elif device not in self._strangers:
                unknown.append(device)
        vouched = self.trust.expected(self.own.device).keys() | (self.members.granted if self.members else {}).keys()
        # What opens under the vault's keys names others, and so does its header.
        return moved + in_turn(unknown, vouched, self._failing, self.unreadable)

    # Heads of others.

    async def _read_newest(self, looking: Looking, device: bytes) -> None:
        newer = [number for number in looking.listed[device] if number > self.trust.number(device)]
        for number in sorted(newer, reverse=True)[:_TRIED]:
            if self.trust.ignored(device):
                return
            if await self._read(looking, device, number) in {Found.OPENED, Found.LATER}:
                return

    async def _read(self, looking: Looking, device: bytes, number: int) -> Found:
        """Take a head, or say in `looking` what is the matter with it. Once in a poll."""
        known = looking.found.get((device, number))
        if known is None:
            known = looking.found[device, number] = await self._take(looking, device, number)
        return known

    async def _take(self, looking: Looking, device: bytes, number: int) -> Found:
        try:
            head = await self._open(device, number)
        except RemoteObjectMissingError:
            if looking.shows(device, number):
                looking.fail(device, number, "it is listed, but cannot be read")
            return Found.MISSING
        except NewerFormatError as error:
            self.unread.meet(device, number, error)
            return Found.LATER
        except HeadForgedError as error:
            kind = Doubt.KEY if isinstance(error, HeadKeyError) else Doubt.FORGED
            text = f"head {number} of {self.trust.label(device)}: {error}"
            self._doubt(kind, device, number, text)
            return Found.BROKEN
        except HeadRefusedError as error:
            looking.fail(device, number, str(error))
            return Found.BROKEN
        self.unread.end(device, number)
        if not self.trust.take(head):
            return Found.BROKEN
        self._new.append(head)
        for what in ("seen", "named"):
            self._over(what, device)
        self._failing.opened(device)
        return Found.OPENED

    async def _open(self, device: bytes, number: int) -> Head:
        name = head_name(device, number)
        data = await self._get(name)
        return open_counted(data, name, self._keys, self.members, public_key=self._key(device))

    def _key(self, device: bytes) -> bytes | None:
        ours = self.own.public_key if device == self.own.device else None
        return ours or self.trust.key(device)

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

    async def _miss_seen(self, looking: Looking, device: bytes) -> None:
        """The newest head seen of a device, or a newer one, has to be there."""
        number, own = self.trust.number(device), device == self.own.device
        given_up = not number or (own and number <= self.trust.excused(device))
        # What cannot be read is told. It is no rollback: a machine that was away for months finds only such heads.
        newer = device in self.unreadable or (own and self.unknown_own > number)
        excused = given_up or newer or self._removed(device) or self.trust.ignored(device)
        if excused or looking.shows(device, number):
            self._over("seen", device)
            return
        if not self._stays("seen", device):
            return
        known = self.trust.heads[device]
        try:
            head = await self._open(device, number)
        except RemoteObjectMissingError:
            if not own and await self._read(looking, device, number + 1) in {Found.OPENED, Found.LATER}:
                return
            older = max((one for one in looking.listed.get(device, ()) if one < number), default=0)
            left = f"only head {older} and older" if older else "none of its heads"
            text = f"it had {self.trust.last_seen(device)}; now it has {left}"
            self.trust.doubt(Doubt.ROLLBACK, device, known.name, text)
        except (HeadRefusedError, NewerFormatError) as error:
            text = f"it had {self.trust.last_seen(device)}, which is now damaged: {error}"
            self.trust.doubt(Doubt.DAMAGED, device, known.name, text)
        else:
            self._over("seen", device, PATIENCE - _CONTENT)
            if head != known and own:
                self.unknown_own = number
            elif head != known:
                text = f"it has another head {number} of {self.trust.label(device)} than the one seen before"
                self.trust.doubt(Doubt.FORGED, device, known.name, text)

    async def _miss_named(self, looking: Looking, device: bytes, counter: int) -> None:
        """A head that other devices have seen has to be there."""
        patience = LONG if device in self.unreadable else PATIENCE  # newer keys may be on their way to here
        if not self._stays("named", device, patience):
            return
        found = []
        for number in (counter, counter + 1):
            found.append(await self._read(looking, device, number))
            if found[-1] is Found.OPENED:
                return
        if Found.BROKEN in found:
            return  # it is there, and damaged: that is its own alarm
        why = "which this machine cannot read" if Found.LATER in found else "which the remote does not show"
        text = f"{self.trust.witnessed(self.seen, device, counter)}, {why}"
        self.trust.doubt(Doubt.WITHHELD, device, head_name(device, counter), text)

    # Our own.

    async def _look_at_own(self, looking: Looking) -> None:
        own = self.own
        listed = looking.listed.get(own.device, set())
        self._own_junk &= listed
        numbers = [number for number in listed - self._own_junk if number >= max(own.published(), 1)]
        for number in sorted(numbers, reverse=True)[:_OWN_AT_ONCE]:
            if number == self._own_looked_at or await self._knows_own(looking, number):
                break
        if Found.LATER not in looking.found.values():
            self.unread.end(own.device)
        named = max((dict(head.vector).get(own.device, 0) for head in self.seen), default=0)
        if named > max(own.published(), self.landed) and own.queued(named) is None:
            self.unknown_own = max(self.unknown_own, named)

    async def _knows_own(self, looking: Looking, number: int) -> bool:
        """Look at a head of ours on the remote; False: it is none. Asks once for each that is one."""
        own, known = self.own, self.trust.heads.get(self.own.device)
        name, queued = head_name(own.device, number), own.queued(number)
        try:
            if queued is not None and await self._get(name) == queued:
                self.landed = number
            else:
                head = await self._open(own.device, number)
                # A clone of this machine may have put another one under the same number.
                if number > own.published() or (known is not None and known.number == number and head != known):
                    self.unknown_own = max(self.unknown_own, number)
        except RemoteObjectMissingError:
            why: str | None = "it is listed, but cannot be read"
        except NewerFormatError as error:
            self.unread.meet(own.device, number, error)
            looking.found[own.device, number], why = Found.LATER, None
        except HeadRefusedError as error:
            why = str(error)
        else:
            self._own_looked_at = number
            return True
        if why is not None and queued is None:  # else ours comes in its place
            looking.fail(own.device, number, why)
        return False

    # What does not open.

    def _judge(self, looking: Looking) -> None:
        """Alarms about what did not open for too long."""
        for device, number in self._failing.after(looking.failed, self.trust.heads).items():
            text = f"head {number} of {self.trust.label(device)}: {looking.failed[device][number]}"
            self._doubt(Doubt.DAMAGED, device, number, text)
            if device == self.own.device:
                self._own_junk.add(number)

    def _doubt(self, kind: Doubt, device: bytes, number: int, text: str) -> None:
        """An alarm about one head; of devices that never had a right one, few."""
        known = device in self.trust.heads or device == self.own.device
        if known or sum(alarm.device not in self.trust.heads for alarm in self.trust.alarms) < FEW:
            self.trust.doubt(kind, device, head_name(device, number), text)
        else:
            self._strangers.add(device, number)
