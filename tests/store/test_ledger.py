"""What sync knows survives exactly with the working tree it belongs to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.store.stores import make_file, work_off
from vaultfs.format.pack import Entry, Kind
from vaultfs.tree import ROOT
from vaultfs.tree.housekeeping import SyncWork
from vaultfs.tree.ledger import FINISHED, PUBLISHED, REMOTE, Base, Lag, Outgoing, Pack, Seen
from vaultfs.tree.packs import Placed

if TYPE_CHECKING:
    from tests.store.stores import StoreMaker

ROOT_ID = b"r" * 32
OTHER = b"other-device-id!"


def entry(kind: Kind, identity: bytes, offset: int = 24) -> Entry:
    return Entry(kind, identity, offset, 128, 100, 0)


def test_what_was_noted_is_there_after_a_checkpoint_and_a_crash(stores: StoreMaker) -> None:
    tree = stores.new()
    ledger = tree.ledger
    assert ledger.base is None
    ledger.set_base(ROOT_ID, {OTHER: 7})
    ledger.queue(3, b"sealed", [4, 5], 99)
    ledger.set_seen(OTHER, 7, b"opened", 98)
    ledger.set_lag(ROOT, b"f", b"identity")
    ledger.set_lag(ROOT, b"new", None)
    work_off(SyncWork(tree.keeper))
    ledger.set_base(bytes(32), {})  # comes after the checkpoint: as if it had never been
    ledger.published(3)
    ledger = stores.crash(tree).ledger
    assert ledger.base == Base(ROOT_ID, {OTHER: 7})
    assert ledger.outbox() == [Outgoing(3, b"sealed", [4, 5], 99)]
    assert ledger.waiting_packs() == {4, 5}
    assert ledger.seen() == {OTHER: Seen(7, b"opened", 98)}
    assert ledger.lag() == [Lag(ROOT, b"f", b"identity"), Lag(ROOT, b"new", None)]


def test_the_ledger_alone_makes_a_checkpoint_due(stores: StoreMaker) -> None:
    tree = stores.new()
    work_off(SyncWork(tree.keeper))
    assert not tree.state.changed
    tree.ledger.set_fact("vault", b"x")
    assert tree.state.changed


def test_publishing_takes_the_packs_along_and_leaves_the_others(stores: StoreMaker) -> None:
    ledger = stores.new().ledger
    mine, other = ledger.add_pack(b"p" * 16, FINISHED), ledger.add_pack(b"q" * 16, FINISHED)
    evicted = ledger.add_pack(b"e" * 16, REMOTE)
    assert ledger.add_pack(b"p" * 16, REMOTE) == mine
    ledger.queue(1, b"", [mine, evicted], 1)
    ledger.published(1)
    assert ledger.outbox() == []
    assert ledger.pack_of(mine) == Pack(b"p" * 16, PUBLISHED)
    assert ledger.pack_of(other).state == FINISHED
    ledger.queue(2, b"", [other], 2)
    ledger.withdraw(2)
    assert ledger.outbox() == []
    assert ledger.pack_of(other).state == FINISHED
    assert ledger.pack_of(evicted).state == REMOTE
    with pytest.raises(KeyError):
        ledger.pack_of(99)


def test_nodes_and_blocks_are_found_where_their_packs_say(stores: StoreMaker) -> None:
    tree = stores.new()
    ledger = tree.ledger
    number = ledger.add_pack(b"p" * 16, REMOTE)
    node, block = entry(Kind.NODE, b"n" * 32), entry(Kind.BLOCK, b"b" * 32, 200)
    assert ledger.place_of_node(node.id) is None
    tree.state.run("INSERT INTO block VALUES(50,?,0,0,0,0,0,0)", block.id)
    assert ledger.place_of_block(50) is None
    assert ledger.place_of_block(51) is None
    ledger.add_entries(number, [(0, node), (1, block)])
    assert ledger.place_of_node(node.id) == Placed(number, 0, node)
    assert ledger.place_of_block(50) == Placed(number, 1, block)
    assert ledger.id_of_block(50) == block.id
    ledger.drop_nodes(number)
    assert ledger.place_of_node(node.id) is None
    assert ledger.place_of_block(50) == Placed(number, 1, block)


def test_what_has_a_place_keeps_it_unless_it_is_of_no_use(stores: StoreMaker) -> None:
    tree = stores.new()
    ledger = tree.ledger
    here = make_file(tree, b"f", os.urandom(1 << 16)).ino
    extent = tree.blocks.extents(here, 0, 0)[0]
    one, two = ledger.add_pack(b"1" * 16, REMOTE), ledger.add_pack(b"2" * 16, REMOTE)
    node, block = entry(Kind.NODE, b"n" * 32), entry(Kind.BLOCK, b"b" * 32)
    tree.state.run("INSERT INTO block VALUES(50,?,0,0,0,0,0,0)", block.id)
    entries = [(0, node), (1, block), (2, entry(Kind.BLOCK, extent.place.entry.id))]
    for replace, pack, expected in ((False, one, one), (False, two, one), (True, two, two)):
        ledger.add_entries(pack, entries, replace=replace)
        assert ledger.place_of_node(node.id) == Placed(expected, 0, node)
        assert ledger.place_of_block(50) == Placed(expected, 1, block)
        assert ledger.place_of_block(extent.blk) == extent.place


def test_a_block_whose_row_forgot_its_place_is_found_again(stores: StoreMaker) -> None:
    tree = stores.new()
    number = tree.ledger.add_pack(b"p" * 16, REMOTE)
    block = entry(Kind.BLOCK, b"b" * 32)
    tree.ledger.add_entries(number, [(3, block)])
    tree.state.run("INSERT INTO block VALUES(50,?,0,0,0,0,0,0)", block.id)
    assert tree.ledger.place_of_block(50) == Placed(number, 3, block)
    assert tree.state.one("SELECT pack FROM block WHERE blk=50") == number


def test_devices_survive_a_crash_because_inodes_speak_of_them(stores: StoreMaker) -> None:
    tree = stores.new()
    row = tree.ledger.device_row(OTHER)
    assert row != tree.state.device
    assert tree.device(row) == (OTHER, "?")
    assert tree.ledger.device_row(OTHER, "desktop") == row
    assert tree.device(row).label == "desktop"
    assert tree.ledger.device_row(OTHER) == row
    tree = stores.crash(tree)
    assert tree.device(row) == (OTHER, "desktop")
    assert tree.ledger.device_row(OTHER, "desktop") == row
    assert tree.ledger.device_row(os.urandom(16)) not in (row, tree.state.device)


def test_lag_is_noted_by_name(stores: StoreMaker) -> None:
    tree = stores.new()
    a = tree.names.make(ROOT, b"a", 0o40755, 0, 0).ino
    make_file(tree, b"f", parent=a)
    tree.ledger.set_lag(a, b"f", None)
    assert tree.ledger.lag_of(a, b"f") == Lag(a, b"f", None)
    assert tree.ledger.any_lag
    tree.ledger.drop_lag(a, b"f")
    assert tree.ledger.lag_of(a, b"f") is None
    assert not tree.ledger.any_lag
