"""Repairing the remote: what commits need and the remote has lost is stored again, as far as this machine has it.

A pack that is here whole is stored again under its name. Of what else is missing, what is here goes into new packs,
which a new head names. Nothing is removed, and what is right stays as it is; so a crash anywhere does no harm, and
the next repair goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import trio

from vaultfs.errors import RemoteObjectMissingError, UsageError
from vaultfs.format.head import MAX_BYTES as MAX_HEAD
from vaultfs.format.head import HeadRefusedError, head_name, parse_name
from vaultfs.format.header import MAX_BYTES, encode_header
from vaultfs.format.pack import Entry, Kind, PackCodec, PackDamagedError
from vaultfs.sync.catalog import pack_name
from vaultfs.sync.counted import NotCountedError, open_counted
from vaultfs.sync.garbage_mark import Marked, mark
from vaultfs.sync.garbage_packs import Repacking
from vaultfs.sync.garbage_places import Held, Holders
from vaultfs.sync.header import header_name
from vaultfs.sync.objects import pack_id
from vaultfs.sync.publish import pack_place
from vaultfs.sync.repair_look import MISSING, Health, Looking
from vaultfs.sync.repair_paths import Losses
from vaultfs.sync.wary import Wary, together
from vaultfs.tree.packs import path_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path as File

    from vaultfs.format.head import Head
    from vaultfs.sync.engine import Engine

_MOST = 10_000  # paths that are told


class LostObject(msgspec.Struct, frozen=True):
    """An object that is missing or damaged."""

    object: str
    detail: str


class LostPath(msgspec.Struct, frozen=True):
    """A file that is not whole in `commit` (DEVICE:NUMBER) and cannot be repaired from here.

    `directory`: what is in it is not known. `whole_in`: the newest other commit that has the file whole.
    """

    path: bytes
    commit: str
    directory: bool = False
    whole_in: str | None = None


class Repaired(msgspec.Struct, frozen=True):
    """What was found, and done (with a dry run: what would be done).

    `stored`: objects stored again as they were; `copied` nodes and blocks went into new packs. `gone`: how many nodes
    and blocks are neither there nor here; `paths`: the files that need them. `alarms`: sentences.
    """

    dry_run: bool
    objects: int
    bytes_read: int
    lost: list[LostObject] = []
    stored: int = 0
    stored_bytes: int = 0
    copied: int = 0
    copied_bytes: int = 0
    gone: int = 0
    paths: list[LostPath] = []
    alarms: list[str] = []


@dataclass
class _Found:
    heads: list[Head] = field(default_factory=list)
    lost: list[LostObject] = field(default_factory=list)
    holders: Holders = None  # type: ignore[assignment]
    health: Health = field(default_factory=Health)
    marked: Marked = field(default_factory=Marked)
    headers: list[int] = field(default_factory=list)


def _silent(_text: str, _done: int, _total: int | None) -> None:
    """Nobody asked to be told."""


class Repair:
    """One look at the remote, and what follows from it. `told(text, done, of total)` is called as it goes on."""

    def __init__(self, engine: Engine, told: Callable[[str, int, int | None], None] = _silent) -> None:
        self._engine = engine
        self._ports = engine.ports
        self._told = told
        self._wary = Wary(engine.ports.remote)
        self._looking = Looking(self._wary, engine.ports.keys)

    async def run(self, *, dry_run: bool = False, read_data: bool = False) -> Repaired:
        """Find what is lost, and bring back what is here. Raises what the remote and the disk raise."""
        if self._ports.follow_only and not dry_run:
            raise UsageError(detail="This machine has the vault mounted read-only: it can only say what is lost")
        found = _Found()
        found.headers = await self._headers()
        if found.headers and not dry_run:
            await self._put_headers(found.headers)
        await self._engine.follow()
        await self._find_heads(found)
        listed = {entry.name: entry.size for entry in await self._ports.remote.list("packs")}
        await self._find_packs(found, listed, read_data=read_data)
        needed, held = await self._find_needed(found)
        missing = needed - held.keys()
        self._tell_packs(found, missing)
        whole = await trio.to_thread.run_sync(self._whole, found, missing) if missing else {}
        back = {entry.id for _, entries in whole.values() for entry in entries}
        here = [entry for name in sorted(missing - back) if (entry := self._local(name, found)) is not None]
        gone = missing - back - {entry.id for entry in here}
        if not dry_run:
            await self._restore(found, whole, here)
        paths = await self._paths(found, gone)
        return Repaired(
            dry_run, len(found.holders.packs) + len(found.heads), found.health.read, found.lost,
            len(whole) + len(found.headers), sum(size for _, size in self._sizes(whole)),
            len(here), sum(entry.size for entry in here), len(gone), paths,
            [alarm.text for alarm in self._engine.heads.alarms],
        )  # fmt: skip

    # -- what there is

    async def _headers(self) -> list[int]:
        """Numbers of headers up to ours that are not there."""
        header, lost = self._ports.header, []
        for number in range(1, header.number + 1) if header is not None else ():
            try:
                await self._ports.remote.get(header_name(number), 0, MAX_BYTES + 1)
            except RemoteObjectMissingError:
                lost.append(number)
        return lost

    async def _put_headers(self, numbers: list[int]) -> None:
        """Ours, under every number: who looks for it goes from one to the next, and takes the one that is right."""
        assert self._ports.header is not None  # noqa: S101 - else there were no numbers
        data = encode_header(self._ports.header)
        for number in numbers:
            await self._ports.remote.put(header_name(number), data)

    async def _find_heads(self, found: _Found) -> None:
        heads = self._engine.heads
        known = {head.name: head for head in heads.seen}
        names = {entry.name for entry in await self._ports.remote.list("heads")}
        found.lost += [LostObject(header_name(number), MISSING) for number in found.headers]
        for name in sorted(known.keys() - names):
            try:
                await self._ports.remote.get(name, 0, 1)  # a listing may be late
            except RemoteObjectMissingError:
                found.lost.append(LostObject(name, MISSING))
        await together(
            lambda name=name: self._head(name, known, found)  # type: ignore[misc]
            for name in sorted(names - known.keys())
        )
        found.heads = sorted(known.values(), key=lambda head: (head.time, head.device), reverse=True)

    async def _head(self, name: str, known: dict[str, Head], found: _Found) -> None:
        trust, members = self._engine.heads.trust, self._engine.heads.members
        try:
            device, number = parse_name(name)
            if members is not None and not members.counts(device, number):
                return
            data = await self._ports.remote.get(name, 0, MAX_HEAD + 1)
            known[name] = open_counted(
                data, head_name(device, number), self._ports.keys, members, public_key=trust.key(device)
            )
        except (RemoteObjectMissingError, NotCountedError):
            return  # gone just now; or whole, but no commit of the vault
        except HeadRefusedError as error:
            found.lost.append(LostObject(name, str(error)))

    async def _find_packs(self, found: _Found, listed: dict[str, int], *, read_data: bool) -> None:
        holders = found.holders = Holders(self._wary, self._ports.keys)
        catalog = self._engine.catalog
        for head in reversed(found.heads):
            catalog.learn(head)
        await holders.learn(found.heads)
        found.health = await self._looking.look(
            holders.packs.values(), listed, read_data=read_data,
            told=lambda done, total: self._told("Looking at packs", done, total),
        )  # fmt: skip
        indexes = [error for name, error in holders.broken.items() if name.startswith("index/")]
        found.lost += [LostObject(str(error.fields["object"]), error.message) for error in indexes]
        for name, size in listed.items() if indexes or found.health.bad else ():
            # Perhaps what an index said that is lost; or what somebody stored and did not live to name.
            place = await self._looking.unnamed(name, size) if pack_id(name) not in holders.packs else None
            if place is not None:
                await holders.add(place)

    async def _find_needed(self, found: _Found) -> tuple[set[bytes], dict[bytes, Held]]:
        """What all commits need, and where it stands on the remote."""
        base = self._ports.tree.ledger.base
        roots = dict.fromkeys(head.root for head in found.heads)
        if base is not None:
            roots[base.root] = None

        def told(count: int) -> None:
            trio.from_thread.run_sync(self._told, "Reading what commits need", count, None)

        await trio.to_thread.run_sync(mark, self._engine.commits.nodes(), roots, found.marked, told)
        needed, health = found.marked.all, found.health
        held = await found.holders.find(needed, frozenset(health.bad))
        for pack, names in health.rotten.items():
            for name in names & held.keys():
                if held[name].pack == pack:
                    elsewhere = await found.holders.find({name}, frozenset({*health.bad, pack}))
                    held.pop(name)
                    held |= elsewhere
        for name in found.marked.unread:
            held.pop(name, None)
        waiting = {name for number in self._ports.tree.ledger.waiting_packs() for name in self._inside(number)}
        return needed - waiting, held

    def _tell_packs(self, found: _Found, missing: set[bytes]) -> None:
        """Lost packs; of those that are missing only what is needed counts: `gc` has removed others."""
        for pack, reason in found.health.bad.items():
            inside = {held.entry.id for held in found.holders.inside(pack)}
            if reason != MISSING or (not inside.isdisjoint(missing) if inside else missing):
                found.lost.append(LostObject(pack_name(pack), reason))
        for pack, names in found.health.rotten.items():
            found.lost.append(LostObject(pack_name(pack), f"{len(names)} of its entries are damaged"))

    def _inside(self, number: int) -> list[bytes]:
        """What is in a pack that is still to be published."""
        pack = self._ports.tree.ledger.pack_of(number)
        path = path_of(self._ports.tree.blocks.directory, pack.id)
        return [entry.id for entry in pack_place(path, PackCodec(self._ports.keys, pack.id))[1]]

    # -- what is here

    def _whole(self, found: _Found, missing: set[bytes]) -> dict[bytes, tuple[File, list[Entry]]]:
        """Lost packs that are here, every byte, and hold something that is missing. In a thread."""
        out = {}
        for pack in (*found.health.bad, *found.health.rotten):
            path = path_of(self._ports.tree.blocks.directory, pack)
            try:
                codec = PackCodec(self._ports.keys, pack)
                place, entries = pack_place(path, codec)
                data = path.read_bytes()
                for number, entry in enumerate(entries):
                    codec.open(number, entry, data[entry.offset : entry.offset + entry.length])
            except (OSError, PackDamagedError, ValueError):
                continue
            named = found.holders.packs.get(pack)
            if (named is None or named == place) and any(entry.id in missing for entry in entries):
                out[pack] = path, entries
        return out

    @staticmethod
    def _sizes(whole: dict[bytes, tuple[File, list[Entry]]]) -> list[tuple[bytes, int]]:
        return [(pack, path.stat().st_size) for pack, (path, _) in whole.items()]

    def _bytes(self, name: bytes, kind: int) -> bytes | None:
        tree = self._ports.tree
        ledger = tree.ledger
        place = ledger.place_of_node(name) if kind == Kind.NODE else ledger.place_of_content(name)
        return tree.cache.read(place) if place is not None else None

    def _local(self, name: bytes, found: _Found) -> Entry | None:
        kind = Kind.NODE if name in found.marked.nodes else Kind.BLOCK
        data = self._bytes(name, kind)
        return None if data is None else Entry(kind, name, 0, 0, len(data), 0)

    # -- what is done

    async def _restore(self, found: _Found, whole: dict[bytes, tuple[File, list[Entry]]], here: list[Entry]) -> None:
        for done, (pack, (path, _)) in enumerate(whole.items()):
            self._told("Storing again", done, len(whole))
            await self._ports.remote.put(pack_name(pack), path)

        async def read(kind: int, names: list[bytes]) -> dict[bytes, bytes]:
            await trio.lowlevel.checkpoint()
            return {name: self._bytes(name, kind) or b"" for name in names}

        tree, catalog, packs = self._ports.tree, self._engine.catalog, found.holders.packs
        if here:
            repacking = Repacking(self._ports.remote, self._ports.keys, catalog, tree.ledger, tree.cache)
            await repacking.copy(here, packs.keys() or [bytes([255]) * 16], read)
        broken = [name for name in found.holders.broken if name.startswith("index/")]
        catalog.forget(indexes=[bytes.fromhex(name.rpartition("/")[2]) for name in broken])
        await catalog.settle()
        held = await found.holders.find(found.marked.all, frozenset(found.health.bad))
        for pack in {one.pack for one in held.values()} | whole.keys():
            if pack in packs and pack not in catalog.packs:
                catalog.name(packs[pack])  # what only a lost index knew of
        dead = [packs[pack] for pack in found.health.bad if pack in packs and pack not in whole]
        if dead and (here or whole):
            await catalog.purge(dead)
        if here or whole or found.lost:
            await self._engine.commits.restate()
            await self._engine.publisher.publish()

    # -- what is gone

    async def _paths(self, found: _Found, gone: set[bytes]) -> list[LostPath]:
        if not gone and not found.marked.unread:
            return []
        return await trio.to_thread.run_sync(self._lost_paths, found, gone)

    def _lost_paths(self, found: _Found, gone: set[bytes]) -> list[LostPath]:
        """Each path once, of the newest commit in which it is not whole. In a thread."""
        losses = Losses(self._engine.commits.nodes(), lambda name: name in gone or name in found.marked.unread)
        out: dict[bytes, LostPath] = {}
        for head in found.heads:
            others = [other for other in found.heads if other.root != head.root]
            for one in losses.of(head.root):
                path = b"/".join(one.path)
                if path in out:
                    continue
                number = None if one.directory else losses.whole_in(one.path, [other.root for other in others])
                whole_in = None if number is None else _called(others[number])
                out[path] = LostPath(path, _called(head), one.directory, whole_in)
                if len(out) == _MOST:
                    return list(out.values())
        return list(out.values())


def _called(head: Head) -> str:
    return f"{head.device.hex()[:8]}:{head.number}"
