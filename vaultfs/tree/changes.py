"""What was changed here since the last cut: names, inodes, blocks. How the next commit costs only what changed.

Kept in memory, written to the tables `change_*` by each checkpoint in the same transaction, and completed by the replay
of the journal after a crash. What a cut took stays here until that commit is durable: a commit that fails or is
lost gives it back. Quiet changes (a checkout, sealing) are not recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultfs import clock

if TYPE_CHECKING:
    from vaultfs.tree.statements import Statements

Slot = tuple[int, bytes]  # a name: the inode of its directory, and the name

_TABLES = ("change_name", "change_inode", "change_block", "outside", "rules_changed")
_WHOLE = (
    "INSERT INTO change_inode VALUES(?,?) ON CONFLICT(ino) DO UPDATE SET whole=max(change_inode.whole, excluded.whole)"
)


class Record:
    """Changes between two moments.

    `names`: what had the name at the first moment (an inode, 0: nothing). `folders`: which of these are directories.
    `parents`: the directories of the names. `inodes`: changed in content or attributes; True: it is new or was cut, so
    that all of its blocks are to be looked at. `blocks`: else the indexes of the changed ones. `since`: the time of the
    oldest change, in ns (0: none).
    """

    __slots__ = ("blocks", "folders", "inodes", "names", "parents", "since")

    def __init__(self) -> None:
        self.names: dict[Slot, int] = {}
        self.folders: set[int] = set()
        self.parents: set[int] = set()
        self.inodes: dict[int, bool] = {}
        self.blocks: dict[int, set[int]] = {}
        self.since = 0

    def __bool__(self) -> bool:
        return bool(self.names or self.inodes)

    def followed_by(self, later: Record) -> None:
        """Adds the changes that were made after these."""
        self.names = {**later.names, **self.names}
        self.folders |= later.folders
        self.parents |= later.parents
        for ino, whole in later.inodes.items():
            self.inodes[ino] = whole or self.inodes.get(ino, False)
        for ino, indexes in later.blocks.items():
            self.blocks.setdefault(ino, set()).update(indexes)
        self.since = self.since or later.since


class Changes:
    """The changes since the last cut. Nothing is recorded until there is a base (`enabled`).

    `outside`: the topmost names that were not in the vault at the last cut, though they stood in the working tree.
    `rules_changed`: directories whose .vaultignore came, went or (by a checkout) changed since.
    """

    def __init__(self) -> None:
        self.enabled = False
        self.outside: frozenset[Slot] = frozenset()
        self.rules_changed: set[int] = set()
        self._now = Record()
        self._taken: Record | None = None  # by the cut that is under way
        self._taken_rules: set[int] = set()
        self._spent = Record()  # of cuts that are done, until the next checkpoint makes that durable
        self._spent_rules: set[int] = set()
        self._fresh = Record()  # what no checkpoint has written yet
        self._gone: list[int] = []
        self._all_anew = False  # the tables must be written from scratch
        self._durable = False  # what `enabled` is in the database
        self._durable_outside = self.outside
        self.cuts_lost = 0  # how often the database gave up what was not durable: a cut from before is void

    # -- what others ask

    @property
    def current(self) -> Record:
        """What was changed since the last cut."""
        return self._now

    @property
    def cutting(self) -> bool:
        """Whether a cut has taken changes, and neither succeeded nor failed yet."""
        return self._taken is not None

    @property
    def names(self) -> dict[Slot, int]:
        """The names that were changed, and the inode that had each at the last cut (0: none)."""
        return self._now.names

    @property
    def inodes(self) -> dict[int, bool]:
        """The changed inodes."""
        return self._now.inodes

    def touched(self, parent: int, name: bytes) -> bool:
        """Whether the name was changed since the base."""
        slot = (parent, name)
        return slot in self._now.names or (self._taken is not None and slot in self._taken.names)

    def dirty(self, ino: int) -> bool:
        """Whether content or attributes were changed since the base."""
        return ino in self._now.inodes or (self._taken is not None and ino in self._taken.inodes)

    def within(self, ino: int) -> bool:
        """Whether a name in this directory was changed since the base."""
        return ino in self._now.parents or (self._taken is not None and ino in self._taken.parents)

    def inos(self) -> set[int]:
        """All inodes that were changed since the base, and the directories of names that were."""
        found = self._now.parents.union(self._now.inodes)
        return found if self._taken is None else found.union(self._taken.parents, self._taken.inodes)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not self._now and not self.rules_changed

    @property
    def count(self) -> int:
        """Changed names and inodes that are in no commit yet: also those of which one is being made."""
        return sum(len(record.names) + len(record.inodes) for record in self._uncommitted())

    @property
    def oldest_ns(self) -> int:
        """When the oldest of these was made, ns since 1970; 0: there is none."""
        return next((record.since for record in self._uncommitted() if record.since), 0)

    def _uncommitted(self) -> list[Record]:
        """What the cut under way took, and what came since: the older first."""
        return [self._now] if self._taken is None else [self._taken, self._now]

    # -- recording; the tree calls these for the first change of each thing only

    def add_name(self, slot: Slot, old: int, *, folder: bool) -> None:
        """The name is about to be changed; `old` is what it stands for now (0: nothing)."""
        now, fresh = self._now, self._fresh
        now.since = now.since or clock.now()
        now.names[slot] = old
        fresh.names.setdefault(slot, old)  # what a cut took may wait there too, and that is older
        now.parents.add(slot[0])
        if folder:
            now.folders.add(old)
            fresh.folders.add(old)

    def add_inode(self, ino: int, *, whole: bool) -> None:
        """The inode is changed; with `whole` it is new, or was cut."""
        now = self._now
        now.since = now.since or clock.now()
        if whole:
            now.blocks.pop(ino, None)
        whole = whole or now.inodes.get(ino, False)
        now.inodes[ino] = whole
        self._fresh.inodes[ino] = whole or self._fresh.inodes.get(ino, False)

    def add_block(self, ino: int, idx: int) -> None:
        """Block `idx` of the file is changed."""
        now = self._now
        if now.inodes.get(ino):
            return
        indexes = now.blocks.get(ino)
        if indexes is None:
            indexes = now.blocks[ino] = set()
        if idx not in indexes:
            indexes.add(idx)
            self._fresh.blocks.setdefault(ino, set()).add(idx)

    def forget(self, ino: int) -> None:
        """The inode is gone."""
        if self._now.inodes.pop(ino, None) is not None:
            self._fresh.inodes.pop(ino, None)
            self._now.blocks.pop(ino, None)
            self._fresh.blocks.pop(ino, None)
            self._gone.append(ino)

    # -- cuts

    def start(self) -> None:
        """There is a base from now on."""
        self.enabled = self._all_anew = True

    def take(self) -> Record:
        """Takes all changes for a cut: what follows is recorded anew."""
        self._taken, self._now = self._now, Record()
        self._taken_rules, self.rules_changed = self.rules_changed, set()
        return self._taken

    def done(self, outside: frozenset[Slot]) -> None:
        """The cut's commit is the base, which the next checkpoint makes durable; `outside` is not in it."""
        if self._taken is not None:
            self._spent.followed_by(self._taken)
            self._spent_rules |= self._taken_rules
        self._taken, self._taken_rules = None, set()
        self.outside = outside
        self.enabled = self._all_anew = True

    def absent(self, slots: set[Slot]) -> None:
        """The base has nothing under these names after all."""
        self.outside |= slots
        self._all_anew = self._all_anew or self.enabled

    def give_back(self, *, enabled: bool) -> None:
        """The cut came to nothing; `enabled` is what it was before."""
        if self._taken is not None:
            self._taken.followed_by(self._now)
            self._now = self._taken
            self.rules_changed |= self._taken_rules
        self._taken, self._taken_rules = None, set()
        self.enabled = enabled
        if not enabled:
            self._now, self._fresh = Record(), Record()

    # -- the database

    def load(self, db: Statements) -> None:
        """Takes what the last checkpoint wrote."""
        self.enabled = self._durable = bool(db.meta("tracking"))
        if not self.enabled:
            return
        now = self._now
        for parent, name, old in db.all("SELECT parent, name, old FROM change_name"):
            now.names[parent, name] = abs(old)
            now.parents.add(parent)
            if old < 0:
                now.folders.add(-old)
        now.inodes = {ino: bool(whole) for ino, whole in db.all("SELECT ino, whole FROM change_inode")}
        for ino, idx in db.all("SELECT ino, idx FROM change_block"):
            now.blocks.setdefault(ino, set()).add(idx)
        now.since = db.meta("changed_since")
        self.outside = self._durable_outside = frozenset(map(tuple, db.all("SELECT parent, name FROM outside")))
        self.rules_changed = {ino for (ino,) in db.all("SELECT ino FROM rules_changed")}

    def store(self, db: Statements) -> None:
        """Writes what is new into the open transaction; `stored` follows when that is on disk."""
        if not self.enabled or not (self._durable or self._all_anew):
            return  # the first cut is not done yet
        new = self._fresh
        if self._all_anew:
            new = Record()
            for record in self._uncommitted():
                new.followed_by(record)
            for table in _TABLES:
                db.run(f"DELETE FROM {table}")  # noqa: S608  # our own names
            db.run_many("INSERT INTO outside VALUES(?,?)", list(self.outside))
        for ino in self._gone:
            db.run("DELETE FROM change_inode WHERE ino=?", ino)
            db.run("DELETE FROM change_block WHERE ino=?", ino)
        folders = new.folders
        names = [(*slot, -old if old in folders else old) for slot, old in new.names.items()]
        blocks = [(ino, idx) for ino, indexes in new.blocks.items() for idx in indexes]
        db.run_many("INSERT OR IGNORE INTO change_name VALUES(?,?,?)", names)
        db.run_many(_WHOLE, list(new.inodes.items()))
        db.run_many("INSERT OR IGNORE INTO change_block VALUES(?,?)", blocks)
        rules = [(ino,) for ino in self.rules_changed | self._taken_rules]
        db.run_many("INSERT OR IGNORE INTO rules_changed VALUES(?)", rules)
        since = (self._taken.since if self._taken is not None else 0) or self._now.since
        db.put_meta(tracking=1, changed_since=since)

    def stored(self) -> None:
        """What `store` wrote is durable."""
        if not self.enabled or not (self._durable or self._all_anew):
            return
        self._fresh, self._spent, self._spent_rules = Record(), Record(), set()
        self._gone.clear()
        self._all_anew, self._durable = False, True
        self._durable_outside = self.outside

    def lost(self) -> None:
        """The open transaction was given up, and with it the commits that were not durable."""
        self.give_back(enabled=self.enabled)
        self._spent.followed_by(self._now)
        self._now, self._spent = self._spent, Record()
        self.rules_changed |= self._spent_rules
        self._spent_rules = set()
        self.outside = self._durable_outside
        self.enabled = self._durable
        self.cuts_lost += 1
        self._all_anew = self.enabled
        if not self.enabled:
            self._now, self._fresh = Record(), Record()
