"""The cards of a vault's devices, in its directory `.vaultfs-devices`: plain files that travel like all others.

Each device writes its own only, so nothing ever conflicts. Works on the mount, from any process.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from vaultfs.daemon.card import CARD_MAX, Card, Lease, card_name, decode_card, device_of, encode_card
from vaultfs.errors import VaultfsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DIRECTORY = ".vaultfs-devices"
_MOST = 1024  # names that are looked at


def read_cards(mountpoint: str | os.PathLike[str]) -> dict[bytes, Card]:
    """The card of each device, by its id (16 bytes). What cannot be read is passed over; never raises OSError."""
    directory = Path(mountpoint, DIRECTORY)
    cards = {}
    try:
        with os.scandir(directory) as listed:
            names = [entry.name for entry in islice(listed, _MOST)]
    except OSError:
        return {}
    for name in sorted(names):
        device = device_of(name)
        card = None if device is None else _read(directory / name)
        if device is not None and card is not None:
            cards[device] = card
    return cards


def write_card(mountpoint: str | os.PathLike[str], device: bytes, change: Callable[[Card], Card]) -> Card:
    """Replace this device's card by what `change` makes of it (of an empty one at first); returns that.

    Nobody sees half of it, and two who do this at once come one after the other. OSError if it cannot be written,
    VaultfsError if nobody could read it.
    """
    directory = Path(mountpoint, DIRECTORY)
    directory.mkdir(mode=0o700, exist_ok=True)
    with _alone(directory):
        place = directory / card_name(device)
        card = change(_read(place) or Card())
        try:
            data = encode_card(card, datetime.now(UTC))
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise VaultfsError(detail=f"what this machine says of itself to others is {error}") from error
        made = directory / f".#{place.name}"  # such names stay on this machine: nobody gets the unfinished file
        made.unlink(missing_ok=True)
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        made.replace(place)
    written = decode_card(data)
    assert written is not None  # noqa: S101 - encode_card has looked
    return written


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(path: Path) -> Card | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(CARD_MAX + 1)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return decode_card(data)


__all__ = ["DIRECTORY", "Card", "Lease", "read_cards", "write_card"]
