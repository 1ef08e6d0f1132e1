"""Looking at the heads on the remote: one listing, and a get for each device that moved.

Listings may be late and name things twice, so nothing is concluded from what one of them does not show: only when a
head stayed away for `PATIENCE` listings is it asked for directly, and only its absence then is an alarm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from vaultfs.errors import NewerFormatError, RemoteObjectMissingError
from vaultfs.format.head import (
    MAX_BYTES,
    Head,
    HeadForgedError,
    HeadKeyError,
    HeadRefusedError,
    epoch_of_head,
    head_name,
    open_head,
    parse_name,
)
from vaultfs.sync.patience import PATIENCE, Failing
from vaultfs.sync.trust import Doubt, Trust
from vaultfs.sync.wary import together

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultfs.crypto.epochs import Members
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.remote import Remote
    from vaultfs.sync.facts import Alarm
    from vaultfs.sync.trust import SeenStore

_NO_LIMIT = 1 << 63
_OWN_AT_ONCE = 4  # heads under our own name that are looked at in one poll
_CONTENT = 10  # listings until a head that is there, but not listed, is asked for again


@dataclass(frozen=True)
class Own:
    """What this machine knows of its own heads.

    `published`: the highest number that the remote is known to have. `queued`: the bytes of a head that was made and
    is not known to be there; None for a number that was never used. `public_key`: ours; None: whichever was seen.
    """

    device: bytes
    published: Callable[[], int] = lambda: 0
    queued: Callable[[int], bytes | None] = lambda _: None
    public_key: bytes | None = None


@dataclass
class _Looking:
    """What one poll has listed, and found.

    `failed`: by device and number why a head did not open. `later`: devices of which one is not for this vaultfs, or
    under keys that are not here.
    """

    listed: dict[bytes, set[int]]
    failed: dict[bytes, dict[int, str]] = field(default_factory=dict)
    later: set[bytes] = field(default_factory=set)

    def newest(self, device: bytes) -> int:
        return max(self.listed.get(device, ()), default=0)

    def fail(self, device: bytes, number: int, why: str) -> None:
        """It may still be on its way to there."""
        self.failed.setdefault(device, {})[number] = why


class Heads:
    """The heads of all devices, as far as they can be trusted.

    `unknown_own`: the number of a head of our own device, signed with its key, that this machine never made, 0 if
    there is none. Then it was cloned, or restored from an older image: it has to take a new device id before it
    publishes again. What anybody could have put under that name is an alarm, and no reason for that.
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
        self._own_junk: set[int] = set()
        self._failing = Failing()
        self._new: list[Head] = []

    @property
    def alarms(self) -> list[Alarm]:
        """What stands until `accept`."""
        return self.trust.alarms

    @property
    def seen(self) -> list[Head]:
        """The newest head seen of every device that can be trusted, this one's too.

        Of ours it stays the newest, whatever somebody puts beside it.
        """
        about = {alarm.object for alarm in self.alarms if alarm.device == self.own.device}
        return [
            head
            for device, head in self.trust.heads.items()
            if not self.trust.ignored(device) or (device == self.own.device and head.name not in about)
        ]

    def be(self, own: Own) -> None:
        """This machine is another device now: what was found of the one before says nothing of it."""
        self.own = own
        self.unknown_own = self.landed = self._own_looked_at = 0
        self._own_junk.clear()
        self.unreadable.clear()

    def published(self, head: Head) -> None:
        """A head of ours is on the remote."""
        self.trust.take(head)

    def accept(self, device: bytes) -> list[Alarm]:
        """End the alarms about a device: from the next poll on, what the remote has of it counts."""
        self._absent = {key: count for key, count in self._absent.items() if key[1] != device}
        self._failing.opened(device)
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
            if self._last(device) < counter:
                continue
            await self._miss_named(looking, device, counter)
        self._judge(looking)
        new, self._new = self._new, []
        return sorted(new, key=lambda head: (head.time, head.device))

    async def _list(self) -> dict[bytes, set[int]]:
        listed: dict[bytes, set[int]] = {}
        for entry in await self._remote.list("heads"):
            try:
                device, number = parse_name(entry.name)
            except HeadRefusedError:
                continue  # not ours, or not in a form we know
            if number <= self._last(device) and not self.trust.skipped(device, number):
                listed.setdefault(device, set()).add(number)
        return listed

    def _last(self, device: bytes) -> int:
        """The highest number of a head of the device that counts: no limit unless it was removed."""
        return _NO_LIMIT if self.members is None else self.members.removed.get(device, _NO_LIMIT)

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
        head = open_head(data, name, self._keys, public_key=self._key(device))
        if self.members is not None:
            refusal = self.members.refusal(device, head.public_key, number, epoch_of_head(data))
            if refusal is not None:
                raise HeadForgedError(refusal)
        return head

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

    async def _miss_seen(self, looking: _Looking, device: bytes) -> None:
        """The newest head seen of a device, or a newer one, has to be there."""
        number = self.trust.number(device)
        given_up = not number or (device == self.own.device and number <= self.trust.excused(device))
        if given_up or self._last(device) < _NO_LIMIT or self.trust.ignored(device) or looking.newest(device) >= number:
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
        own = self.own
        listed = looking.listed.get(own.device, set())
        self._own_junk &= listed
        numbers = [number for number in listed - self._own_junk if number >= max(own.published(), 1)]
        for number in sorted(numbers, reverse=True)[:_OWN_AT_ONCE]:
            if number == self._own_looked_at or await self._knows_own(looking, number):
                break
        if own.device not in looking.later:
            self.unreadable.pop(own.device, None)
        named = max((dict(head.vector).get(own.device, 0) for head in self.seen), default=0)
        if named > max(own.published(), self.landed) and own.queued(named) is None:
            self.unknown_own = max(self.unknown_own, named)

    async def _knows_own(self, looking: _Looking, number: int) -> bool:
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
            self.unreadable[own.device], why = error, None
            looking.later.add(own.device)
        except HeadRefusedError as error:
            why = str(error)
        else:
            self._own_looked_at = number
            return True
        if why is not None and queued is None:  # else ours comes in its place
            looking.fail(own.device, number, why)
        return False

    # What does not open.

    def _judge(self, looking: _Looking) -> None:
        """Alarms about what did not open for too long."""
        for device, number in self._failing.after(looking.failed, self.trust.heads).items():
            text = f"head {number} of {self.trust.label(device)}: {looking.failed[device][number]}"
            self.trust.doubt(Doubt.DAMAGED, device, head_name(device, number), text)
            if device == self.own.device:
                self._own_junk.add(number)
