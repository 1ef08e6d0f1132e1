"""Random histories of a few machines, played at once on the real thing and on the model."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

from tests.sync import model
from tests.sync.pictures import DEVICES, check, directory, file, flat, group, made_id, same, start, unit
from vaultfs.format.node import Dot, File
from vaultfs.sync.conflicts import conflicts
from vaultfs.sync.edits import PRIVATE, Editor
from vaultfs.sync.elements import identity, in_place
from vaultfs.sync.merge import merge, merge_trees

if TYPE_CHECKING:
    from tests.support.nodes import MemoryNodes
    from vaultfs.sync.conflicts import Conflict
    from vaultfs.sync.elements import Identity
    from vaultfs.sync.merge import State

    Head = tuple[State, model.Picture]

FILES = [
    tuple(path.encode().split(b"/"))
    for path in ("p", "q", "d/x", "d/y", "d/s/x", "d/s/t/z", "e/x", "e/s/x", "f/d/x", "u", "db", "d/db")
]
DIRECTORIES = [tuple(path.encode().split(b"/")) for path in ("d", "d/s", "d/s/t", "e", "e/s", "f", "f/d", "u")]


class Pair:
    """One machine, real and modelled."""

    def __init__(self, nodes: MemoryNodes, device: bytes, state: State, seed: int) -> None:
        self.nodes, self.device, self.state = nodes, device, state
        self.model = model.Machine(device, flat(nodes, state))  # nothing in it yet
        self.random = random.Random(seed)
        self.open: tuple[model.Path, model.Thing, Identity] | None = None  # a file that the working tree holds

    def head(self) -> Head:
        return self.state, self.model.picture()

    def receive(self, other: Head) -> None:
        merged = merge(self.nodes, self.state, other[0])
        assert merged == merge(self.nodes, other[0], self.state)
        picture = model.merge(self.model.picture(), other[1])
        self.state, self.model = merged, model.Machine(self.device, picture)

    def edit(self) -> tuple[Editor, Dot]:
        dot = Dot(*self.model.tick())
        return Editor(self.nodes, self.state, dot, dot.counter), dot

    def made_up(self, time: int):  # noqa: ANN201 - a function for the model
        def make(path: model.Path, dot: model.Dot) -> model.Thing:
            return model.Thing(dot, dot, made_id(dot, path), time, model.DIRECTORY, PRIVATE)

        return make

    def agree(self) -> None:
        assert same(flat(self.nodes, self.state), self.model.picture())
        expected = sorted((path, one.version, one.file, aside) for path, one, aside in self.conflicts())
        assert sorted((c.path, c.element.version, c.element.id, c.aside) for c in self.listed()) == expected

    def listed(self) -> list[Conflict]:
        return list(conflicts(self.nodes, self.state.root))

    def any_conflict(self, kinds: tuple[str, ...]) -> tuple[model.Path, model.Thing, Identity] | None:
        """A conflict, and how the real thing calls it. None where there is none, or none with a name of its own."""
        ours = [(path, one, aside) for path, one, aside in self.conflicts() if one.kind in kinds]
        if not ours:
            return None
        path, one, aside = self.random.choice(ours)
        like = [c for c in self.listed() if (c.path, c.aside) == (path, aside)]
        like = [c for c in like if (c.element.version, c.element.id) == (one.version, one.file)]
        return (path, one, identity(like[0].element)) if len(like) == 1 else None

    def conflicts(self) -> list[tuple[model.Path, model.Thing, bool]]:
        tree = self.model.tree
        found = [(path, one, True) for path in self.model.aside for one in self.model.aside[path]]
        for path in tree:
            chosen = model.in_place(tree, path)
            loose = any(
                (parent := model.in_place(tree, path[:length])) and parent.kind == model.UNIT
                for length in range(1, len(path))
            )
            found += [
                (path, one, False) for one in tree[path] if (loose or one is not chosen) and one.kind != model.DIRECTORY
            ]
        return sorted(found)


class History:
    """`steps` random steps of three or four machines with wrong clocks, then everybody meets."""

    def __init__(self, seed: int, steps: int = 50) -> None:
        self.random = random.Random(seed)
        self.nodes, state = start()
        count = self.random.choice((3, 4))
        self.pairs = [Pair(self.nodes, device, state, seed) for device in DEVICES[:count]]
        self.written: set[object] = set()
        self.given_up: set[object] = set()
        self.old: list[Head] = []
        self.steps = steps

    def play(self, *, careful: bool = False) -> None:
        for clock in range(self.steps):
            pair = self.random.choice(self.pairs)
            time = max(clock + self.random.randint(-5, 5), 0)
            if self.random.random() < 0.3:
                other = self.random.choice([other for other in self.pairs if other is not pair])
                stale = self.old and self.random.random() < 0.15
                pair.receive(self.random.choice(self.old) if stale else other.head())
                self.old.append(pair.head())
            else:
                self.edit(pair, time)
            if careful:
                pair.agree()
                check(self.nodes, pair.state)

    def edit(self, pair: Pair, time: int) -> None:
        kind = self.random.choices(
            ("write", "mkdir", "inside", "delete", "rename", "exchange", "link", "held", "drop", "keep", "enclose"),
            (26, 8, 8, 12, 20, 5, 4, 8, 6, 3, 3),
        )[0]
        editor, dot = pair.edit()
        getattr(self, kind)(pair, editor, dot, time)
        pair.state = editor.commit()

    def gone(self, *things: model.Thing | None) -> None:
        for one in things:
            if one is not None and one.kind != model.DIRECTORY:
                self.given_up.update(contents(one))

    def parents(self, pair: Pair, editor: Editor, path: model.Path, dot: Dot, time: int) -> None:
        """Make the parents that are missing, as a person would. All others must be directories."""
        tree = pair.model.tree
        pair.model.make_parents(path, dot, pair.made_up(dot.counter))
        for length in range(1, len(path)):
            here = path[:length]
            if model.in_place(tree, here) is None and not model.below(tree, here):
                editor.write(here, directory(made_id(dot, here), time))
                pair.model.put(here, model.Thing(dot, dot, made_id(dot, here), time, model.DIRECTORY, 0o755))

    def write(self, pair: Pair, editor: Editor, dot: Dot, time: int) -> None:
        path = self.random.choice(FILES)
        tree = pair.model.tree
        before = model.in_place(tree, path)
        if not self.reachable(tree, path) or model.below(tree, path) or (before and before.kind == model.UNIT):
            return
        self.parents(pair, editor, path, dot, time)
        content = dot[0][:1] + b"%d" % dot[1]
        file_id = before.file if before is not None and before.kind == model.FILE else made_id(dot, path)
        make = group if path[-1] == b"db" else file
        editor.write(path, make(file_id, content, time))
        old = pair.model.take(path, dot)
        self.gone(old)
        pair.model.put(path, model.Thing(dot, old.placed if old else dot, file_id, time, model.FILE, content))
        self.written.add(content)

    def mkdir(self, pair: Pair, editor: Editor, dot: Dot, time: int) -> None:
        """A new directory, or other attributes for one that is there."""
        path = self.random.choice(DIRECTORIES)
        tree = pair.model.tree
        old = model.in_place(tree, path)
        if not self.reachable(tree, path) or (old is not None and old.kind != model.DIRECTORY):
            return
        self.parents(pair, editor, path, dot, time)
        mode = self.random.choice((0o755, 0o700, 0o750))
        file_id = old.file if old else made_id(dot, path)
        editor.write(path, directory(file_id, time, mode))
        pair.model.take(path, dot)
        pair.model.put(path, model.Thing(dot, old.placed if old else dot, file_id, time, model.DIRECTORY, mode))

    def inside(self, pair: Pair, editor: Editor, dot: Dot, _time: int) -> None:
        """A file in the unit `u`, made where there is none."""
        path = (b"u",)
        old = model.in_place(pair.model.tree, path)
        if old is None and not model.below(pair.model.tree, path):
            editor.write(path, unit(made_id(dot, path), dot.counter))
            old = model.Thing(dot, dot, made_id(dot, path), dot.counter, model.UNIT, ())
        elif old is None or old.kind != model.UNIT:
            return
        name, content = self.random.choice((b"a", b"b", b"c")), dot[0][:1] + b"%d" % dot[1]
        editor.write((*path, name), file(made_id(dot, (*path, name)), content, dot.counter))
        pair.model.take(path, dot)
        inside = {**dict(old.what), name: content}
        new = old._replace(version=tuple(dot), time=dot.counter, what=tuple(sorted(inside.items())))
        pair.model.put(path, new)
        self.given_up.add(dict(old.what).get(name))
        self.written.add(content)

    def delete(self, pair: Pair, editor: Editor, dot: Dot, _time: int) -> None:
        tree = pair.model.tree
        path = self.random.choice(FILES + DIRECTORIES)
        if not (path in tree or model.below(tree, path)) or not self.reachable(tree, path):
            return
        pair.model.make_parents(path, dot, pair.made_up(dot.counter))
        editor.delete(path)
        self.gone(*pair.model.remove(path, dot))

    def rename(self, pair: Pair, editor: Editor, dot: Dot, time: int) -> None:
        tree = pair.model.tree
        old, new = (self.random.choice(FILES + DIRECTORIES) for _ in range(2))
        if old[: len(new)] == new or new[: len(old)] == old or not self.reachable(tree, old):
            return
        if not self.reachable(tree, new):
            return
        if not (old in tree or model.below(tree, old)) or model.below(tree, new):
            return
        target = model.in_place(tree, new)
        if target is not None and target.kind == model.UNIT:
            return
        pair.model.make_parents(old, dot, pair.made_up(dot.counter))
        self.parents(pair, editor, new, dot, time)
        self.gone(model.in_place(tree, new))
        editor.rename(old, new)
        pair.model.move(old, new, dot, pair.made_up(dot.counter))

    def exchange(self, pair: Pair, editor: Editor, dot: Dot, _time: int) -> None:
        tree = pair.model.tree
        a, b = (self.random.choice(FILES + DIRECTORIES) for _ in range(2))
        if a[: len(b)] == b or b[: len(a)] == a or not (self.reachable(tree, a) and self.reachable(tree, b)):
            return
        if not all(path in tree or model.below(tree, path) for path in (a, b)):
            return
        editor.exchange(a, b)
        for path in (a, b):
            pair.model.make_parents(path, dot, pair.made_up(dot.counter))
        aside = (b"nowhere",)
        for old, new in ((a, aside), (b, a), (aside, b)):
            pair.model.move(old, new, dot, pair.made_up(dot.counter))

    def link(self, pair: Pair, editor: Editor, dot: Dot, time: int) -> None:
        tree = pair.model.tree
        old, new = self.random.choice(FILES), self.random.choice(FILES)
        entry = editor.look(old) if self.reachable(tree, old) and old in tree else None
        if entry is None or not isinstance(in_place(entry), File) or not self.reachable(tree, new):
            return
        if new in tree or model.below(tree, new) or new[: len(old)] == old:
            return
        pair.model.make_parents(old, dot, pair.made_up(dot.counter))
        self.parents(pair, editor, new, dot, time)
        editor.link(old, new)
        pair.model.put(new, model.in_place(tree, old)._replace(placed=tuple(dot)))

    def held(self, pair: Pair, editor: Editor, dot: Dot, time: int) -> None:
        """A file is opened, and some time later written as it was then, whatever was merged meanwhile."""
        tree = pair.model.tree
        if pair.open is None:
            path = self.random.choice(FILES)
            chosen = model.in_place(tree, path)
            if chosen is not None and chosen.kind == model.FILE and self.reachable(tree, path):
                pair.open = path, chosen, identity(in_place(editor.look(path)))
            return
        (path, seen, which), pair.open = pair.open, None
        if not self.reachable(tree, path):
            return
        self.parents(pair, editor, path, dot, time)
        content = dot[0][:1] + b"%d" % dot[1]
        editor.write(path, file(seen.file, content, time), seen=which)
        self.written.add(content)
        new = model.Thing(dot, dot, seen.file, time, model.FILE, content)
        if model.in_place(tree, path) == seen:
            self.gone(pair.model.take(path, dot))
            pair.model.put(path, new)
        else:
            here = tree.get(path, frozenset())
            self.gone(*(here & {seen}))
            tree[path] = here - {seen} | {new}
            # So is what it was made from where another machine has moved that aside meanwhile.
            aside = pair.model.aside
            replaced = {one for one in aside.get(path, ()) if (one.version, one.file) == (seen.version, seen.file)}
            self.gone(*replaced)
            if replaced:
                aside[path] = aside.pop(path) - replaced
                if not aside[path]:
                    del aside[path]

    def drop(self, pair: Pair, editor: Editor, _dot: Dot, _time: int) -> None:
        found = pair.any_conflict((model.FILE, model.UNIT))
        if found:
            path, one, which = found
            editor.drop_conflict(path, which)
            pair.model.drop(path, one)
            self.gone(one)

    def keep(self, pair: Pair, editor: Editor, dot: Dot, _time: int) -> None:
        found = pair.any_conflict((model.FILE,))
        if not found:
            return
        path, one, which = found
        tree = pair.model.tree
        if len(path) > 1 or model.below(tree, path) or model.in_place(tree, path) is None:
            return
        if model.in_place(tree, path).kind != model.FILE:
            return
        editor.keep_conflict(path, which)
        pair.model.drop(path, one)
        old = pair.model.take(path, dot)
        self.gone(old)
        pair.model.put(path, one._replace(version=tuple(dot), placed=old.placed, time=dot.counter))

    def enclose(self, pair: Pair, editor: Editor, dot: Dot, _time: int) -> None:
        """A directory of files becomes a unit."""
        tree, path = pair.model.tree, (b"u",)
        chosen = model.in_place(tree, path)
        inside = model.below(tree, path)
        if not inside and (chosen is None or chosen.kind != model.DIRECTORY):
            return
        if chosen is not None and chosen.kind == model.UNIT:
            return
        if any(len(other) > len(path) + 1 or model.in_place(tree, other).kind != model.FILE for other in inside):
            return
        editor.enclose(path)
        pair.model.only_one(path, dot)
        old = pair.model.take(path, dot) or pair.made_up(dot.counter)(path, dot)
        what = tuple((other[-1], next(iter(tree.pop(other))).what) for other in inside)
        new = old._replace(version=tuple(dot), placed=old.placed, time=dot.counter, kind=model.UNIT, what=what)
        pair.model.put(path, new)

    @staticmethod
    def reachable(tree: model.Tree, path: model.Path) -> bool:
        return all(
            (chosen := model.in_place(tree, path[:length])) is None or chosen.kind == model.DIRECTORY
            for length in range(1, len(path))
        )

    def meet(self) -> None:
        """In whatever order, and with old heads among them, all come to the same tree, and nothing is missing."""
        for pair in self.pairs:
            pair.agree()
            check(self.nodes, pair.state)
        heads = [pair.state for pair in self.pairs]
        results: set[bytes] = set()
        expected = self.pairs[0].model.picture()
        for pair in self.pairs[1:]:
            expected = model.merge(expected, pair.model.picture())
        orders = list(itertools.permutations(heads))
        for order in self.random.sample(orders, 6):
            state = order[0]
            for head in order[1:]:
                state = merge(self.nodes, state, head)
            results.add(state.root)
            always = order[0]
            for head in order[1:]:
                always = merge_trees(self.nodes, always, head)
            results.add(always.root)
            state = merge(self.nodes, merge(self.nodes, order[0], order[1]), merge(self.nodes, order[1], order[2]))
            for head in (*order[3:], *(head for head, _ in self.random.sample(self.old, min(3, len(self.old))))):
                state = merge(self.nodes, head, state)
            results.add(state.root)
        assert len(results) == 1, "diverged"
        assert same(flat(self.nodes, state), expected)
        check(self.nodes, state)
        kept: set[object] = set()
        for tree in (expected.tree, expected.aside):
            for things in tree.values():
                for one in things:
                    kept.update(contents(one))
        assert not self.written - self.given_up - kept, "lost"


def contents(one: model.Thing) -> set[object]:
    """What was written into it: one file's content, or those of all the files of a unit."""
    return {content for _, content in one.what} if isinstance(one.what, tuple) else {one.what}


def run(seed: int, *, careful: bool = False) -> None:
    history = History(seed)
    history.play(careful=careful)
    history.meet()
