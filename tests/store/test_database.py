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


def test_what_the_life_of_a_file_asks(stores: StoreMaker) -> None:
    """A new name is in no commit yet: nothing has to be asked about what stood there before."""
    tree = stores.new()
    tree.start_tracking()
    make_file(tree, b"first", b"x")  # begins the transaction
    asked: list[tuple[str, object]] = []

    def trace(_: object, sql: str, values: object) -> bool:
        asked.append((sql, values))
        return True

    tree.state.db.exec_trace = trace
    assert tree.names.find(ROOT, b"new") is None
    make_file(tree, b"new", b"x" * 600)
    tree.names.rename(ROOT, b"new", ROOT, b"newer")
    names = [sql for sql, _ in asked if "dirent" in sql]
    assert len(names) == len(asked), asked
    assert [sql.split()[0] for sql in names] == ["SELECT", "SELECT", "INSERT", "SELECT", "SELECT", "DELETE", "INSERT"]
