"""Cuts with names that lag behind the base."""

from __future__ import annotations

from tests.store.cut_vault import Vault, short
from tests.store.stores import work_off
from vaultfs.tree.cut import Removed

# -- names that lag behind the base


def test_a_lagging_name_is_moved(vault: Vault) -> None:
    """Its newer version stays where it is: gone is only what was seen."""
    vault.lag(b"d/g")
    vault.move(b"d/g", b"g2")
    cut = vault.tree.cut()
    assert short(cut) == [("removed", b"d/g"), ("new", b"g2")]
    assert isinstance(cut.edits[0], Removed)
    assert cut.edits[0].slot == (vault.ino(b"d"), b"g")
    work_off(cut.work())
    blocks = cut.content(vault.ino(b"g2"))
    assert isinstance(blocks, list)
    assert len(blocks) == 3
    cut.done()


def test_a_lagging_name_is_moved_onto(vault: Vault) -> None:
    vault.lag(b"d/f")
    vault.move(b"d/g", b"d/f")
    assert short(vault.tree.cut()) == [("removed", b"d/g"), ("new", b"d/f")]


def test_a_lagging_name_is_written(vault: Vault) -> None:
    """The base has something else there: all of the content is given."""
    vault.lag(b"d/g")
    vault.tree.content.write(vault.ino(b"d/g"), 0, b"x")
    cut = vault.tree.cut()
    assert short(cut) == [("new", b"d/g")]
    work_off(cut.work())
    assert isinstance(cut.content(vault.ino(b"d/g")), list)


def test_a_directory_moves_with_what_lags_in_it(vault: Vault) -> None:
    vault.lag(b"d/g")
    vault.move(b"d", b"d2")
    assert short(vault.tree.cut()) == [("moved", b"d", b"d2")]


def test_a_lagging_directory_is_moved(vault: Vault) -> None:
    vault.lag(b"d")
    vault.move(b"d/f", b"out")
    vault.move(b"d", b"d2")
    assert short(vault.tree.cut()) == [
        ("moved", b"d/f", b"out"), ("removed", b"d"), ("new", b"d2"), ("new", b"d2/sub"),
        ("new", b"d2/g"), ("new", b"d2/sub/h"),
    ]  # fmt: skip


def test_a_directory_with_something_lagging_is_removed(vault: Vault) -> None:
    """What was seen in it goes; what was not stays, and the directory around it."""
    folder = vault.ino(b"d")
    vault.lag(b"d/sub/h")
    vault.lag(b"d/unseen", None)
    for path in (b"d/f", b"d/g", b"d/sub/h"):
        vault.unlink(path)
    vault.rmdir(b"d/sub")
    vault.rmdir(b"d")
    vault.tree.flush()
    cut = vault.tree.cut()
    assert short(cut) == [("removed", b"d/f"), ("removed", b"d/g")]
    cut.done()
    assert vault.tree.ledger.lag_of(folder, b"unseen") is None
