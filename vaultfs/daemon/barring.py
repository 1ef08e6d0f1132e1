"""`mount --respect-leases`: what another device leases is not opened for writing here."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING

from vaultfs.daemon.cards import DIRECTORY
from vaultfs.tree.whereabouts import way_up

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vaultfs.daemon.card import Card
    from vaultfs.tree import Tree

_CARDS = os.fsencode(DIRECTORY)
# A reader of a database makes and opens these for writing, too: reading is never barred.
_READERS = (b"-wal", b"-shm")


def find_bar(tree: Tree, cards: Mapping[bytes, Card], me: bytes, now: datetime) -> Callable[[int, bytes], None] | None:
    """What to ask before something is opened for writing; None as long as no other device leases anything.

    It takes an inode and b"", or a directory's inode and the name that is to be made there, and raises OSError EBUSY.
    Never barred: what stays on this machine, the cards, and where this device's own lease is older.
    """
    held = [(device, lease) for device, card in cards.items() for lease in card.leased(now)]
    own = [lease for device, lease in held if device == me]
    others = [(device, lease) for device, lease in held if device != me]
    if not others:
        return None

    def bar(ino: int, name: bytes) -> None:
        path = _path(tree, ino, name)
        if path is None:
            return
        moment = datetime.now(UTC)
        for device, lease in others:
            if not lease.covers(path) or not lease.holds(moment):
                continue
            mine = (one for one in own if one.covers(path) and one.holds(moment))
            if not any((one.since, me) < (lease.since, device) for one in mine):
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    return bar


def _path(tree: Tree, ino: int, name: bytes) -> str | None:
    """The path that is to be written; None if it has none, or writing there is nobody's matter."""
    state, outside = tree.state, tree.changes.outside
    parts: list[bytes] = []
    for slot in chain([(ino, name)] if name else (), way_up(state, ino)):
        if slot is None or slot in outside:
            return None
        parts.append(slot[1])
    if not parts or parts[-1] == _CARDS or parts[0].endswith(_READERS):
        return None
    return os.fsdecode(b"/".join(reversed(parts)))
