"""A second reader of a whole vault, written after docs/format.md: it has the wallet's key, and no code of vaultfs.

It opens `fixtures/vaults/1` as it lay on a remote, and finds what `fixtures/vaults/1.json` says is in it.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import zstandard
from blake3 import blake3
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from tests.pure.test_second_reader import FIXTURES, hkdf, open_wallet_slot, open_words_slot, read_header, unseal
from tests.pure.test_second_reader_epochs import earlier_masters

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VAULT = FIXTURES / "vaults/1"
EXPECTED = json.loads((FIXTURES / "vaults/1.json").read_text())
ALICE = SigningKey(bytes(json.loads((FIXTURES / "wallets/TEST-ONLY-alice.json").read_text()))[:32])
BLOCK = 65536
DIRECTORY, FILE, SYMLINK, UNIT, GROUP = 1, 2, 3, 4, 5
COMPANIONS = (b"-journal", b"-wal")
unpack, pack = msgspec.msgpack.decode, msgspec.msgpack.encode


def number(data: bytes, start: int, length: int) -> int:
    return int.from_bytes(data[start : start + length], "little")


class Keys:
    """The newest header, opened by the wallet."""

    def __init__(self, top: Path, wallet: SigningKey) -> None:
        newest = max(top.glob("vault.*"), key=lambda path: int(path.name.removeprefix("vault.")))
        data = newest.read_bytes()
        self.record = read_header(data)
        assert newest.name == f"vault.{self.record['number']}"
        self.vault = self.record["vault_id"]
        public_key = bytes(wallet.verify_key)
        (slot,) = (slot for slot in self.record["slots"] if slot.get("public_key") == public_key)
        self.master = open_wallet_slot(self.vault, slot, wallet)
        header = hkdf(self.master, self.vault, "header")
        assert blake3(data[:-48], key=hkdf(header, b"", "header-mac")).digest() == self.record["mac"]
        self.name = unseal(header, self.record["name"], b"vaultfs vault name" + self.vault).rstrip(b"\0").decode()
        self.masters = [*earlier_masters(self.record, self.master), self.master]
        self.block_id = hkdf(self.masters[0], self.vault, "block-id")

    def of(self, epoch: int, label: str, object_id: bytes = b"") -> bytes:
        return hkdf(self.masters[epoch - 1], self.vault + object_id, label)

    def pack(self, object_id: bytes) -> bytes:
        return self.of(number(object_id, 14, 2), "pack", object_id)


def open_head(keys: Keys, name: str, data: bytes) -> tuple[int, dict[str, Any]]:
    """Its epoch and its record, with the signature checked."""
    assert data[:10] == b"VFSHEAD\0\x01\x00"
    epoch = number(data, 10, 2)
    bound = keys.vault + name.encode()
    plain = unseal(keys.of(epoch, "head"), data[12:], data[:12] + bound)
    length = number(plain, 0, 4)
    record, signature = plain[4 : 4 + length], plain[4 + length : 68 + length]
    assert not any(plain[68 + length :])
    head = unpack(record)
    assert pack(head) == record
    assert name == f"heads/{head['device'].hex()}/{head['number']:016}"
    VerifyKey(head["public_key"]).verify(b"vaultfs head signature\0" + bound + record, signature)
    return epoch, head


class Reader:
    """The newest commit of a vault."""

    def __init__(self, top: Path, wallet: SigningKey) -> None:
        self.top = top
        self.keys = Keys(top, wallet)
        self.refused: list[str] = []
        self.heads: dict[bytes, dict[str, Any]] = {}
        for path in sorted(top.glob("heads/*/*")):
            name = path.relative_to(top).as_posix()
            epoch, head = open_head(self.keys, name, path.read_bytes())
            if self._counts(epoch, head):
                before = self.heads.setdefault(head["device"], head)
                assert before["public_key"] == head["public_key"]
                self.heads[head["device"]] = head
            else:
                self.refused.append(name)
        (self.head,) = (head for head in self.heads.values() if self._covers(head))
        self.places: dict[bytes, tuple[bytes, int, int, int, int, int, int]] = {}
        for index_id, size, front in self.head["indexes"]:
            self._read_index(index_id, size, front)
        for pack_id, size, footer, length in self.head["packs"]:
            self._read_footer(pack_id, size, footer, length)
        self.commit = self.node(self.head["root"], 4)

    def _counts(self, epoch: int, head: dict[str, Any]) -> bool:
        granted = {device: public_key for device, public_key, _ in self.keys.record["granted"]}
        removed = dict(self.keys.record["removed"])
        if head["device"] in removed:
            return bool(head["number"] <= removed[head["device"]])
        return epoch == len(self.keys.masters) or granted.get(head["device"]) == head["public_key"]

    def _covers(self, head: dict[str, Any]) -> bool:
        vector = dict(head["vector"])
        return all(vector.get(device, 0) >= other["number"] for device, other in self.heads.items())

    # Where things are.

    def _pack_path(self, pack_id: bytes) -> Path:
        return self.top / "packs" / pack_id.hex()[:2] / pack_id.hex()

    def _read_index(self, index_id: bytes, size: int, length: int) -> None:
        data = (self.top / "index" / index_id.hex()).read_bytes()
        assert (data[:8], data[8:24], len(data)) == (b"VFSI\x01\x00\x00\x00", index_id, size)
        length -= 28
        assert number(data, 24, 4) == length

        def opened(start: int, length: int, which: int) -> bytes:
            meaning = b"vfsindx1" + index_id + which.to_bytes(4, "little")
            return unseal(self.keys.pack(index_id), data[start : start + length], meaning)

        front, at = opened(28, length, 2**32 - 1), 28 + length
        records, packs = number(front, 0, 8), number(front, 8, 4)
        ids = [front[start : start + 16] for start in range(12, 12 + 28 * packs, 28)]
        assert ids == sorted(set(ids))
        last = b""
        for chunk in range(-(-records // 1200)):
            count = min(1200, records - 1200 * chunk)
            lines = opened(at, count * 54 + 28, chunk)
            at += count * 54 + 28
            for line in (lines[start : start + 54] for start in range(0, count * 54, 54)):
                assert line[:32] > last
                last = line[:32]
                which, *place = (number(line, start, 4) for start in range(34, 54, 4))
                self._place(last, ids[which], line[32], line[33], *place)
        assert not any(data[at:])

    def _read_footer(self, pack_id: bytes, size: int, footer: int, length: int) -> None:
        data = self._pack_path(pack_id).read_bytes()
        assert (data[:8], data[8:24], len(data)) == (b"VFSP\x01\x00\x00\x00", pack_id, size)
        assert data[-16:] == b"VFSP" + length.to_bytes(4, "little") + footer.to_bytes(8, "little")
        opened = self._unsealed(pack_id, 2**32 - 1, 255, footer, length)
        version, entries = unpack(opened)
        assert version == 1
        for which, (kind, name, offset, sealed, plain, codec) in enumerate(entries):
            self._place(name, pack_id, kind, codec, which, offset, sealed, plain)

    def _place(self, name: bytes, pack_id: bytes, kind: int, codec: int, *place: int) -> None:
        which, offset, sealed, size = place
        self.places[name] = pack_id, kind, codec, which, offset, sealed, size

    def _unsealed(self, pack_id: bytes, which: int, kind: int, offset: int, length: int) -> bytes:
        data = self._pack_path(pack_id).read_bytes()
        meaning = b"vfspack1" + pack_id + which.to_bytes(4, "little") + bytes([kind])
        return unseal(self.keys.pack(pack_id), data[offset : offset + length], meaning)

    def _entry(self, name: bytes, wanted: int) -> bytes:
        pack_id, kind, codec, which, offset, sealed, size = self.places[name]
        assert kind == wanted
        data = self._unsealed(pack_id, which, kind, offset, sealed)
        if codec == 1:
            data = zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
        assert len(data) == size
        return data

    def node(self, name: bytes, kind: int) -> Any:
        """The record of a node."""
        data = self._entry(name, 2)
        assert blake3(data, key=hkdf(self.keys.block_id, b"", "node-id")).digest() == name
        assert data[:2] == bytes((1, kind))
        record = unpack(data[2:])
        assert pack(record) == data[2:]
        return record

    def kind(self, name: bytes) -> int:
        """1 for a leaf, 2 for a branch."""
        return self._entry(name, 2)[1]

    def block(self, name: bytes) -> bytes:
        data = self._entry(name, 1)
        assert blake3(data, key=self.keys.block_id).digest() == name
        return data

    # What they mean.

    def entries(self, reference: list[Any] | None) -> list[list[Any]]:
        """Everything in a directory."""
        if reference is None:
            return []
        name, width = reference[0], reference[2]
        if self.kind(name) == 1:
            (found,) = self.node(name, 1)
        else:
            (children,) = self.node(name, 2)
            found = [entry for child in children if child for entry in self.entries(child)]
        assert len(found) == width
        return sorted(found)

    def content(self, file: list[Any]) -> bytes:
        """The bytes of a file."""
        size, (form, *more) = file[-2:]
        if form == 0:
            (data,) = more
            assert len(data) == size
            return bytes(data)
        whole = bytearray(size)
        blocks = more[0] if form == 1 else list(self._listed(more[2], more[1], 0))
        assert form == 1 or len(blocks) == more[0]
        for place, name, valid in blocks:
            data = self.block(name)[:valid].ljust(valid, b"\0")
            assert place * BLOCK + valid <= size
            whole[place * BLOCK : place * BLOCK + valid] = data
        return bytes(whole)

    def _listed(self, name: bytes, height: int, first: int) -> Iterator[tuple[int, bytes, int]]:
        stored, items = self.node(name, 3)
        assert stored == height
        for position, below, valid in items:
            here = first * 256 + position
            if height == 1:
                yield here, below, valid
            else:
                yield from self._listed(below, height - 1, here)

    @cached_property
    def tree(self) -> dict[str, dict[str, Any]]:
        """What is seen, as `1.json` has it."""
        found: dict[str, dict[str, Any]] = {}
        self._walk(b"", self.commit[1], found, {})
        return found

    def _walk(self, above: bytes, below: Any, found: dict[str, Any], names: dict[Any, str]) -> None:
        for name, (element, inside) in sorted(seen(self.entries(below)).items()):
            path = (above + name).decode(errors="surrogateescape")
            found[path] = one = self._described(element)
            if one["kind"] == "file":
                one["first_name"] = names.setdefault((element[1], tuple(element[2])), path)
            if inside is not None:
                self._walk(above + name + b"/", inside, found, names)

    def _described(self, element: list[Any] | None) -> dict[str, Any]:
        if element is None:  # removed elsewhere, while something was put into it
            return {"mode": "700", "kind": "directory"}
        kind, mode, mtime, xattrs = element[0], element[5], element[8], element[9]
        found: dict[str, Any] = {"mode": f"{mode:o}"}
        if kind in {DIRECTORY, UNIT}:
            found["kind"] = "directory"
        elif kind == SYMLINK:
            found |= {"mode": "777", "kind": "symlink", "mtime": mtime, "target": element[10].decode()}
        else:
            data = self.content(element)
            found |= {"kind": "file", "mtime": mtime, "size": len(data), "blake3": blake3(data).hexdigest()}
        return found | ({"xattrs": {name.decode(): value.decode() for name, value in xattrs}} if xattrs else {})

    @cached_property
    def conflicts(self) -> list[dict[str, Any]]:
        """What is kept and not in place, as `1.json` has it."""
        found = list(self._siblings(b"", self.commit[1]))
        found += [self._kept(path, element, aside=True) for path, element in self._everything(b"", self.commit[2])]
        return sorted(found, key=json.dumps)

    def _siblings(self, above: bytes, below: Any) -> Iterator[dict[str, Any]]:
        if below is None or not below[6]:  # not crowded
            return
        for name, elements, inside in self.entries(below):
            place = in_place(elements, inside)
            for element in elements:
                if element is not place and element[0] != DIRECTORY:
                    yield self._kept(above + name, element, aside=False)
            assert inside is None or place is None or place[0] == DIRECTORY, "nothing else is in this vault"
            yield from self._siblings(above + name + b"/", inside)

    def _everything(self, above: bytes, below: Any) -> Iterator[tuple[bytes, list[Any]]]:
        for name, elements, inside in self.entries(below):
            yield from ((above + name, element) for element in elements if element[0] != DIRECTORY)
            yield from self._everything(above + name + b"/", inside)

    def _kept(self, path: bytes, element: list[Any], *, aside: bool) -> dict[str, Any]:
        kind = element[0]
        files = {b"": element} if kind == FILE else dict(element[-1]) if kind == GROUP else {}
        if kind == UNIT:
            files = {b"/" + name: one for name, one in self._everything(b"", element[-1])}
        hashes = {name.decode(): blake3(self.content(file)).hexdigest() for name, file in sorted(files.items())}
        return {"path": path.decode(), "aside": aside, "files": hashes}


def newness(element: list[Any]) -> tuple[Any, ...]:
    if element[0] == GROUP:
        _, file_id, version, placed, time, _ = element
    else:
        _, file_id, version, placed, time, *_ = element
    return time, version, placed or [], file_id, pack(element)


def in_place(elements: list[list[Any]], below: Any) -> list[Any] | None:
    directories = [element for element in elements if element[0] in {DIRECTORY, UNIT}]
    if directories or below is None:
        return max(directories or elements, key=newness)
    return None


def seen(entries: list[list[Any]]) -> dict[bytes, tuple[list[Any] | None, Any]]:
    """By name: the element that is seen (None: a directory without one), and what is in it."""
    found: dict[bytes, tuple[list[Any] | None, Any]] = {}
    groups = {}
    for name, elements, below in entries:
        element = in_place(elements, below)
        if element is not None and element[0] == GROUP:
            groups[name] = element
        else:
            inside = element[-1] if element is not None and element[0] == UNIT else below
            found[name] = element, inside
    for name, group in groups.items():
        for suffix in COMPANIONS:
            element, _ = found.get(name + suffix, (None, None))
            if element is not None and element[0] == FILE:
                del found[name + suffix]
        for suffix, file in group[-1]:
            element, inside = found.get(name + suffix, (file, None))
            if inside is None and (element is None or element[0] not in {DIRECTORY, UNIT}):
                found[name + suffix] = file, None
    return found


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(VAULT, ALICE)


def test_the_tree(reader: Reader) -> None:
    assert reader.keys.name == EXPECTED["vault"]
    assert reader.head["root"].hex() == EXPECTED["root"]
    for path, expected in EXPECTED["tree"].items():
        assert reader.tree.get(path) == expected, path
    assert reader.tree.keys() == EXPECTED["tree"].keys()


def test_the_conflicts(reader: Reader) -> None:
    assert reader.conflicts == sorted(EXPECTED["conflicts"], key=json.dumps)


def test_the_counts_in_references(reader: Reader) -> None:
    files = [one for one in reader.tree.values() if one["kind"] == "file"]
    below = reader.commit[1]
    assert below[2] == len(reader.entries(below))
    assert below[5] >= sum(one["size"] for one in files), "and conflicts"


def test_what_is_in_the_vault(reader: Reader) -> None:
    """So that nobody replaces it with one that shows less."""
    assert len(reader.keys.masters) == 2
    assert len(reader.heads) == 3
    assert {path.name for path in VAULT.iterdir()} == {"packs", "index", "heads", "vault.1", "vault.2", "vault.3"}
    assert (reader.head["indexes"], reader.head["packs"]) != ([], [])
    assert {place[0][14] for place in reader.places.values()} == {1, 2}, "packs of both epochs"
    assert {place[2] for place in reader.places.values()} == {0, 1}, "as it is, and compressed"
    stored = {place[1] for place in reader.places.values()}
    assert stored == {1, 2}
    many = next(below for name, _, below in reader.entries(reader.commit[1]) if name == b"many")
    assert reader.kind(many[0]) == 2, "a trie"
    open_paths = [path for head in all_heads(reader.keys) for path, _ in head["open"]]
    assert open_paths == [b"notes/open.txt"]


def all_heads(keys: Keys) -> list[dict[str, Any]]:
    paths = sorted(VAULT.glob("heads/*/*"))
    return [open_head(keys, path.relative_to(VAULT).as_posix(), path.read_bytes())[1] for path in paths]


def test_what_a_removed_device_published_later_does_not_count(reader: Reader) -> None:
    ((device, last),) = reader.keys.record["removed"]
    (late,) = reader.refused
    assert late.startswith(f"heads/{device.hex()}/")
    assert int(late[-16:]) > last == reader.heads[device]["number"]


def test_the_words_open_it_too(reader: Reader) -> None:
    (slot,) = (slot for slot in reader.keys.record["slots"] if slot["kind"] == "words")
    assert open_words_slot(reader.keys.vault, slot, EXPECTED["words"]) == reader.keys.master


def test_a_head_under_another_name_does_not_open(reader: Reader) -> None:
    path = max(VAULT.glob("heads/*/*"))
    name = path.relative_to(VAULT).as_posix()
    with pytest.raises(Exception, match=r"^$") as caught:
        open_head(reader.keys, name[:-1] + "9", path.read_bytes())
    assert type(caught.value).__name__ in {"InvalidTag", BadSignatureError.__name__}
