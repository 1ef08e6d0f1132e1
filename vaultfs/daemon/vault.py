"""A vault's own files on this machine: made all at once or not at all, changed atomically."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from vaultfs.crypto.device import DeviceIdentity, load_device, make_device, seal_device
from vaultfs.crypto.slots import Created, create_header, stretching, unlock, unlock_with_words
from vaultfs.crypto.wallet_slot import Signatures
from vaultfs.daemon.paths import VaultPlaces, private_directory
from vaultfs.durable import sync_path
from vaultfs.errors import (
    HeaderDamagedError,
    NewerFormatError,
    NoVaultError,
    RecoveryWordsError,
    StoreDamagedError,
    StoreFullError,
    StoreReadOnlyError,
    VaultExistsError,
    WrongWalletError,
)
from vaultfs.format.header import MAX_BYTES, decode_header, encode_header
from vaultfs.sync.header import Headers
from vaultfs.sync.header_chain import Found
from vaultfs.wallet import StandardTerminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.crypto.records import Header
    from vaultfs.wallet import Signer

MAX_DEVICE_BYTES = 1 << 16
MAX_OFFERED = 64
MAX_OFFERED_BYTES = 4 << 20
WORDS = "words"  # stands where a signer stands: open with the recovery words

_offers = msgspec.msgpack.Decoder(list[bytes])


def create(vault: VaultPlaces, signer: Signer, *, label: str = "") -> Created:
    """Make `vault` on this machine: header, device, empty store. Nothing is left behind if it fails.

    `label` names this machine (empty: the host name). Raises VaultExistsError, StoreFullError,
    StoreReadOnlyError, and the signer's errors.
    """
    if vault.exists():
        raise VaultExistsError(name=vault.name, path=vault.root)
    created = create_header(signer, name=vault.name)
    _build(vault, created.header, created.keys, label)
    return created


def join(vault: VaultPlaces, header: Header, keys: VaultKeys, *, label: str = "") -> None:
    """Make `vault` on this machine, as another device of a vault that others have: `header` is theirs.

    Nothing is left behind if it fails. Raises as `create`.
    """
    if vault.exists():
        raise VaultExistsError(name=vault.name, path=vault.root)
    _build(vault, header, keys, label)


def forget(vault: VaultPlaces) -> None:
    """Take back a vault that was made just now, and that nobody has seen yet."""
    shutil.rmtree(vault.root, ignore_errors=True)


def _build(vault: VaultPlaces, header: Header, keys: VaultKeys, label: str) -> None:
    from vaultfs.tree import Device, create_store  # noqa: PLC0415 - loads SQLite

    identity = make_device(label or host_name())
    with _store_errors(vault.root.parent):
        private_directory(vault.root.parent)
        building = VaultPlaces(
            vault.name, vault.root.with_name(f".new-{secrets.token_hex(8)}"), vault.log, vault.runtime
        )
        building.root.mkdir(mode=0o700)
        try:
            device = Device(identity.id, identity.label)
            create_store(building.store, keys, device, uid=os.getuid(), gid=os.getgid())
            write_file(building.device, seal_device(identity, keys))
            write_file(building.header, encode_header(header))
            _move_into_place(building.root, vault)
        except BaseException:
            shutil.rmtree(building.root, ignore_errors=True)
            raise


def read_header(vault: VaultPlaces) -> Header:
    """The header of `vault`. HeaderDamagedError, NewerFormatError."""
    try:
        with vault.header.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        if vault.store.exists():
            raise HeaderDamagedError(path=vault.header, detail="the file is missing") from error
        raise NoVaultError(name=vault.name) from error
    except OSError as error:
        raise HeaderDamagedError(path=vault.header, detail=error.strerror or "it cannot be read") from error
    return decode_header(data, path=str(vault.header))


@contextmanager
def header_update(vault: VaultPlaces) -> Iterator[None]:
    """Only one command at a time changes the header of `vault` inside this block."""
    descriptor = os.open(vault.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_header(vault: VaultPlaces, header: Header) -> None:
    """Replace the header, atomically and durably."""
    with _store_errors(vault.root):
        write_file(vault.header, encode_header(header))


def offer_header(vault: VaultPlaces, header: Header) -> None:
    """Lay down a header that only a wallet opens here, beside those that lie there; `take_offer` looks at them.

    Several are kept, for which of them is right shows only when the wallet opens them in the order of their numbers; if
    they are too many, the first ones.
    """
    before = [(one.number, encode_header(one.header)) for one in _offered(vault)]
    one = header.number, encode_header(header)
    after, room = [], MAX_OFFERED_BYTES
    for number, data in sorted({*before, one})[:MAX_OFFERED]:
        room -= len(data)
        if room >= 0:
            after.append((number, data))
    if after != before:
        with _store_errors(vault.root):
            write_file(vault.offered, msgspec.msgpack.encode([data for _, data in after]))


def take_offer(
    vault: VaultPlaces, keys: VaultKeys, open_it: Callable[[Header, str], VaultKeys]
) -> tuple[Header, VaultKeys] | None:
    """The header that was offered, and its keys, which continue `keys`; None: there is none, or it is not for us.

    It is the vault's from now on. `open_it`: an `opener`, the one that `keys` came from: the wallet is asked once more.
    Raises the signer's errors.
    """
    offered = _offered(vault)
    if not offered:
        vault.offered.unlink(missing_ok=True)
        return None
    try:
        found, newer = Headers(offered[::-1], []).unlock(open_it, known=keys)
    except (NewerFormatError, WrongWalletError, RecoveryWordsError):
        return None  # perhaps with another wallet
    except HeaderDamagedError:
        vault.offered.unlink(missing_ok=True)
        return None
    wanted = newer.continues(keys) and newer.epoch > keys.epoch
    if wanted:
        write_header(vault, found.header)  # without `header_update`: who changes keys calls this inside of it
    vault.offered.unlink(missing_ok=True)
    return (found.header, newer) if wanted else None


def _offered(vault: VaultPlaces) -> list[Found]:
    """The headers that lie in `header.offered`, in the order of their numbers; none where it cannot be read."""
    path = str(vault.offered)
    try:
        headers = [decode_header(one, path=path) for one in _offers.decode(vault.offered.read_bytes())]
    except (OSError, msgspec.DecodeError, HeaderDamagedError, NewerFormatError):
        return []
    return [Found(header.number, header, path) for header in headers]


def opener(signer: Signer | None, name: str) -> Callable[[Header, str], VaultKeys]:
    """Opens headers (their paths are for messages) by the wallet, or by the recovery words, which are asked for once.

    The wallet signs once for each slot, whatever number of headers has it.
    """
    if signer is not None:
        signatures = Signatures(signer)
        return lambda header, path: unlock(header, signatures, name=name, path=path)
    words = stretching(StandardTerminal().ask("Recovery words (not shown): ", hidden=True))
    return lambda header, path: unlock_with_words(header, words, path=path)


def read_device(vault: VaultPlaces, keys: VaultKeys) -> DeviceIdentity:
    """This machine in `vault`. StoreDamagedError, NewerFormatError."""
    try:
        with vault.device.open("rb") as file:
            data = file.read(MAX_DEVICE_BYTES)
    except OSError as error:
        raise StoreDamagedError(detail=error.strerror or "it cannot be read", object=vault.device) from error
    return load_device(data, keys, path=str(vault.device))


def host_name() -> str:
    """This machine's name, as a device label: 1 to 64 printable letters."""
    text = "".join(char for char in socket.gethostname() if char.isprintable())[:64]
    return text or "this machine"


def write_file(path: Path, data: bytes) -> None:
    """Write `path` whole or not at all, mode 0600, durable when this returns. Replaces what is there."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_path(path.parent)


def _move_into_place(building: Path, vault: VaultPlaces) -> None:
    sync_path(building)
    try:
        building.rename(vault.root)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            raise
        raise VaultExistsError(name=vault.name, path=vault.root) from error
    sync_path(vault.root.parent)
    # The directories above may be new as well; which of them a power cut would take back, nobody knows any more.
    for directory in vault.root.parent.parents:
        with suppress(PermissionError):
            sync_path(directory)


@contextmanager
def _store_errors(path: Path) -> Iterator[None]:
    import apsw  # noqa: PLC0415 - as the store

    try:
        yield
    except apsw.FullError as error:
        raise StoreFullError(path=path) from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreFullError(path=path) from error
        if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
            raise StoreReadOnlyError(path=path, detail=error.strerror) from error
        raise
