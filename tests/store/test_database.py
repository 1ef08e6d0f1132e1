"""What the metadata database does for each request, by counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw

from tests.store.stores import content, make_file
from vaultfs.tree import ROOT

if TYPE_CHECKING:
    from tests.store.stores import StoreMaker


def test_no_statement_is_parsed_twice(stores: StoreMaker) -> None:
    """SQLite asks its authorizer for each thing that a statement names, and only while it parses it."""
    tree = stores.new()
    node = make_file(tree, b"a", bytes(200_000))
    tree.flush()
    parsed = []

    def authorize(*about: object) -> int:
        parsed.append(about)
        return int(apsw.SQLITE_OK)

    def work(number: int) -> None:
        tree.names.listing(ROOT, 0)
        assert tree.names.lookup(ROOT, b"a") is node
        assert content(tree, node.ino) == bytes(200_000)
        make_file(tree, b"b%d" % number, b"x")
        tree.names.rename(ROOT, b"b%d" % number, ROOT, b"a%d" % number)
        tree.names.unlink(ROOT, b"a%d" % number)
        tree.content.write(node.ino, 0, bytes(1 << 16))

    tree.state.db.authorizer = authorize
    work(0)
    assert parsed
    parsed.clear()
    work(1)
    assert parsed == []
