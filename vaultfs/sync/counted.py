"""Opening heads that count: the one way in which a head from the remote is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultfs.crypto.records import head_hash
from vaultfs.format.head import HeadForgedError, epoch_of_head, open_head

if TYPE_CHECKING:
    from vaultfs.crypto.epochs import Members
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.format.head import Head


class NotCountedError(HeadForgedError):
    """The work of that device, but by the newest header it does not count."""


def open_counted(
    data: bytes, name: str, keys: VaultKeys, members: Members | None, *, public_key: bytes | None = None
) -> Head:
    """The head in the object `name`, if it counts for `members` (None: all do). `public_key`: as for `open_head`.

    Raises as `open_head`, and `NotCountedError`.
    """
    head = open_head(data, name, keys, public_key=public_key)
    reason = refusal(head, data, members)
    if reason is not None:
        raise NotCountedError(reason)
    return head


def refusal(head: Head, data: bytes, members: Members | None) -> str | None:
    """Why the opened `head`, whose object has the bytes `data`, does not count; None: it does."""
    if members is None:
        return None
    return members.refusal(head.device, head.public_key, head.number, epoch_of_head(data), head_hash(data))
