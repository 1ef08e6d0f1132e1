"""A directory that came and that nobody looked into."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.store.elements import (
    a_directory,
    a_ref,
    named,
)
from tests.store.test_arrivals import bring
from vaultfs.tree import ROOT

if TYPE_CHECKING:
    from vaultfs.tree import Tree


def folded(tree: Tree, name: bytes = b"d") -> int:
    bring(tree, named(name, a_directory(), a_ref()))
    return tree.names.lookup(ROOT, name).ino
