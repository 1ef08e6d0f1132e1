"""Conflicts and heads as JSON has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultfs.daemon.asking import ConflictFact, HeadFact, HeadsFact
from vaultfs.daemon.text import instant, printable
from vaultfs.format.node import Group, Symlink, Unit
from vaultfs.format.node_summary import element_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vaultfs.format.head import Head
    from vaultfs.format.node import Element
    from vaultfs.sync.decisions import Kept

NANO = 1_000_000_000


def conflict_fact(kept: Kept, labels: Mapping[bytes, str]) -> ConflictFact:
    """A conflict; `labels`: of the devices that are known."""
    element = kept.conflict.element
    return ConflictFact(
        name=kept.name,
        path=printable(b"/".join(kept.conflict.path)),
        kind=kind_of(element),
        bytes=element_size(element),
        device=element.version.device.hex(),
        label=labels.get(element.version.device),
        time=instant(element.time / NANO),
        aside=kept.conflict.aside,
    )


def kind_of(element: Element) -> str:
    """What a person calls it."""
    if isinstance(element, Group):
        return "database"
    if isinstance(element, Unit):
        return "unit"
    return "symlink" if isinstance(element, Symlink) else "file"


def heads_fact(fingerprint: str, heads: Iterable[Head], alarmed: set[bytes]) -> HeadsFact:
    """Heads, the newest first."""
    newest = sorted(heads, key=lambda head: (head.time, head.device), reverse=True)
    return HeadsFact(fingerprint, [_head(head, head.device not in alarmed) for head in newest])


def _head(head: Head, accepted: bool) -> HeadFact:
    return HeadFact(head.device.hex(), head.label, head.number, instant(head.time / NANO), head.root.hex(), accepted)
