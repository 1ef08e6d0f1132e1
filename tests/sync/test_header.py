"""The header on the remote: found by two requests, the newest that is right, nothing else believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from nacl.signing import SigningKey

from tests.sync.vaults import A, B, Vault, device, make_head, make_pack, noise
from vaultfs.crypto.slots import add_words_slot, create_header, unlock
from vaultfs.errors import (
    HeaderDamagedError,
    NewerFormatError,
    NotAVaultError,
    RemoteTakenError,
    RemoteUnavailableError,
    UsageError,
    VaultfsError,
    WrongWalletError,
)
from vaultfs.format.header import decode_header, encode_header
from vaultfs.remote import Limits, Remote
from vaultfs.remote.directory import DirectoryBackend
from vaultfs.sync.attach import attach
from vaultfs.sync.header import MAX_HEADERS, header_name, read_header, read_headers, write_header
from vaultfs.wallet.keyfile import KeyFileSigner

if TYPE_CHECKING:
    from pathlib import Path

    from vaultfs.crypto.records import Header
    from vaultfs.crypto.slots import Created
    from vaultfs.wallet import Signer

pytestmark = pytest.mark.trio


@pytest.fixture
def wallet(tmp_path: Path) -> Signer:
    return make_wallet(tmp_path, 1)


def make_wallet(where: Path, letter: int) -> Signer:
    key = SigningKey(bytes([letter] * 32))
    path = where / f"id-{letter}.json"
    path.write_bytes(msgspec.json.encode(list(bytes(key) + bytes(key.verify_key))))
    path.chmod(0o600)
    return KeyFileSigner(path)


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.fixture
def made(wallet: Signer) -> Created:
    return create_header(wallet, name="agent-vault", with_words=False)


async def test_written_and_read_by_two_requests(vault: Vault, made: Created) -> None:
    await write_header(vault.remote, 1, made.header)
    before = vault.counted()
    assert await read_header(vault.remote) == (1, made.header)
    cost = vault.remote.requests - before
    assert (cost.gets, cost.lists) == (2, 0)
    assert await read_header(vault.remote, keys=made.keys) == (1, made.header)
    await write_header(vault.remote, 1, made.header)


async def test_the_newest_counts(vault: Vault, made: Created) -> None:
    header = made.header
    await write_header(vault.remote, 1, header)
    for number in (2, 3):
        header, _ = add_words_slot(header, made.keys, label=f"n{number}")
        await write_header(vault.remote, number, header)
    before = vault.counted()
    assert await read_header(vault.remote, keys=made.keys) == (3, header)
    assert (vault.remote.requests - before).gets == 4


async def test_no_vault(vault: Vault) -> None:
    with pytest.raises(NotAVaultError, match=r"no vault\.1") as caught:
        await read_header(vault.remote)
    assert caught.value.exit_code == 81
    await vault.backend.put("photos/1", b"?")
    with pytest.raises(NotAVaultError):
        await read_headers(vault.remote)
    await vault.publish_number(A, 1)
    with pytest.raises(NotAVaultError, match="heads are there"):
        await read_header(vault.remote)
    vault.fake.faults.reachable = False
    with pytest.raises(RemoteUnavailableError):
        await read_header(Remote(vault.backend, Limits(call=0.05)))


def wrong(header: Header, how: str) -> bytes:
    data = encode_header(header)
    if how == "flipped":
        return data[:40] + bytes([data[40] ^ 1]) + data[41:]
    if how == "cut":
        return data[: len(data) // 2]
    if how == "foreign":
        return b"PK\3\4" + bytes(500)
    if how == "other name":
        return encode_header(msgspec.structs.replace(header, number=header.number + 1))
    if how == "huge":
        return data + bytes(1 << 20)
    return b""


@pytest.mark.parametrize("how", ["flipped", "cut", "foreign", "other name", "huge", "empty"])
async def test_a_damaged_header_is_named_and_the_one_before_it_used(vault: Vault, made: Created, how: str) -> None:
    await write_header(vault.remote, 1, made.header)
    newer, _ = add_words_slot(made.header, made.keys)
    vault.objects["vault.2"] = wrong(newer, how)
    headers = await read_headers(vault.remote)
    assert [found.number for found in headers.found] == [1]
    assert "vault.2" in str(headers.refused[0])
    vault.objects["vault.1"] = wrong(made.header, how)
    with pytest.raises(HeaderDamagedError, match=r"vault\.2 on memory") as caught:
        await read_header(vault.remote)
    assert caught.value.exit_code == 21


async def test_an_added_slot_opens_nothing(vault: Vault, made: Created, wallet: Signer, tmp_path: Path) -> None:
    """Somebody who can write to the remote adds his own wallet: named, and the right header before it used."""
    thief = make_wallet(tmp_path, 2)
    theirs = create_header(thief, name="x", with_words=False)
    slots = (*made.header.slots, *theirs.header.slots)
    forged = msgspec.structs.replace(made.header, number=2, slots=slots)
    await write_header(vault.remote, 1, made.header)
    vault.objects["vault.2"] = encode_header(forged)

    headers = await read_headers(vault.remote)
    found, keys = headers.unlock(lambda header, path: unlock(header, wallet, path=path))
    assert (found.number, keys.master()) == (1, made.keys.master())
    assert "vault.2" in str(headers.refused[-1])
    assert "altered" in str(headers.refused[-1])
    with pytest.raises(VaultfsError):
        (await read_headers(vault.remote)).unlock(lambda header, path: unlock(header, thief, path=path))
    assert await read_header(vault.remote, keys=made.keys) == (1, made.header)


async def test_a_header_of_another_vault(vault: Vault, made: Created, wallet: Signer) -> None:
    other = create_header(wallet, name="other", with_words=False)
    await write_header(vault.remote, 1, made.header)
    vault.objects["vault.2"] = encode_header(msgspec.structs.replace(other.header, number=2))
    number, header = await read_header(vault.remote, vault_id=made.header.vault_id)
    assert (number, header) == (1, made.header)
    headers = await read_headers(vault.remote, vault_id=made.header.vault_id)
    assert "vault.2" in str(headers.refused[0])
    assert "another vault" in str(headers.refused[0])
    with pytest.raises(HeaderDamagedError, match="another vault"):
        await read_headers(vault.remote, vault_id=bytes(16))


async def test_the_wrong_wallet(vault: Vault, made: Created, tmp_path: Path) -> None:
    await write_header(vault.remote, 1, made.header)
    stranger = make_wallet(tmp_path, 3)
    with pytest.raises(WrongWalletError):
        (await read_headers(vault.remote)).unlock(lambda header, path: unlock(header, stranger, path=path))


async def test_a_later_version(vault: Vault, made: Created) -> None:
    data = bytearray(encode_header(made.header)[:-16])
    data[8:10] = (7).to_bytes(2, "little")
    from blake3 import blake3  # noqa: PLC0415

    vault.objects["vault.1"] = bytes(data) + blake3(data).digest(16)
    with pytest.raises(NewerFormatError, match=r"vault\.1"):
        await read_header(vault.remote)


async def test_what_is_there_is_not_written_over(vault: Vault, made: Created, wallet: Signer) -> None:
    await write_header(vault.remote, 1, made.header)
    other = create_header(wallet, name="other", with_words=False)
    with pytest.raises(RemoteTakenError, match="another vault") as caught:
        await write_header(vault.remote, 1, other.header)
    assert caught.value.exit_code == 82
    mine, _ = add_words_slot(made.header, made.keys, label="mine")
    theirs, _ = add_words_slot(made.header, made.keys, label="theirs")
    await write_header(vault.remote, 2, theirs)
    with pytest.raises(RemoteTakenError, match="another machine"):
        await write_header(vault.remote, 2, mine)
    vault.objects["vault.3"] = b"?"
    last, _ = add_words_slot(theirs, made.keys)
    with pytest.raises(RemoteTakenError, match="no vault header"):
        await write_header(vault.remote, 3, last)
    assert decode_header(vault.objects["vault.2"], path="x") == theirs
    with pytest.raises(ValueError, match="number"):
        await write_header(vault.remote, 4, theirs)


async def test_two_machines_at_once(vault: Vault, made: Created) -> None:
    """The other one's put comes between our look and our reading back."""
    theirs, _ = add_words_slot(made.header, made.keys, label="theirs")
    mine, _ = add_words_slot(made.header, made.keys, label="mine")
    put = vault.fake.put

    async def puts(name: str, data: bytes | Path) -> None:
        await put(name, data)
        await put(name, encode_header(theirs))

    vault.fake.put = puts  # type: ignore[method-assign]
    with pytest.raises(RemoteTakenError):
        await write_header(vault.remote, 2, mine)


# More than there can be: none is left out without a word, for it could be the right one.


async def test_more_headers_than_a_vault_has(vault: Vault, made: Created) -> None:
    await write_header(vault.remote, 1, made.header)
    for number in range(2, MAX_HEADERS + 1):
        vault.objects[header_name(number)] = b"junk"
    assert [one.number for one in (await read_headers(vault.remote)).found] == [1]
    vault.objects[header_name(MAX_HEADERS + 1)] = b"junk"
    with pytest.raises(HeaderDamagedError, match=r"number 1,025.*take away") as caught:
        await read_headers(vault.remote)
    assert caught.value.exit_code == 21
    last = msgspec.structs.replace(made.header, number=MAX_HEADERS + 1)
    with pytest.raises(UsageError, match="new vault"):
        await write_header(vault.remote, MAX_HEADERS + 1, last)


async def test_headers_that_are_large(vault: Vault, made: Created, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged ones count as well."""
    await write_header(vault.remote, 1, made.header)
    vault.objects["vault.2"] = bytes(1000)
    size = len(vault.objects["vault.1"]) + 1000
    monkeypatch.setattr("vaultfs.sync.header.MAX_HELD", size)
    assert len((await read_headers(vault.remote)).found) == 1
    monkeypatch.setattr("vaultfs.sync.header.MAX_HELD", size - 1)
    with pytest.raises(HeaderDamagedError, match=rf"vault\.2 .*{size:,} bytes"):
        await read_headers(vault.remote)


# A machine that joins.


async def joined(vault: Vault, wallet: Signer) -> tuple[int, list[tuple[str, int]]]:
    """As a new machine does it: header, keys, heads, and every root. How many requests it took, and the heads."""
    before = vault.counted()
    _, keys = (await read_headers(vault.remote)).unlock(lambda header, path: unlock(header, wallet, path=path))
    here = Vault(vault.backend, keys).machine(device("n"))
    here.vault.remote.requests = vault.remote.requests
    heads = await attach(here.heads, here.catalog)
    for head in heads:
        await here.fetcher.node(head.root)
    assert here.alarms == []
    return (vault.remote.requests - before).gets + (vault.remote.requests - before).lists, [
        (head.label, head.number) for head in heads
    ]


@pytest.mark.parametrize("real", [False, True], ids=["fake", "directory"])
async def test_joining_takes_few_requests(made: Created, wallet: Signer, tmp_path: Path, *, real: bool) -> None:
    """Two devices, many commits, dozens of packs, an index: at most ten."""
    vault = Vault(DirectoryBackend(tmp_path / "remote"), made.keys) if real else Vault(keys=made.keys)
    await vault.remote.create()
    await write_header(vault.remote, 1, made.header)
    writer = vault.machine(device("w"))
    roots = {}
    for number in range(1, 41):
        author = A if number % 2 else B
        root = noise((number, "root"), 300)
        pack = make_pack(number, blocks=[noise(number, 5000)], nodes=[noise((number, "n"), 900), root], keys=made.keys)
        await vault.put_pack(pack)
        writer.catalog.add(pack.place, pack.entries)
        head = make_head(author, number, root=pack.ids[-1])
        head = msgspec.structs.replace(head, packs=writer.catalog.unindexed, indexes=writer.catalog.indexes)
        await vault.publish(author, head)
        roots[number] = pack.ids[-1]
        if writer.catalog.due():
            await writer.catalog.make_index()
    requests, heads = await joined(vault, wallet)
    assert heads == [("box-a", 39), ("box-b", 40)]
    assert requests == 7, "header 2, list 1, heads 2, the newest pack of each 2"


async def test_joining_a_vault_without_commits(vault: Vault, made: Created, wallet: Signer) -> None:
    await write_header(vault.remote, 1, made.header)
    assert await joined(vault, wallet) == (3, [])


async def test_a_header_over_a_real_directory(made: Created, tmp_path: Path) -> None:
    vault = Vault(DirectoryBackend(tmp_path / "remote"))
    await vault.remote.create()
    with pytest.raises(NotAVaultError):
        await read_header(vault.remote)
    await write_header(vault.remote, 1, made.header)
    assert await read_header(vault.remote, keys=made.keys) == (1, made.header)
    (tmp_path / "remote" / header_name(1)).write_bytes(b"")
    with pytest.raises(HeaderDamagedError, match=r"vault\.1"):
        await read_header(vault.remote)
