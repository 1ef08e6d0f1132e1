"""The earlier master keys of a vault, sealed under the newest: who opens the newest epoch reads everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultfs.crypto.keys import EPOCH_BYTES, KEY_BYTES, VaultKeys
from vaultfs.crypto.records import check_mac
from vaultfs.crypto.sealing import OpenFailedError, Sealer
from vaultfs.errors import HeaderDamagedError

if TYPE_CHECKING:
    from vaultfs.crypto.records import Header


def seal_earlier(keys: VaultKeys) -> tuple[bytes, ...]:
    """All master keys of `keys` but the newest, the first epoch's first."""
    sealer = Sealer(keys.earlier())
    earlier = keys.masters()[:-1]
    return tuple(sealer.seal(master, _meaning(keys, epoch)) for epoch, master in enumerate(earlier, 1))


def with_earlier(header: Header, master: bytes, *, path: str) -> VaultKeys:
    """All keys of the vault, from its newest master key, which came out of a slot or a grant of `header`.

    Raises `HeaderDamagedError` when somebody without the keys altered the header.
    """
    if len(master) != KEY_BYTES:  # cannot be: the length of the wrapped key is checked on decoding
        raise HeaderDamagedError(path=path, detail="a key of the wrong length")
    newest = VaultKeys(master, header.vault_id)
    check_mac(header, newest.header(), path=path)
    sealer = Sealer(newest.earlier())
    try:
        earlier = [sealer.open(sealed, _meaning(newest, epoch)) for epoch, sealed in enumerate(header.earlier, 1)]
    except OpenFailedError:
        raise HeaderDamagedError(path=path, detail="an earlier key does not open") from None
    return VaultKeys(master, header.vault_id, earlier)


def _meaning(keys: VaultKeys, epoch: int) -> bytes:
    return b"vaultfs earlier master\0" + keys.vault_id + epoch.to_bytes(EPOCH_BYTES, "little")
