"""The vault's header on the remote: the objects `vault.1`, `vault.2`, … one for every change of its keys.

They are asked for one after the other until there is none: nothing needs to be listed, and every one that was read
is kept, so that a header that somebody else has put there stands in nobody's way. Which of them are right is told by
`vaultfs.sync.header_chain`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from vaultfs.errors import (
    HeaderDamagedError,
    NotAVaultError,
    RemoteObjectMissingError,
    RemoteTakenError,
    UsageError,
    VaultfsError,
)
from vaultfs.format.header import MAX_BYTES, decode_header, encode_header
from vaultfs.sync.header_chain import Chain, Found

if TYPE_CHECKING:
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.crypto.records import Header
    from vaultfs.remote import Remote
    from vaultfs.sync.header_chain import Opener

MAX_HEADERS = 1024  # changes of the keys of one vault on one remote; new ones are stored up to that number only
MAX_HELD = 64 << 20  # bytes of all headers together, of which each has some thousand


@dataclass
class Headers:
    """What was found, newest first, and the errors of those that cannot be used, each naming its object."""

    found: list[Found]
    refused: list[VaultfsError]

    def unlock(
        self, open_it: Opener, *, known: VaultKeys | None = None, here: Found | None = None, strict: bool = False
    ) -> tuple[Found, VaultKeys]:
        """The newest header that opens, authenticates and goes on from the right ones before it, and its keys.

        `open_it` gets a header and its path: `crypto.slots.unlock` with a wallet, or `unlock_with_words`. What this
        machine has already counts before all that is found: `known` keys, or its header `here`, which has to open.
        Where all that is right is older than that, it is the newest of those. The errors of newer ones, and of those
        that are not of this line, are added to `refused`.

        Raises:
            HeaderDamagedError: none goes on from what is known; too much was to be tried; and, if `strict`, one that
                opens is not of this line: the next header could not be stored under its number.
            SignerError: the wallet gave no signature.
            VaultfsError: the newest's, where none opens.
        """
        chain = Chain(open_it, self.found, known)
        chain.open(here)
        best = chain.best()
        errors = [(one.number, chain.errors[place]) for place, one in enumerate(self.found) if place in chain.errors]
        if best is None or (strict and chain.branches):
            raise (*chain.branches, *(error for _, error in errors), *self.refused)[0]
        newer = (error for number, error in errors if number > best[0].number or error in chain.branches)
        self.refused.extend(newer)
        return best


def header_name(number: int) -> str:
    """The name of a header's object."""
    return f"vault.{number}"


async def read_headers(remote: Remote, *, vault_id: bytes | None = None) -> Headers:
    """All headers on the remote; needs no keys. One request more than there are: two, as long as no key was changed.

    `vault_id`: of the vault that is looked for. Raises `NotAVaultError` where there is no header at all, or only of
    other vaults; what the remote raises; the error of the newest header where none is whole; and `HeaderDamagedError`
    where there is more than a vault ever has: to leave some out could mean the right ones.
    """
    found: list[Found] = []
    refused: list[VaultfsError] = []
    held = 0
    for number in count(1):
        try:
            data = await remote.get(header_name(number), 0, MAX_BYTES + 1)
        except RemoteObjectMissingError:
            break
        path = f"{header_name(number)} on {remote.label}"
        held += len(data)
        if number > MAX_HEADERS or held > MAX_HELD:
            raise _too_many(number, held, path)
        try:
            found.append(Found(number, _decode(data, number, path, vault_id), path))
        except VaultfsError as error:
            refused.append(error)
    if found:
        return Headers(found[::-1], refused)
    if refused:
        raise refused[-1]
    raise await _nothing(remote)


async def read_header(
    remote: Remote, *, keys: VaultKeys | None = None, vault_id: bytes | None = None
) -> tuple[int, Header]:
    """The newest header and its number. With `keys`: the newest that is authentic. Raises as `read_headers`."""
    headers = await read_headers(remote, vault_id=vault_id if keys is None else keys.vault_id)
    found = headers.found[0] if keys is None else headers.unlock(lambda _header, _path: keys)[0]
    return found.number, found.header


async def write_header(remote: Remote, number: int, header: Header) -> None:
    """Put the header there as `vault.<number>`.

    Raises `RemoteTakenError` when there is another one under that number: of another vault, or because another
    machine changed the keys at the same time. Then read, and change that one. `UsageError` when there are as many as
    can be read.
    """
    if header.number != number:
        raise ValueError("a header under another number than its own")
    if number > MAX_HEADERS:
        raise UsageError(detail=f"A vault can have its keys changed {MAX_HEADERS - 1:,} times; make a new vault")
    data = encode_header(header)
    await _check_free(remote, number, header, data)
    await remote.put(header_name(number), data)
    await _check_free(remote, number, header, data)  # two machines at once: the one that was overwritten notices


async def _check_free(remote: Remote, number: int, header: Header, data: bytes) -> None:
    try:
        there = await remote.get(header_name(number), 0, MAX_BYTES + 1)
    except RemoteObjectMissingError:
        return
    if there == data:
        return
    detail = "another machine changed the vault's keys at the same time; try again"
    try:
        if decode_header(there, path=header_name(number)).vault_id != header.vault_id:
            detail = "it belongs to another vault"
    except VaultfsError:
        detail = "something is there that is no vault header"
    raise RemoteTakenError(remote=remote.label, object=header_name(number), detail=detail)


def _decode(data: bytes, number: int, path: str, vault_id: bytes | None) -> Header:
    header = decode_header(data, path=path)
    if header.number != number:
        raise HeaderDamagedError(path=path, detail=f"it is number {header.number}, stored under another name")
    if vault_id is not None and header.vault_id != vault_id:
        raise HeaderDamagedError(path=path, detail="it belongs to another vault")
    return header


def _too_many(number: int, held: int, path: str) -> HeaderDamagedError:
    detail = f"it is number {number:,}, and all up to it have {held:,} bytes, which is more than a vault's own ever are"
    return HeaderDamagedError(path=path, detail=f"{detail}; take away those that are not the vault's")


async def _nothing(remote: Remote) -> NotAVaultError:
    heads = await remote.list("heads")  # not the whole store: it may be large, and not ours
    detail = "its header vault.1 is gone, but heads are there; `vaultfs repair` on a machine that has the vault"
    return NotAVaultError(remote=remote.label, detail=detail if heads else "it has no vault.1")
