"""What sync knows and must not forget: the base, what waits to be published, heads seen, names that lag, and places.

It is kept in the tree's open transaction, so all of it is durable with the next checkpoint, at one instant with what
the working tree was then. Nothing of it goes through the journal: after a crash sync goes on from the checkpoint and
does again what came after it. (Only `device_row` does go there, since inodes speak of these rows. So it makes a change
of its own, and must not be called inside of another.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from vaultfs.format.pack import Entry, Kind
from vaultfs.tree.packs import FINISHED, OPEN, PUBLISHED, REMOTE, Placed
from vaultfs.tree.state import Device, Op

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vaultfs.tree.state import State

_BASE = "base"
_LABEL = "?"
_PLACE = "SELECT pack, number, id, offset, length, size, codec FROM {} WHERE id=?"
_PLACE_NODE, _PLACE_REMOTE = _PLACE.format("node"), _PLACE.format("remote_block")
_PLACE_KNOWN = _PLACE.format("block") + " AND pack<>0"
_PLACE_BLOCK = "SELECT pack, number, id, offset, length, size, codec FROM block WHERE blk=?"
_PUT = "INSERT OR {} INTO {} VALUES(?,?,?,?,?,?,?)"
_MOVE = "UPDATE block SET pack=?, number=?, offset=?, length=?, size=?, codec=? WHERE id=?"
_RESOLVE = f"{_MOVE} AND pack=0"
# What is in packs of this machine alone stays there.
_RELOCATE = _RESOLVE.replace("pack=0", "pack NOT IN (SELECT pack FROM pack WHERE state<2)")


class Base(NamedTuple):
    """What the working tree holds, but for `lag` and changes: a commit's root node, and its version vector."""

    root: bytes
    vector: dict[bytes, int]


class Pack(NamedTuple):
    """A pack's id and state: `OPEN`, `FINISHED`, `PUBLISHED` or `REMOTE`."""

    id: bytes
    state: int


class Outgoing(NamedTuple):
    """A commit that waits: its number, the head as it is to be stored, its packs' numbers, its time (ns)."""

    number: int
    head: bytes
    packs: list[int]
    time: int


class Seen(NamedTuple):
    """The newest head seen of a device: its number, the opened record as MessagePack, when it was seen (ns)."""

    number: int
    head: bytes
    time: int


class Lag(NamedTuple):
    """A name of which the working tree has an older version; `seen`: its identity as MessagePack, None: nothing."""

    parent: int
    name: bytes
    seen: bytes | None


_encode = msgspec.msgpack.encode
_base = msgspec.msgpack.Decoder(tuple[bytes, dict[bytes, int]])
_numbers = msgspec.msgpack.Decoder(list[int])


class Ledger:
    """The tables of sync. Calls raise `OSError` when the database cannot be used."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._devices: dict[bytes, tuple[int, str]] = {}

    # -- facts

    def fact(self, key: str) -> bytes | None:
        """A fact, None where it is not known."""
        value = self._state.one("SELECT value FROM fact WHERE key=?", key)
        return None if value is None else bytes(value)

    def set_fact(self, key: str, value: bytes | None) -> None:
        """Notes a fact; None: it is no longer known."""
        if value is None:
            self._state.run("DELETE FROM fact WHERE key=?", key)
        else:
            self._state.run("INSERT OR REPLACE INTO fact VALUES(?,?)", key, value)
        self._state.changed += 1

    @property
    def base(self) -> Base | None:
        """The base, None before the first commit."""
        value = self.fact(_BASE)
        return None if value is None else Base(*_base.decode(value))

    def set_base(self, root: bytes, vector: dict[bytes, int]) -> None:
        """The base is this from now on."""
        self.set_fact(_BASE, _encode((root, vector)))

    # -- packs and what is in them

    def add_pack(self, pack_id: bytes, state: int) -> int:
        """The number of the pack; if it is new it gets one, and that state."""
        number = self.number_of(pack_id)
        if not number:
            number = self._state.next_pack
            self._state.next_pack += 1
            self._state.run("INSERT INTO pack VALUES(?,?,?)", number, pack_id, state)
            self._state.changed += 1
        return number

    def number_of(self, pack_id: bytes) -> int:
        """The number of the pack with this id, 0 where it is not known."""
        return int(self._state.one("SELECT pack FROM pack WHERE id=?", pack_id) or 0)

    def pack_of(self, number: int) -> Pack:
        """Id and state of a pack. Raises KeyError."""
        row = self._state.one("SELECT id, state FROM pack WHERE pack=?", number)
        if row is None:
            raise KeyError(number)
        return Pack(*row)

    def set_pack_state(self, number: int, state: int) -> None:
        """The pack is now in this state."""
        self._state.run("UPDATE pack SET state=? WHERE pack=?", state, number)
        self._state.changed += 1
        if state == PUBLISHED:
            self._state.settling.add(number)

    def rename_pack(self, number: int, pack_id: bytes) -> None:
        """The pack was sealed anew under another id; what is in it stands where it stood."""
        self._state.run("UPDATE pack SET id=? WHERE pack=?", pack_id, number)
        self._state.changed += 1

    def add_entries(self, number: int, entries: Iterable[tuple[int, Entry]], *, replace: bool = False) -> None:
        """Notes what is in a pack: each entry with its number in it.

        What has a place already keeps it, unless `replace`: then the other one has turned out to be of no use.
        Blocks of packs that were written here are known already and should be left out.
        """
        nodes: list[tuple[Any, ...]] = []
        blocks: list[tuple[Any, ...]] = []
        for position, (kind, identity, *place) in entries:
            (nodes if kind == Kind.NODE else blocks).append((identity, number, position, *place))
        state, how = self._state, "REPLACE" if replace else "IGNORE"
        if nodes:
            state.run_many(_PUT.format(how, "node"), nodes)
        if blocks:
            state.run_many(_PUT.format(how, "remote_block"), blocks)
            state.run_many(_RELOCATE if replace else _RESOLVE, [(*row[1:], row[0]) for row in blocks])
        state.changed += len(nodes) + len(blocks)

    def drop_nodes(self, number: int) -> None:
        """No tree needs the nodes of this pack any more; if it was never published, it is garbage now."""
        self._state.run("DELETE FROM node WHERE pack=?", number)
        self._state.changed += 1

    def unpublished_node_packs(self) -> list[int]:
        """The packs with tree nodes that are on this machine alone, also where they were never finished."""
        rows = self._state.all(
            "SELECT pack FROM pack p WHERE state<? AND EXISTS(SELECT 1 FROM node WHERE pack=p.pack)", PUBLISHED
        )
        return [number for (number,) in rows]

    def nodes_in(self, number: int) -> list[bytes]:
        """The ids of the nodes that stand in a pack."""
        return [bytes(name) for (name,) in self._state.all("SELECT id FROM node WHERE pack=?", number)]

    def place_of_node(self, node_id: bytes) -> Placed | None:
        """Where a tree node stands, None where that is not known."""
        return _placed(self._state.one(_PLACE_NODE, node_id), Kind.NODE)

    def place_of_block(self, blk: int) -> Placed | None:
        """Where the block of this row stands, None where that is not known (or there is no such row)."""
        row = self._state.one(_PLACE_BLOCK, blk)
        if row is not None and not row[0]:
            # After a crash the row may have forgotten it.
            row = self._state.one(_PLACE_REMOTE, row[2])
            if row is not None and not self._state.read_only:
                self._state.run_many(_RESOLVE, [(*row[:2], *row[3:], row[2])])
        return _placed(row, Kind.BLOCK)

    def place_of_content(self, block_id: bytes) -> Placed | None:
        """Where a block stands, by its id, whether or not there is a row for it; None where that is not known."""
        row = self._state.one(_PLACE_KNOWN, block_id) or self._state.one(_PLACE_REMOTE, block_id)
        return _placed(row, Kind.BLOCK)

    def id_of_block(self, blk: int) -> bytes:
        """The id of the block of this row. Raises KeyError."""
        found = self._state.one("SELECT id FROM block WHERE blk=?", blk)
        if found is None:
            raise KeyError(blk)
        return bytes(found)

    def used_blocks(self) -> list[bytes]:
        """The ids of all blocks that files here have and that are on the remote, as far as this machine knows."""
        rows = self._state.all(
            "SELECT b.id FROM block b LEFT JOIN pack p ON p.pack=b.pack "
            "WHERE coalesce(p.state, 3)>=2 AND EXISTS(SELECT 1 FROM extent e WHERE e.blk=b.blk)"
        )
        return [identity for (identity,) in rows]

    # -- what is to be published

    def outbox(self) -> list[Outgoing]:
        """The commits that wait, oldest first."""
        rows = self._state.all("SELECT number, head, packs, time FROM outbox ORDER BY number")
        return [Outgoing(number, head, _numbers.decode(packs), moment) for number, head, packs, moment in rows]

    def queue(self, number: int, head: bytes, packs: list[int], time: int) -> None:
        """A commit is to be published: its head (the object's bytes) after the packs with these numbers."""
        self._state.run("INSERT OR REPLACE INTO outbox VALUES(?,?,?,?)", number, head, _encode(packs), time)
        self._state.changed += 1

    def published(self, number: int) -> None:
        """The commit is on the remote, and so are its packs."""
        state = self._state
        packs = state.one("SELECT packs FROM outbox WHERE number=?", number)
        for pack in _numbers.decode(packs) if packs is not None else []:
            state.run("UPDATE pack SET state=? WHERE pack=? AND state<?", PUBLISHED, pack, PUBLISHED)
            state.settling.add(pack)  # that it waits, the database on disk says as well
        state.run("DELETE FROM outbox WHERE number=?", number)
        state.changed += 1

    def withdraw(self, number: int) -> None:
        """The commit is not to be published; its packs stay as they are."""
        self._state.run("DELETE FROM outbox WHERE number=?", number)
        self._state.changed += 1

    def waiting_packs(self) -> set[int]:
        """The packs of the commits that wait."""
        rows = self._state.all("SELECT packs FROM outbox")
        return {pack for (packs,) in rows for pack in _numbers.decode(packs)}

    # -- devices and their heads

    def seen(self) -> dict[bytes, Seen]:
        """The newest head seen of every device, by its id."""
        rows = self._state.all("SELECT device, number, head, time FROM seen")
        return {device: Seen(*rest) for device, *rest in rows}

    def set_seen(self, device: bytes, number: int, head: bytes, time: int) -> None:
        """This head of the device was seen; an older one is forgotten."""
        self._state.run("INSERT OR REPLACE INTO seen VALUES(?,?,?,?)", device, number, head, time)
        self._state.changed += 1

    def device_row(self, device: bytes, label: str = "") -> int:
        """The row of a device in the device table, made where there is none; a label is kept if it is given."""
        known = self._devices.get(device)
        if known is None:
            row = self._state.one("SELECT device, label FROM device WHERE id=?", device)
            known = self._devices[device] = row or (0, "")
        number, old = known
        if number and (not label or label == old):
            return number
        number = number or int(self._state.one("SELECT max(device) FROM device") or 0) + 1
        label = label or _LABEL
        self._state.begin(grows=False, quiet=True)
        self._state.put_device(number, Device(device, label))
        self._state.end()
        self._devices[device] = number, label
        return number

    # -- names that lag

    def lag(self) -> list[Lag]:
        """The names that lag behind the base."""
        return [Lag(*row) for row in self._state.all("SELECT parent, name, seen FROM lag")]

    def lag_of(self, parent: int, name: bytes) -> Lag | None:
        """The row of one name, None where it does not lag."""
        rows = self._state.all("SELECT parent, name, seen FROM lag WHERE parent=? AND name=?", parent, name)
        return Lag(*rows[0]) if rows else None

    def seen_at(self, parent: int, name: bytes) -> bytes | None:
        """What was seen of a name that lags; None where nothing was, or where it does not lag."""
        row = self.lag_of(parent, name)
        return None if row is None else row.seen

    @property
    def any_lag(self) -> bool:
        """Whether any name lags."""
        return self._state.one("SELECT 1 FROM lag LIMIT 1") is not None

    def set_lag(self, parent: int, name: bytes, seen: bytes | None) -> None:
        """The base has another version of the name than the working tree."""
        self._state.run("INSERT OR REPLACE INTO lag VALUES(?,?,?)", parent, name, seen)
        self._state.changed += 1

    def drop_lag(self, parent: int, name: bytes) -> None:
        """The working tree has what the base has; `Arrivals.place` sees to it by itself."""
        self._state.run("DELETE FROM lag WHERE parent=? AND name=?", parent, name)
        self._state.changed += 1

    def note_caught_up(self, parent: int, name: bytes) -> None:
        """`drop_lag` inside of a change: it holds after a crash too."""
        self.drop_lag(parent, name)
        self._state.note(Op.CAUGHT_UP, parent, name)

    def forget(self) -> None:
        """Drops what is in memory, after the open transaction was lost."""
        self._devices.clear()


def _placed(row: Any, kind: Kind) -> Placed | None:
    if row is None or not row[0]:
        return None
    pack, number, identity, *rest = row
    return Placed(pack, number, Entry(kind, identity, *rest))


__all__ = ["FINISHED", "OPEN", "PUBLISHED", "REMOTE", "Base", "Lag", "Ledger", "Outgoing", "Pack", "Seen"]
