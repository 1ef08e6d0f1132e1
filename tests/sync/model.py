"""The merge rule as a small program that the real one is held to (docs/merging.md), in the plainest form there is.

A tree is a dict from a path (a tuple of names) to a set of elements; the conflicts namespace is a second one. Nothing
is lazy, nothing is shared, a renamed directory is moved file by file. Only tests use this.
"""

from __future__ import annotations

from typing import NamedTuple

Dot = tuple[bytes, int]
Path = tuple[bytes, ...]
DIRECTORY, FILE, UNIT = "directory", "file", "unit"


class Thing(NamedTuple):
    """An element: `what` is its content (of a unit: all of it, as sorted pairs)."""

    version: Dot
    placed: Dot
    file: bytes
    time: int
    kind: str
    what: object


Tree = dict[Path, frozenset[Thing]]


class Picture(NamedTuple):
    """A whole state: the tree, the conflicts that were moved aside, and what it includes."""

    tree: Tree
    aside: Tree
    vector: dict[bytes, int]


def has_seen(vector: dict[bytes, int], thing: Thing) -> bool:
    return all(vector.get(device, 0) >= counter for device, counter in (thing.version, thing.placed))


def merge(a: Picture, b: Picture) -> Picture:
    def both(x: Tree, y: Tree) -> Tree:
        out = {}
        for path in x.keys() | y.keys():
            mine, theirs = x.get(path, frozenset()), y.get(path, frozenset())
            kept = mine & theirs
            kept |= {thing for thing in mine - theirs if not has_seen(b.vector, thing)}
            kept |= {thing for thing in theirs - mine if not has_seen(a.vector, thing)}
            if kept:
                out[path] = frozenset(kept)
        return out

    vector = {d: max(a.vector.get(d, 0), b.vector.get(d, 0)) for d in a.vector.keys() | b.vector.keys()}
    return Picture(both(a.tree, b.tree), both(a.aside, b.aside), vector)


def below(tree: Tree, path: Path) -> list[Path]:
    return sorted(other for other in tree if len(other) > len(path) and other[: len(path)] == path)


def newest(things: frozenset[Thing] | set[Thing] | list[Thing]) -> Thing | None:
    return max(things, key=lambda thing: (thing.time, thing.version, thing.placed, thing.file), default=None)


def in_place(tree: Tree, path: Path) -> Thing | None:
    """The newest; directories and units first. None also for a directory that is only there for what is in it."""
    things = tree.get(path, frozenset())
    first = [thing for thing in things if thing.kind != FILE]
    if first:
        return newest(first)
    return None if below(tree, path) else newest(things)


class Machine:
    """One device at work. Every edit takes a dot; what happens under one dot is one commit."""

    def __init__(self, device: bytes, picture: Picture) -> None:
        self.device = device
        self.tree, self.aside, self.vector = dict(picture.tree), dict(picture.aside), dict(picture.vector)

    def picture(self) -> Picture:
        return Picture(dict(self.tree), dict(self.aside), dict(self.vector))

    def tick(self) -> Dot:
        self.vector[self.device] = self.vector.get(self.device, 0) + 1
        return self.device, self.vector[self.device]

    def set_aside(self, path: Path, thing: Thing, dot: Dot) -> None:
        self.aside[path] = self.aside.get(path, frozenset()) | {thing._replace(placed=dot)}

    def take(self, path: Path, dot: Dot) -> Thing | None:
        """What is in place, taken out. Its siblings are set aside, those that are directories forgotten."""
        chosen = in_place(self.tree, path)
        for other in self.tree.pop(path, frozenset()):
            if other is not chosen and other.kind != DIRECTORY:
                self.set_aside(path, other, dot)
        if chosen and chosen.kind == UNIT:
            for loose in below(self.tree, path):  # a unit says itself what is in it; this was put in from elsewhere
                for other in self.tree.pop(loose):
                    if other.kind != DIRECTORY:
                        self.set_aside(loose, other, dot)
        return chosen

    def only_one(self, path: Path, dot: Dot) -> None:
        """Whatever is below has no siblings any more."""
        for other in below(self.tree, path):
            chosen = self.take(other, dot)
            if chosen:
                self.tree[other] = frozenset({chosen})

    def put(self, path: Path, thing: Thing) -> None:
        self.tree[path] = frozenset({thing})

    def make_parents(self, path: Path, dot: Dot, directory: object) -> None:
        """Who edits in a directory that has no attributes left gives it some."""
        for length in range(1, len(path)):
            parent = path[:length]
            if in_place(self.tree, parent) is None and below(self.tree, parent):
                self.tree[parent] = self.tree.get(parent, frozenset()) | {directory(parent, dot)}

    def move(self, old: Path, new: Path, dot: Dot, directory: object) -> None:
        """`new` must not hold anything below it."""
        self.take(new, dot)
        self.only_one(old, dot)
        thing = self.take(old, dot) or directory(old, dot)
        moved = {new: frozenset({thing._replace(placed=dot)})}
        for path in below(self.tree, old):
            moved[new + path[len(old) :]] = frozenset(thing._replace(placed=dot) for thing in self.tree.pop(path))
        self.tree.update(moved)

    def remove(self, path: Path, dot: Dot) -> list[Thing]:
        """Everything in place at and below `path`."""
        gone = [self.take(path, dot)]
        self.only_one(path, dot)
        for other in below(self.tree, path):
            gone += self.tree.pop(other)
        return [thing for thing in gone if thing]

    def drop(self, path: Path, thing: Thing) -> None:
        for tree in (self.tree, self.aside):
            kept = tree.get(path, frozenset()) - {thing}
            if path in tree:
                tree[path] = kept
            if not tree.get(path):
                tree.pop(path, None)
