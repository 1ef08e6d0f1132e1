"""Commits compared and written out, held to a plain model."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sync.worlds import WHEN, World, d, f, link, paths
from vaultfs.format.pack import BLOCK_BYTES
from vaultfs.sync.comparing import How, diff

if TYPE_CHECKING:
    from pathlib import Path as Place

    import pytest

    from vaultfs.sync.edits import Editor


edits = st.one_of(
    st.tuples(st.just("file"), paths, st.binary(max_size=20), st.sampled_from([0o600, 0o644, 0o755, 0o400])),
    st.tuples(
        st.just("long"),
        paths,
        st.dictionaries(
            st.integers(0, 20), st.just(b"x") | st.binary(min_size=1, max_size=50).map(lambda data: data + b".")
        ),
    ),
    st.tuples(st.just("directory"), paths, st.sampled_from([0o700, 0o755, 0o500])),
    st.tuples(st.just("symlink"), paths, st.sampled_from([b"a", b"../../b", b"/etc/passwd", b"\xff"])),
    st.tuples(st.just("delete"), paths),
    st.tuples(st.just("rename"), paths, paths),
    st.tuples(st.just("link"), paths, paths),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(edits, max_size=30))
def test_restored_is_the_model_tree(tmp_path_factory: pytest.TempPathFactory, script: list[Any]) -> None:
    world, model = World(), dict[tuple[bytes, ...], Any]()
    play(world, model, script, 0)
    out = tmp_path_factory.mktemp("restored")
    result = world.restore("", out / "out")
    assert not result.failures
    assert picture(out / "out") == {path: what[:3] for path, what in model.items()}
    same: dict[object, set[int]] = {}
    for path, what in model.items():
        if what[0] == "file":
            same.setdefault(what[3], set()).add(os.lstat(os.path.join(os.fsencode(out / "out"), *path)).st_ino)
    assert all(len(inodes) == 1 for inodes in same.values())
    for path in sorted(model, reverse=True):
        if model[path][0] == "directory":
            os.chmod(os.path.join(os.fsencode(out / "out"), *path), 0o700)


def play(world: World, model: dict[Any, Any], script: list[Any], first: int) -> None:
    for number, (verb, path, *more) in enumerate(script, first):
        editor = world.edit()
        try:
            if perform(world, editor, model, str(number), verb, path, more):
                world.commit(editor)
        except OSError:
            continue  # nothing that can be done there; the model does not have it either


@settings(max_examples=300, deadline=None)
@given(st.lists(edits, max_size=15), st.lists(edits, max_size=15))
def test_a_diff_leads_from_one_tree_to_the_other(before: list[Any], after: list[Any]) -> None:
    world, model = World(), dict[tuple[bytes, ...], Any]()
    play(world, model, before, 0)
    a, old = world.state.root, dict(model)
    play(world, model, after, 100)
    changes = diff(world.nodes, a, world.state.root)
    assert len({(change.how, change.path) for change in changes}) == len(changes)
    moved = {change.old: change.path for change in changes if change.how == How.MOVED}
    removed = {change.path for change in changes if change.how == How.REMOVED}
    added = {change.path for change in changes if change.how == How.ADDED}
    changed = {change.path for change in changes if change.how == How.CHANGED}
    assert removed <= set(old)
    assert added | changed | set(moved.values()) <= set(model)

    def goes(path: tuple[bytes, ...]) -> tuple[bytes, ...] | None:
        if path in removed and path not in moved:
            return None
        for length in range(len(path), 0, -1):
            if path[:length] in moved:
                return moved[path[:length]] + path[length:]
        return path

    places = {path: goes(path) for path in old}
    stay = {new for new in places.values() if new is not None}
    assert len(stay) == sum(new is not None for new in places.values()), "two came to one place"
    assert not stay & added
    assert stay | added == set(model)
    for path, new in places.items():
        if new is not None:
            same = old[path][:3] == model[new][:3]
            assert same or new in changed | set(moved.values())
            assert not (same and new in changed)


def perform(world: World, editor: Editor, model: dict[Any, Any], name: str, verb: str, path: Any, more: Any) -> bool:
    """One edit on both, where the model says that the like system call would work."""
    if len(path) > 1 and model.get(path[:-1], ("",))[0] != "directory":
        return False
    old = model.get(path, ("",))[0]
    if verb in {"file", "long", "symlink"}:
        return old != "directory" and write(world, editor, model, name, verb, path, more)
    if verb == "directory":
        if old in {"", "directory"}:
            editor.write(path, d(name, mode=more[0]))
            model[path] = ("directory", None, more[0], name)
        return old in {"", "directory"}
    return bool(old) and arrange(editor, model, verb, path, more)


def write(world: World, editor: Editor, model: dict[Any, Any], name: str, verb: str, path: Any, more: Any) -> bool:
    if verb == "symlink":
        editor.write(path, link(name, more[0]))
        model[path] = ("symlink", more[0], None, name)
    elif verb == "file":
        editor.write(path, f(name, more[0], mode=more[1]))
        model[path] = ("file", more[0], more[1], name)
    else:
        expected = bytearray(21 * BLOCK_BYTES)
        for number, data in more[0].items():
            expected[number * BLOCK_BYTES : number * BLOCK_BYTES + len(data)] = data
        editor.write(path, world.long(name, more[0], len(expected)))
        model[path] = ("file", bytes(expected), 0o644, name)
    return True


def arrange(editor: Editor, model: dict[Any, Any], verb: str, path: Any, more: Any) -> bool:
    inside = [other for other in model if len(other) > len(path) and other[: len(path)] == path]
    if verb == "delete":
        editor.delete(path)
        for other in (path, *inside):
            del model[other]
    elif verb == "rename" and more[0] not in model:
        editor.rename(path, more[0])  # refuses what has no parent
        for other in (path, *inside):
            model[more[0] + other[len(path) :]] = model.pop(other)
    elif verb == "link" and model[path][0] == "file" and more[0] not in model:
        editor.link(path, more[0])
        model[more[0]] = model[path]
    else:
        return False
    return True


def picture(top: Place) -> dict[tuple[bytes, ...], tuple[str, bytes | None, int | None]]:
    out: dict[tuple[bytes, ...], tuple[str, bytes | None, int | None]] = {}

    def walk(directory: bytes, path: tuple[bytes, ...]) -> None:
        for name in os.listdir(directory):
            here, full = (*path, name), os.path.join(directory, name)
            found = os.lstat(full)
            mode = stat.S_IMODE(found.st_mode)
            assert found.st_mtime_ns == (0 if found.st_size == 21 * BLOCK_BYTES else WHEN)
            if stat.S_ISLNK(found.st_mode):
                out[here] = ("symlink", os.readlink(full), None)
            elif stat.S_ISDIR(found.st_mode):
                out[here] = ("directory", None, mode)
                walk(full, here)
            else:
                with open(full, "rb") as opened:
                    out[here] = ("file", opened.read(), mode)

    walk(os.fsencode(top), ())
    return out
