"""What this machine has seen of every device, and what a remote must not do behind its back.

The newest head seen of a device is kept with its public key: no other key is ever taken for that device, no older
head for its newest. What goes against it is an alarm. It is kept until a person accepts it; so long nothing more of
that device is merged.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import msgspec
from blake3 import blake3

from vaultfs import clock
from vaultfs.errors import RollbackError
from vaultfs.format.head import Head, HeadRefusedError, parse_name
from vaultfs.sync.facts import Alarm

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_FACT = "trust"
_FINGERPRINT_BYTES = 16
_NS = 1_000_000_000


class Doubt(StrEnum):
    """`Alarm.kind` of the alarms about a device."""

    ROLLBACK = "rollback"  # the newest head seen is gone, and nothing newer is there
    VECTOR = "vector"  # a newer head has seen less than an older one of the same device
    DAMAGED = "damaged"  # a head that is altered, cut off or of another vault, and stays so
    FORGED = "forged"  # sealed with the vault's keys, but not by that device
    KEY = "key"  # signed with another key than the device had
    WITHHELD = "withheld"  # others have seen a head of the device that the remote does not show


_OF_ONE_HEAD = {Doubt.DAMAGED, Doubt.FORGED, Doubt.WITHHELD}  # all that was seen may still be there


class SeenStore(Protocol):
    """Where it is kept (`vaultfs.tree.ledger`)."""

    def seen(self) -> Mapping[bytes, tuple[int, bytes, int]]:
        """By device: the number of the newest head seen, its record, and when it was seen (ns since 1970)."""
        ...  # pragma: no cover

    def set_seen(self, device: bytes, number: int, record: bytes, when: int, /) -> None:
        """Keep that for a device."""
        ...  # pragma: no cover

    def fact(self, key: str, /) -> bytes | None:
        """What was kept under that key."""
        ...  # pragma: no cover

    def set_fact(self, key: str, value: bytes, /) -> None:
        """Keep something for the next time."""
        ...  # pragma: no cover


class MemorySeen:
    """`SeenStore` in memory: for commands without a mount, and for tests."""

    def __init__(self) -> None:
        self.rows: dict[bytes, tuple[int, bytes, int]] = {}
        self.facts: dict[str, bytes] = {}

    def seen(self) -> Mapping[bytes, tuple[int, bytes, int]]:
        """As `SeenStore.seen`."""
        return dict(self.rows)

    def set_seen(self, device: bytes, number: int, record: bytes, when: int, /) -> None:
        """As `SeenStore.set_seen`."""
        self.rows[device] = (number, record, when)

    def fact(self, key: str, /) -> bytes | None:
        """As `SeenStore.fact`."""
        return self.facts.get(key)

    def set_fact(self, key: str, value: bytes, /) -> None:
        """As `SeenStore.set_fact`."""
        self.facts[key] = value


class _Kept(msgspec.Struct):
    """What is kept beside the heads.

    `excused`: counters of a device up to which a person gave up what is missing. `skipped`: numbers of heads to be
    passed over. `unpinned`: devices whose next head may have another key.
    """

    alarms: list[Alarm] = msgspec.field(default_factory=list)
    excused: dict[bytes, int] = msgspec.field(default_factory=dict)
    skipped: dict[bytes, list[int]] = msgspec.field(default_factory=dict)
    unpinned: set[bytes] = msgspec.field(default_factory=set)


_encode = msgspec.msgpack.Encoder().encode
_decode_kept = msgspec.msgpack.Decoder(_Kept).decode
_decode_head = msgspec.msgpack.Decoder(Head).decode


class Trust:
    """The newest head seen of every device, and the alarms. `label`: of the remote, for messages."""

    def __init__(self, store: SeenStore, label: str, vault_id: bytes) -> None:
        self._store = store
        self._label = label
        self._vault_id = vault_id
        kept = store.fact(_FACT)
        self._kept = _decode_kept(kept) if kept else _Kept()
        self._alarmed = {alarm.device for alarm in self._kept.alarms}
        self._unsaved = False
        #: The newest head seen of every device; one that was given up with `accept` is still among them.
        self.heads: dict[bytes, Head] = {}
        self._numbers: dict[bytes, int] = {}
        for device, (number, record, _) in store.seen().items():
            self.heads[device] = _decode_head(record)
            self._numbers[device] = number

    @property
    def alarms(self) -> list[Alarm]:
        """What stands, oldest first."""
        return list(self._kept.alarms)

    def number(self, device: bytes) -> int:
        """The number of the newest head seen of a device, 0 if it may begin anew."""
        return self._numbers.get(device, 0)

    def key(self, device: bytes) -> bytes | None:
        """The public key known of a device."""
        head = self.heads.get(device)
        return None if head is None or device in self._kept.unpinned else head.public_key

    def excused(self, device: bytes) -> int:
        """Up to which counter nobody needs to show a head of the device any more."""
        return self._kept.excused.get(device, 0)

    def alarmed(self, device: bytes) -> bool:
        """Whether an alarm about the device stands."""
        return device in self._alarmed

    def ignored(self, device: bytes) -> bool:
        """Whether nothing is to be taken of the device: an alarm stands."""
        return self.alarmed(device)

    def skipped(self, device: bytes, number: int) -> bool:
        """Whether that head is to be passed over."""
        return number in self._kept.skipped.get(device, ())

    def label(self, device: bytes) -> str:
        """The device's name for a person."""
        head = self.heads.get(device)
        return f"'{head.label}'" if head is not None else f"device {device.hex()[:8]}"

    def witnessed(self, heads: Iterable[Head], device: bytes, counter: int) -> str:
        """Whose of these heads have seen that one, for a person."""
        names = [self.label(head.device) for head in heads if dict(head.vector).get(device, 0) >= counter]
        return f"{' and '.join(names) or 'another device'} has seen head {counter} of {self.label(device)}"

    def expected(self, own: bytes) -> dict[bytes, int]:
        """By device the highest counter that trusted heads have seen, where that is more than was seen here."""
        named: dict[bytes, int] = {}
        for author, head in self.heads.items():
            if not self.ignored(author):
                for device, counter in head.vector:
                    named[device] = max(named.get(device, 0), counter)
        return {
            device: counter
            for device, counter in named.items()
            if device != own and not self.ignored(device) and counter > max(self.number(device), self.excused(device))
        }

    def take(self, head: Head) -> bool:
        """A head that opened and is newer than what was seen. False: it has seen less than the older one: an alarm."""
        old = self.heads.get(head.device)
        if old is not None and self.number(head.device):
            vector = dict(head.vector)
            lost = [device for device, counter in old.vector if vector.get(device, 0) < counter]
            if lost:
                names = ", ".join(self.label(device) for device in lost)
                text = f"head {head.number} of {self.label(head.device)} has seen less of {names} than its head before"
                self.doubt(Doubt.VECTOR, head.device, head.name, text)
                return False
        self.heads[head.device] = head
        self._numbers[head.device] = head.number
        self._store.set_seen(head.device, head.number, msgspec.msgpack.encode(head), clock.now())
        if head.device in self._kept.unpinned:
            self._kept.unpinned.discard(head.device)
            self._save()
        return True

    def doubt(self, kind: Doubt, device: bytes, name: str, text: str) -> None:
        """Raise an alarm; the first one about a device stands. `save` keeps it."""
        if not self.alarmed(device):
            self._kept.alarms.append(Alarm(kind.value, text, device, name, clock.now()))
            self._alarmed.add(device)
            self._unsaved = True

    def save(self) -> None:
        """Keep the alarms that came: all of them together, as there may be many."""
        if self._unsaved:
            self._save()

    def skip(self, numbers: Mapping[bytes, int]) -> None:
        """Pass over these heads from now on, by device."""
        for device, number in numbers.items():
            self._kept.skipped.setdefault(device, []).append(number)
        self._unsaved = self._unsaved or bool(numbers)
        self.save()

    def last_seen(self, device: bytes) -> str:
        """The newest head seen of a device, in words: number and date."""
        head = self.heads[device]
        when = datetime.fromtimestamp(head.time / _NS, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"head {head.number} of {self.label(device)}, from {when}"

    def error(self, alarm: Alarm) -> RollbackError:
        """The alarm as the error that a command ends with."""
        return RollbackError(remote=self._label, label=self.label(alarm.device), detail=alarm.text)

    def accept(self, device: bytes, *, own: bool = False) -> list[Alarm]:
        """Go on with what the remote has of the device now; the alarms that stood. What it lost stays lost.

        `own`: it is this machine, which goes on counting from where it is.
        """
        accepted = [alarm for alarm in self._kept.alarms if alarm.device == device]
        for alarm in accepted:
            self._give_up(alarm, own=own)
        self._kept.alarms = [alarm for alarm in self._kept.alarms if alarm.device != device]
        self._alarmed.discard(device)
        self._save()
        return accepted

    def fingerprint(self) -> str:
        """All heads seen, in short: two machines that show the same have seen the same."""
        hasher = blake3(b"vaultfs heads\0" + self._vault_id)
        for device in sorted(self.heads):
            number = self.number(device)
            if number:
                hasher.update(device + number.to_bytes(8, "little") + blake3(_record(self.heads[device])).digest())
        text = hasher.digest(_FINGERPRINT_BYTES).hex()
        return "-".join(text[at : at + 4] for at in range(0, len(text), 4))

    def _give_up(self, alarm: Alarm, *, own: bool) -> None:
        """What an accepted alarm was about counts no more, and nothing else.

        The number in an object's name is the remote's word, where the head in it did not open. So it excuses that one
        head; what else may be missing is what was seen here, and what the heads of others name.
        """
        device, number, seen = alarm.device, _number_in(alarm.object), self.number(alarm.device)
        lost = alarm.kind not in _OF_ONE_HEAD or number == seen
        if alarm.kind in {Doubt.DAMAGED, Doubt.FORGED}:
            self._kept.skipped.setdefault(device, []).append(number)
        if alarm.kind == Doubt.KEY:
            self._kept.unpinned.add(device)
        excused = [self.excused(device)]
        if lost:
            excused.append(seen)
        if alarm.kind == Doubt.WITHHELD:
            excused.append(number)  # others' heads named it
        if not own:
            excused += [
                dict(head.vector).get(device, 0) for by, head in self.heads.items() if self._vouches(by, device)
            ]
        self._kept.excused[device] = max(excused)
        if lost and not own:
            self._begin_anew(device)

    def _vouches(self, author: bytes, device: bytes) -> bool:
        """Whether the head of one device counts for what it has seen of another."""
        return author != device and not self.ignored(author)

    def _begin_anew(self, device: bytes) -> None:
        if device in self.heads:
            self._numbers[device] = 0
            self._store.set_seen(device, 0, _record(self.heads[device]), clock.now())

    def _save(self) -> None:
        self._unsaved = False
        self._store.set_fact(_FACT, _encode(self._kept))


def _record(head: Head) -> bytes:
    return msgspec.msgpack.encode(head)


def _number_in(name: str) -> int:
    try:
        return parse_name(name)[1]
    except HeadRefusedError:
        return 0
