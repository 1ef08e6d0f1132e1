"""The devices of a vault as its remote shows them, for the verb that removes one: who is there, and who is doubtful.

Whoever is named here is given the new keys. So a device counts only if its oldest and its newest head are signed with
one key, the one that an earlier header has of it, and if it was there when the keys were last replaced, or has shown
the keys that were new then: a device that was removed has the old ones, and could call itself anything.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from vaultfs.crypto.epochs import members
from vaultfs.crypto.records import head_hash
from vaultfs.errors import NewerFormatError, RemoteObjectMissingError
from vaultfs.format.head import MAX_BYTES, Head, HeadRefusedError, head_name, open_head, parse_name
from vaultfs.sync.counted import refusal

if TYPE_CHECKING:
    from vaultfs.crypto.epochs import Members
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.crypto.records import Header
    from vaultfs.remote import Remote


_TRIES = 8  # heads of a device that are read, from the newest on, until one is right


class Machine(NamedTuple):
    """A device. `number`, `head`: of its newest head that is right, with the hash of the object's bytes.

    `doubt`: why it is given nothing; "": there is no doubt.
    """

    device: bytes
    public_key: bytes
    label: str
    number: int
    doubt: str = ""
    head: bytes = b""


async def roster(remote: Remote, header: Header, keys: VaultKeys) -> list[Machine]:
    """Every device with a head, but for those that `header` (authenticated) says were removed. Raises `RemoteError`.

    One listing, and two requests for each device.
    """
    known = members(header)
    numbers: dict[bytes, set[int]] = {}
    for entry in await remote.list("heads"):
        with suppress(HeadRefusedError):
            device, number = parse_name(entry.name)
            if device not in known.removed:
                numbers.setdefault(device, set()).add(number)
    return [await _machine(remote, known, keys, device, numbers[device]) for device in sorted(numbers)]


async def _machine(remote: Remote, known: Members, keys: VaultKeys, device: bytes, numbers: set[int]) -> Machine:
    public_key = known.granted.get(device)
    newest: Head | None = None
    doubt = refused = ""
    found = b""
    oldest, *newer = sorted(numbers)
    for number in [oldest, *newer[: -_TRIES - 1 : -1]]:
        try:
            newest, found, refused = await _read(remote, known, keys, head_name(device, number), public_key)
        except (HeadRefusedError, NewerFormatError, RemoteObjectMissingError) as error:
            doubt = f"head {number}: {error}"
        else:
            public_key = newest.public_key
            if number != oldest:
                break
    if newest is None:
        return Machine(device, public_key or b"", device.hex()[:8], 0, doubt)
    # An old head may well be under old keys; the newest shows whether the device has belonged here since.
    if refused:  # of such a device no head counts, and none is to count once it is removed
        return Machine(device, newest.public_key, newest.label, 0, doubt or refused)
    return Machine(device, newest.public_key, newest.label, newest.number, doubt, found)


async def _read(
    remote: Remote, known: Members, keys: VaultKeys, name: str, public_key: bytes | None
) -> tuple[Head, bytes, str]:
    """The head, its hash, and why it does not count."""
    data = await remote.get(name, 0, MAX_BYTES + 1, within=remote.limits.call)
    head = open_head(data, name, keys, public_key=public_key)
    return head, head_hash(data), refusal(head, data, known) or ""
