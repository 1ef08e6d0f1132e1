"""Making room on the remote: an explicit act, which removes only what no commit has needed for the whole grace.

Marked is everything below every head that is on the remote, and what this machine has not published yet. A pack in
which nothing of that stands is a candidate, and so is an index that no newest head names. A candidate goes when it
has been one for the whole grace, by this machine's own memory: a device that looked at the remote during that time
cannot need it any more (docs/sync.md, "Room on the remote"). Packs of which little is needed are written anew.

Order: new packs, a head that names them; much later, new indexes without the old packs, a head that names those, and
only then the removal. So a crash anywhere leaves garbage, and nothing that is needed is ever in one place only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import trio

from vaultfs import clock
from vaultfs.errors import GarbageStoppedError, RemoteObjectMissingError, UsageError
from vaultfs.format.head import MAX_BYTES, HeadRefusedError, head_name, parse_name
from vaultfs.format.index import name_of
from vaultfs.format.pack import HEADER_BYTES, Kind
from vaultfs.sync.catalog import pack_name
from vaultfs.sync.counted import open_counted
from vaultfs.sync.garbage_here import let_go
from vaultfs.sync.garbage_mark import Marked, mark
from vaultfs.sync.garbage_memory import Memory
from vaultfs.sync.garbage_packs import Repacking
from vaultfs.sync.garbage_places import Held, Holders
from vaultfs.sync.wary import Wary, together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vaultfs.format.head import Head, PackPlace
    from vaultfs.sync.engine import Engine

DAY = 86_400 * 1_000_000_000
_FACT = "garbage noted"
_SHARE = 4  # a pack of which less than this part is needed is written anew
_LOOKS = 3
_AT_ONCE = 8
_memory = msgspec.msgpack.Decoder(Memory)


class Collected(msgspec.Struct, frozen=True):
    """What was found and done. Bytes are those of whole objects on the remote.

    `removed` objects went (with a dry run: would go now); `waiting` wait for the end of their grace, which ends first
    at `next` (ns since 1970). `rewritten` packs were mostly garbage: what is needed of them, `copied` bytes, is in new
    packs. `missing`: how much commits need that stands nowhere; then nothing goes that no head names.
    """

    dry_run: bool
    heads: int
    needed: int
    objects: int
    bytes: int
    removed: int = 0
    removed_bytes: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    next: int | None = None
    rewritten: int = 0
    rewritten_bytes: int = 0
    copied: int = 0
    missing: int = 0


@dataclass
class _Survey:
    """What stands where, and what of it is needed."""

    heads: list[Head]
    marked: Marked
    holders: Holders
    held: dict[bytes, Held]
    kept: set[bytes]  # blocks of files here that are in no commit, or lag: they may have been published once
    listed: dict[str, int]  # packs and indexes by name, with their size

    @property
    def missing(self) -> int:
        return sum(name not in self.held for name in self.marked.all)

    async def find(self) -> None:
        """Look where everything stands. What is not listed holds nothing: an index may still speak of it."""
        gone = frozenset(pack for pack in self.holders.packs if pack_name(pack) not in self.listed)
        self.held = await self.holders.find(self.marked.all | self.kept, gone)


class _Due(NamedTuple):
    """Candidates by name, with their size."""

    now: dict[str, int]
    later: dict[str, int]
    next: int | None


def _silent(_text: str, _done: int, _total: int | None) -> None:
    """Nobody asked to be told."""


class Garbage:
    """One act of making room. `told(text, done, of total)` is called as it goes on."""

    def __init__(self, engine: Engine, told: Callable[[str, int, int | None], None] = _silent) -> None:
        self._ports = engine.ports
        self._engine = engine
        self._told = told
        self._wary = Wary(engine.ports.remote)

    async def collect(self, grace: int, *, dry_run: bool = False, now: int | None = None) -> Collected:
        """Find what is not needed, note it, and remove what was noted long enough ago. `grace`, `now`: in ns.

        Raises:
            GarbageStoppedError: a head cannot be read, or a part of a tree. Nothing was removed.
            RollbackError: an alarm stands.
            NewerFormatError: something was written by a later vaultfs, or under keys that are not known here.
            What the remote and the disk raise.
        """
        if self._ports.follow_only and not dry_run:
            raise UsageError(detail="This machine has the vault mounted read-only; run gc on another, or unmount it")
        moment = clock.now() if now is None else now
        survey = await self._survey()
        listed = survey.listed
        thin = self._mostly_dead(survey, listed)
        copied = sum(held.entry.length for held in survey.held.values() if held.pack in thin)
        if thin and not dry_run:
            await self._rewrite(survey, thin)
        candidates = self._candidates(survey, listed, frozenset(thin))
        memory = self._known().look(candidates, moment)
        due = self._due(candidates, memory, moment - grace)
        if due.next is not None:
            due = due._replace(next=due.next + grace)
        if not dry_run:
            self._remember(memory)
            await let_go(self._ports.tree, self._engine.commits, survey.marked.nodes)
            await self._engine.commits.checkpoint()
            if due.now:
                due = due._replace(now=await self._remove(survey, due.now))
        return Collected(
            dry_run, len(survey.heads), len(survey.marked.all), len(listed), sum(listed.values()),
            len(due.now), sum(due.now.values()), len(due.later), sum(due.later.values()), due.next,
            len(thin), sum(listed[pack_name(pack)] for pack in thin), copied, survey.missing,
        )  # fmt: skip

    # -- what is needed

    async def _survey(self) -> _Survey:
        survey = _Survey([], Marked(), Holders(self._wary, self._ports.keys), {}, set(), {})
        await self._look(survey)
        return survey

    async def _look(self, survey: _Survey) -> bool:
        """Take in heads that are not in the survey yet; False: there were none."""
        known = {head.name for head in survey.heads}
        new = [head for head in await self._heads(known) if head.name not in known]
        if known and not new:
            return False
        survey.heads += new
        engine, ledger = self._engine, self._ports.tree.ledger
        newest = self._newest(survey.heads)
        for head in newest:
            engine.catalog.learn(head)
        await survey.holders.learn(newest)
        roots = dict.fromkeys(head.root for head in new)
        if ledger.base is not None:
            roots[ledger.base.root] = None

        def told(count: int) -> None:
            trio.from_thread.run_sync(self._told, "Reading what commits need", count, None)

        await trio.to_thread.run_sync(mark, engine.commits.nodes(), roots, survey.marked, told)
        if survey.marked.unread:
            error = next(iter(survey.marked.unread.values()))
            detail = f"a part of a tree cannot be read ({error}); see: vaultfs repair"
            raise GarbageStoppedError(remote=self._ports.remote.label, detail=detail)
        survey.kept = set(ledger.used_blocks())
        survey.listed = await self._listed()  # after the heads: what they name was there before
        await survey.find()
        if survey.missing:
            for head in survey.heads:  # older ones may name what newer ones have lost sight of
                engine.catalog.learn(head)
            await survey.holders.learn(survey.heads)
            await survey.find()
        return True

    @staticmethod
    def _newest(heads: Iterable[Head]) -> list[Head]:
        newest: dict[bytes, Head] = {}
        for head in heads:
            if head.device not in newest or newest[head.device].number < head.number:
                newest[head.device] = head
        return list(newest.values())

    async def _heads(self, known: set[str]) -> list[Head]:
        """Every head that is on the remote or was seen, but those of names in `known`."""
        heads = self._engine.heads
        await self._engine.follow()
        if heads.alarms:
            raise heads.trust.error(heads.alarms[0])
        for error in heads.unreadable.values():
            raise error
        if heads.unknown_own:
            detail = "this machine was cloned or set back; mount the vault first"
            raise GarbageStoppedError(remote=self._ports.remote.label, detail=detail)
        found = {head.name: head for head in heads.seen}
        names = set()
        for entry in await self._ports.remote.list("heads"):
            try:
                device, number = parse_name(entry.name)
            except HeadRefusedError:
                continue
            counts = heads.members is None or heads.members.counts(device, number)
            if counts and not heads.trust.skipped(device, number):
                names.add(entry.name)
        await together(
            lambda name=name: self._open(name, found)  # type: ignore[misc]
            for name in sorted(names - known - found.keys())
        )
        return list(found.values())

    async def _open(self, name: str, found: dict[str, Head]) -> None:
        keys, trust = self._ports.keys, self._engine.heads.trust
        device, number = parse_name(name)
        try:
            data = await self._ports.remote.get(name, 0, MAX_BYTES + 1)
            found[name] = open_counted(
                data, head_name(device, number), keys, self._engine.heads.members, public_key=trust.key(device)
            )
        except RemoteObjectMissingError:
            return  # its device has just removed it
        except HeadRefusedError as error:
            detail = f"{name} cannot be read ({error})"
            raise GarbageStoppedError(remote=self._ports.remote.label, detail=detail) from None

    # -- what is not

    async def _listed(self) -> dict[str, int]:
        """Packs and indexes and their sizes by name, as the remote lists them."""
        entries = [*await self._ports.remote.list("packs"), *await self._ports.remote.list("index")]
        return {entry.name: entry.size for entry in entries}

    def _mostly_dead(self, survey: _Survey, listed: dict[str, int]) -> dict[bytes, PackPlace]:
        """Packs of which a little is needed."""
        live: dict[bytes, int] = {}
        for held in survey.held.values():
            live[held.pack] = live.get(held.pack, 0) + held.entry.length
        packs = survey.holders.packs
        return {
            pack: packs[pack]
            for pack, size in live.items()
            if size * _SHARE < packs[pack].footer - HEADER_BYTES and pack_name(pack) in listed
        }

    def _candidates(self, survey: _Survey, listed: dict[str, int], thin: frozenset[bytes]) -> dict[str, int]:
        needed = {pack_name(held.pack) for held in survey.held.values() if held.pack not in thin}
        needed |= self._ours() | self._indexes(survey)
        if survey.missing:
            # What is looked for may be in a pack that no head names any more.
            named = {pack_name(pack) for pack in survey.holders.packs}
            needed |= listed.keys() - named
        return {name: size for name, size in listed.items() if name not in needed}

    def _indexes(self, survey: _Survey) -> set[str]:
        """Indexes that the newest head of a device names, or the next one of this machine."""
        named = [*(index for head in self._newest(survey.heads) for index in head.indexes)]
        return {name_of(index.id) for index in (*named, *self._engine.catalog.indexes)}

    def _ours(self) -> set[str]:
        """Packs that wait for their head, or are being made."""
        tree = self._ports.tree
        numbers = tree.ledger.waiting_packs() | tree.blocks.pinned
        return {pack_name(tree.ledger.pack_of(number).id) for number in numbers}

    async def _still_needed(self, survey: _Survey, dead: list[PackPlace]) -> set[str]:
        """Packs that have to stay, by what the newest heads say now, as somebody will see it who comes new."""
        fresh, gone = Holders(self._wary, self._ports.keys), {pack.id for pack in dead}
        await fresh.learn(self._newest(survey.heads))
        without = await fresh.find(set(survey.held), frozenset(gone))
        astray = survey.held.keys() - without.keys()
        needed = {held.pack for name, held in survey.held.items() if name not in astray or held.pack in gone}
        if any(survey.held[name].pack not in gone for name in astray):
            # It is still there, but nobody new would find it: what is due may be all that they would find.
            detail = "the newest commits do not say where everything stands; try again"
            raise GarbageStoppedError(remote=self._ports.remote.label, detail=detail)
        return {pack_name(pack) for pack in needed}

    # -- how long already

    def _known(self) -> Memory:
        record = self._ports.tree.ledger.fact(_FACT)
        return Memory() if record is None else _memory.decode(record)

    def _remember(self, memory: Memory) -> None:
        self._ports.tree.ledger.set_fact(_FACT, msgspec.msgpack.encode(memory))

    def _due(self, candidates: dict[str, int], memory: Memory, before: int) -> _Due:
        """What has been a candidate since `before`; `next`: since when the oldest of the others is."""
        since = memory.since
        due = {name: size for name, size in candidates.items() if since[name] <= before}
        later = {name: size for name, size in candidates.items() if name not in due}
        return _Due(due, later, min((since[name] for name in later), default=None))

    # -- what is done

    async def _rewrite(self, survey: _Survey, thin: dict[bytes, PackPlace]) -> None:
        """Copy what is needed of these packs, and publish where it is now."""
        fetcher, tree = self._engine.fetcher, self._ports.tree

        async def read(kind: int, names: list[bytes]) -> dict[bytes, bytes]:
            return await (fetcher.nodes(names) if kind == Kind.NODE else fetcher.contents(names))

        entries = [held.entry for held in survey.held.values() if held.pack in thin]
        self._told("Writing packs anew", 0, sum(entry.length for entry in entries))
        repacking = Repacking(self._ports.remote, self._ports.keys, self._engine.catalog, tree.ledger, tree.cache)
        for made in await repacking.copy(entries, thin, read):
            survey.holders.put(made.place, made.entries)
            survey.listed[pack_name(made.place.id)] = made.place.size
        await self._publish()
        await survey.find()

    async def _publish(self) -> None:
        """A head that says what the catalog says now is on the remote when this returns."""
        await self._engine.commits.restate()
        await self._engine.publisher.publish()

    async def _remove(self, survey: _Survey, due: dict[str, int]) -> dict[str, int]:
        """Remove what is due, unless somebody needs it now; what went."""
        dead = [pack for pack in survey.holders.packs.values() if pack_name(pack.id) in due]
        if dead:
            await self._engine.catalog.purge(dead)
            await self._publish()
        for _ in range(_LOOKS):
            if not await self._look(survey):
                break
        needed = await self._still_needed(survey, dead) | self._ours() | self._indexes(survey)
        going = {name: size for name, size in due.items() if name not in needed}
        names = sorted(going)
        for start in range(0, len(names), _AT_ONCE):
            self._told("Removing", start, len(names))
            await together(partial(self._ports.remote.delete, name) for name in names[start : start + _AT_ONCE])
        self._remember(self._known().without(going))
        await self._engine.commits.checkpoint()
        return going
