"""A vault of a few machines, whose heads are merged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sync.pictures import DEVICES, check, content, directory, file, start, unit
from vaultfs.format.node import Directory, Dot, Entry, Unit
from vaultfs.format.node_trie import Trie
from vaultfs.sync.conflicts import conflicts
from vaultfs.sync.edits import Editor
from vaultfs.sync.elements import in_place
from vaultfs.sync.merge import State, load_commit, merge

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.nodes import MemoryNodes
    from vaultfs.format.node import Element

A, B, C, _ = DEVICES


def path(text: str) -> tuple[bytes, ...]:
    return tuple(text.encode().split(b"/"))


class Vault:
    """A vault and what is done to it."""

    def __init__(self) -> None:
        self.nodes, self.empty = start()
        self.now = 0

    def do(self, state: State, device: bytes, *edits: Callable[[Editor], object], now: int | None = None) -> State:
        self.now += 1
        time = self.now if now is None else now
        editor = Editor(self.nodes, state, Dot(device, state.vector.get(device, 0) + 1), time)
        for edit in edits:
            edit(editor)
        done = editor.commit()
        check(self.nodes, done)
        return done

    def put(self, name: str, data: str, now: int | None = None, kind: Callable[..., Element] = file):  # noqa: ANN201
        self.now += 1
        element = kind(name.encode().ljust(16)[:16], data.encode(), self.now if now is None else now)
        return lambda editor: editor.write(path(name), element)

    def mkdir(self, name: str, mode: int = 0o755):  # noqa: ANN201
        self.now += 1
        made = directory(name.encode().ljust(16)[:16], self.now, mode)
        return lambda editor: editor.write(path(name), made)

    def merge(self, *states: State) -> State:
        """In both orders."""
        first = last = None
        for one, other in zip(states, reversed(states), strict=True):
            first = one if first is None else merge(self.nodes, first, one)
            last = other if last is None else merge(self.nodes, last, other)
        assert first is not None
        assert first == last
        check(self.nodes, first)
        return first

    def entry(self, state: State, name: str) -> Entry | None:
        trie = Trie(self.nodes)
        below, found = load_commit(self.nodes, state.root).below, None
        for part in path(name):
            found = trie.lookup(below, part)
            below = None if found is None else found.below
        return found

    def read(self, state: State, name: str) -> str | None:
        entry = self.entry(state, name)
        element = in_place(entry) if entry else None
        return None if element is None or isinstance(element, Directory | Unit) else content(element).decode()

    def conflicts(self, state: State) -> list[tuple[str, str]]:
        found = conflicts(self.nodes, state.root)
        return sorted(
            ((b"/".join(c.path)).decode(), "unit" if isinstance(c.element, Unit) else content(c.element).decode())
            for c in found
        )


def git(vault: Vault) -> State:
    repository = unit(b"git".ljust(16), 1)
    return vault.do(
        vault.empty,
        A,
        lambda e: e.write(path("git"), repository),
        vault.put("git/HEAD", "main"),
        lambda e: e.write(path("git/refs"), directory(b"refs".ljust(16), 1)),
        vault.put("git/refs/main", "1"),
    )


def do(nodes: MemoryNodes, state: State, device: bytes, *edits: Callable[[Editor], object]) -> State:
    editor = Editor(nodes, state, Dot(device, state.vector.get(device, 0) + 1), 10**6)
    for edit in edits:
        edit(editor)
    return editor.commit()


def put(name: str) -> Callable[[Editor], object]:
    return lambda editor: editor.write(path(name), file(b"new".ljust(16), b"new", 10**6))
