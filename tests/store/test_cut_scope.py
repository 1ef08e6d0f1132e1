"""What of a cut stays on this machine, and what commits could not hold."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from tests.store.cut_vault import SCOPE, Vault, short
from tests.store.stores import DIRECTORY, make_file
from vaultfs.tree import ROOT
from vaultfs.tree.cut import Scoping, Written

if TYPE_CHECKING:
    from tests.store.stores import StoreMaker


# -- what stays on this machine


def test_kinds_and_names_that_stay_here(vault: Vault) -> None:
    vault.tree.names.make(ROOT, b"pipe", stat.S_IFIFO | 0o600, 0, 0)
    vault.tree.names.make(ROOT, b"socket", stat.S_IFSOCK | 0o600, 0, 0)
    for name in (b"db-shm", b"x.sock", b"x.pid", b"x.lock", b".#note"):
        vault.write(name, b"1")
    vault.mkdir(b"y.lock")
    vault.write(b"y.lock/in", b"1")
    assert vault.edits() == []
    assert (ROOT, b"y.lock") in vault.tree.changes.outside
    assert (vault.ino(b"y.lock"), b"in") not in vault.tree.changes.outside
    vault.write(b"y.lock/in2", b"1")
    assert vault.edits() == []
    vault.tree.content.write(vault.ino(b"x.lock"), 0, b"longer than a process number" * 50)
    assert vault.edits() == [("new", b"x.lock")]
    vault.move(b"x.pid", b"x.txt")
    assert vault.edits() == [("new", b"x.txt")]
    vault.move(b"d/f", b"f.pid")
    assert vault.edits() == [("removed", b"d/f")]
    vault.unlink(b"f.pid")
    assert vault.edits() == []


def test_scope(vault: Vault) -> None:
    vault.scope(b"d", b"node")
    assert vault.commit() == [("removed", b"d")]
    vault.write(b"d/new", b"1")
    vault.tree.content.write(vault.ino(b"d/g"), 0, b"1")
    vault.move(b"d/f", b"e/f")
    assert vault.commit() == [("new", b"e/f")]
    vault.scope(b"d", b"")
    assert vault.commit() == [
        ("new", b"d"), ("new", b"d/sub"), ("new", b"d/g"), ("new", b"d/new"), ("new", b"d/sub/h"),
    ]  # fmt: skip
    vault.write(b"x.pid", b"1")
    vault.scope(b"x.pid", b"vault")
    cut = vault.tree.cut()
    (edit,) = cut.edits
    assert isinstance(edit, Written)
    assert edit.xattrs == ((SCOPE, b"vault"),), "or another machine would take it out again"
    cut.done()


def test_moved_to_where_things_stay_here_and_back(vault: Vault) -> None:
    vault.mkdir(b"here")
    vault.scope(b"here", b"node")
    vault.move(b"d", b"here/d")
    assert vault.commit() == [("removed", b"d")]
    vault.write(b"here/d/sub/new", b"1")
    vault.move(b"here/d/f", b"e/f")
    vault.move(b"here/d", b"back")
    edits = vault.commit()
    assert edits[:2] == [("new", b"back"), ("new", b"back/sub")]
    assert {edit[0] for edit in edits} == {"new"}


def test_vaultignore(stores: StoreMaker, vault: Vault) -> None:
    vault.write(b"d/sub/x.tmp", b"1")
    vault.write(b"d/y.tmp", b"1")
    vault.write(b"e/keep.tmp", b"1")
    vault.commit()
    vault.write(b".vaultignore", b"*.tmp\n!keep.tmp\n/d/sub/h\n[\n")
    assert sorted(vault.edits()) == [
        ("new", b".vaultignore"), ("removed", b"d/sub/h"), ("removed", b"d/sub/x.tmp"), ("removed", b"d/y.tmp"),
    ]  # fmt: skip
    vault.write(b"e/z.tmp", b"1")
    vault.tree.content.write(vault.ino(b"d/y.tmp"), 0, b"2")
    vault.tree.flush()
    vault.tree = stores.crash(vault.tree)
    assert vault.edits() == []
    assert vault.tree.content.read(vault.ino(b"d/y.tmp"), 0, 9) == b"2", "it left the vault, not this machine"
    vault.write(b"d/.vaultignore", b"!y.tmp\ng\n")
    assert vault.edits() == [("removed", b"d/g"), ("new", b"d/.vaultignore"), ("new", b"d/y.tmp")]
    vault.unlink(b".vaultignore")
    vault.unlink(b"d/.vaultignore")
    assert sorted(vault.commit()) == [
        ("new", b"d/g"), ("new", b"d/sub/h"), ("new", b"d/sub/x.tmp"), ("new", b"e/z.tmp"),
        ("removed", b".vaultignore"), ("removed", b"d/.vaultignore"),
    ]  # fmt: skip


def test_rules_that_come_by_a_checkout(stores: StoreMaker, vault: Vault) -> None:
    """Quiet itself, but what it says is to be done."""
    state = vault.tree.state
    ino = vault.write(b"rules", b"g\n")
    vault.commit()
    state.begin(quiet=True)
    for name, target in ((b"rules", 0), (b".vaultignore", ino)):
        _, cookie = state.place(ROOT, name)
        if target:
            state.put_name(ROOT, cookie, name, target)
        else:
            state.drop_name(ROOT, cookie)
    state.end()
    assert not vault.tree.changes.empty
    vault.tree.flush()
    vault.tree = stores.crash(vault.tree)
    assert short(vault.tree.cut()) == [("removed", b"d/g")]


def test_patterns_of_settings_and_a_tracked_name(vault: Vault) -> None:
    """A name that is in the vault already stays there, until rules change."""
    rules = Scoping(["*.bak"])
    vault.write(b"a.bak", b"1")
    vault.tree.cut().done()
    vault.write(b"b.bak", b"1")
    vault.tree.content.write(vault.ino(b"a.bak"), 0, b"2")
    assert short(vault.tree.cut(rules)) == [("written", b"a.bak")]


# -- what commits could not hold


def test_limits(vault: Vault) -> None:
    """Attributes beyond the room of a commit, times beyond its calendar, directories too deep to be named."""
    ino = vault.write(b"full", b"1")
    vault.tree.xattrs.set(ino, b"user.big", b"v" * 65_536)
    vault.tree.xattrs.set(ino, b"user.small", b"v")
    vault.tree.attributes.set(ino, mtime=1 << 63)
    cut = vault.tree.cut()
    (edit,) = cut.edits
    assert isinstance(edit, Written)
    assert edit.xattrs == ((b"user.small", b"v"),)
    assert edit.inode.mtime == (1 << 63) - 1
    vault.commits.finish(vault.tree, cut)
    parent = ROOT
    for _ in range(2100):
        parent = vault.tree.names.make(parent, b"deep", DIRECTORY, 0, 0).ino
    make_file(vault.tree, b"f", b"1", parent)
    cut = vault.tree.cut()
    assert max(len(edit.path) for edit in cut.edits if isinstance(edit, Written)) == 2048
    cut.done()
    assert len(vault.tree.changes.outside) == 1


def test_everything(vault: Vault) -> None:
    """Also where there is a base: the whole tree, as if there were none."""
    vault.tree.attributes.set(ROOT, mode=0o711)
    cut = vault.tree.cut(everything=True)
    assert [edit[0] for edit in short(cut)] == ["new"] * 7
    cut.failed()
    assert vault.commit() == [("written", b"")]
