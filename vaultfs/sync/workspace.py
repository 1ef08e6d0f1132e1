"""A tree being edited: what was looked at and changed, over the nodes of a commit. Written out at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import replace

from vaultfs.format.node import Directory, Entry, Unit
from vaultfs.sync.elements import in_place

if TYPE_CHECKING:
    from vaultfs.format.node import Dot, Element, Ref
    from vaultfs.format.node_trie import Trie


@dataclass(slots=True)
class Slot:
    """A name: its elements, what is below it, and, once somebody looked into it, what is in its unit."""

    elements: tuple[Element, ...] = ()
    below: Folder | None = None
    inside: Folder | None = None
    touched: bool = False


@dataclass(slots=True)
class Folder:
    """A directory: as it was (`ref`), and the names that were looked at or changed since."""

    ref: Ref | None = None
    slots: dict[bytes, Slot] = field(default_factory=dict)


class Workspace:
    """Looks up and writes out. `dot` and `now` are what a unit gets in which something changed."""

    def __init__(self, trie: Trie, dot: Dot, now: int) -> None:
        self.trie = trie
        self._dot = dot
        self._now = now

    def slot(self, folder: Folder, name: bytes) -> Slot:
        """The slot of that name, an empty one where there is nothing."""
        slot = folder.slots.get(name)
        if slot is None:
            entry = self.trie.lookup(folder.ref, name)
            below = Folder(entry.below) if entry is not None and entry.below is not None else None
            slot = folder.slots[name] = Slot(entry.elements if entry is not None else (), below)
        return slot

    def below(self, slot: Slot) -> Ref | None:
        """What is below the slot, written out."""
        return None if slot.below is None else self.write(slot.below)

    def chosen(self, slot: Slot) -> Element | None:
        """The element in place; None for nothing, and for a directory without attributes."""
        if not slot.elements:
            return None
        # What is below matters only where no directory is in place; to write it out each time would cost too much.
        certain = any(isinstance(element, Directory | Unit) for element in slot.elements)
        return in_place(Entry(b"?", slot.elements, None if certain else self.below(slot)))

    def write(self, folder: Folder) -> Ref | None:
        """Write the folder out: its reference, None when nothing is in it."""
        if folder.slots:
            changes = {name: self._entry(name, slot) for name, slot in folder.slots.items()}
            folder.ref = self.trie.apply(folder.ref, changes)
        return folder.ref

    def settle(self, slot: Slot) -> None:
        """Bring what changed inside a unit into its element."""
        if slot.inside is None:
            return
        (unit,) = (element for element in slot.elements if isinstance(element, Unit))
        inside = self.write(slot.inside)
        if inside != unit.below or slot.touched:
            slot.elements = (replace(unit, below=inside, version=self._dot, placed=None, time=self._now),)

    def _entry(self, name: bytes, slot: Slot) -> Entry | None:
        self.settle(slot)
        below = self.below(slot)
        return Entry(name, slot.elements, below) if slot.elements or below is not None else None
