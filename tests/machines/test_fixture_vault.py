"""The vault of format version 1 that is kept for ever: vaultfs joins it, works in it, and exports it."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from blake3 import blake3

from fixtures import make_vault
from tests.machines import test_removal
from tests.machines.computer import Computer
from tests.support.driver import Machine
from vaultfs.crypto.slots import Created, unlock, unlock_with_words
from vaultfs.format.header import decode_header
from vaultfs.remote.directory import DirectoryBackend

if TYPE_CHECKING:
    from vaultfs.wallet import Signer

FIXTURES = Path(__file__).parents[2] / "fixtures"
EXPECTED = json.loads((FIXTURES / "vaults/1.json").read_text())


class Joining(test_removal.Machine):
    """A machine that comes to a vault with all its epochs."""

    def __init__(self, base: Path, label: str, remote: Path, vault: Created) -> None:
        self.header = vault.header
        Computer.__init__(self, base, label, DirectoryBackend(remote), keys=vault.keys)


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A copy: joining and working write."""
    return shutil.copytree(FIXTURES / "vaults/1", tmp_path / "remote")


def opened(remote: Path, alice: Signer) -> Created:
    header = decode_header((remote / "vault.3").read_bytes(), path="vault.3")
    return Created(header, unlock(header, alice), None)


@pytest.mark.trio
async def test_a_machine_joins_and_works(tmp_path: Path, remote: Path, alice: Signer) -> None:
    one, other = (Joining(tmp_path, label, remote, opened(remote, alice)) for label in "ab")
    await one.begin()
    found = await make_vault.picture(one)
    for path, expected in EXPECTED["tree"].items():
        assert found["tree"].get(path) == expected, path
    assert found == {key: value for key, value in EXPECTED.items() if key != "words"}
    await one.write("notes/new", b"by a machine of today\n")
    await one.sync()
    await other.begin()
    assert await other.read("notes/new") == b"by a machine of today\n"
    assert await other.read("notes/of the lost one") == b"written before it was lost\n"
    one.close()
    other.close()


def test_the_words_open_it(remote: Path, alice: Signer) -> None:
    vault = opened(remote, alice)
    assert unlock_with_words(vault.header, EXPECTED["words"]).master() == vault.keys.master()


def test_it_is_exported(tmp_path: Path, remote: Path) -> None:
    machine = Machine(tmp_path / "home")
    shutil.copy(FIXTURES / "wallets/TEST-ONLY-alice.json", machine.key)
    machine.key.chmod(0o600)
    target = tmp_path / "plain"
    before = contents(remote)
    machine.run("export", str(target), "--remote", str(remote), "--wallet", f"keyfile:{machine.key}")
    assert exported(target) == EXPECTED["tree"]
    assert contents(remote) == before, "reading writes nothing"


def contents(top: Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def exported(top: Path) -> dict[str, Any]:
    """What is there now, as `1.json` says it."""
    found: dict[str, Any] = {}
    names: dict[int, str] = {}
    for path in sorted(map(os.fsencode, top.rglob("*")), key=lambda path: path.split(b"/")):
        there, here = os.lstat(path), os.path.relpath(path, os.fsencode(top)).decode(errors="surrogateescape")
        found[here] = one = {"mode": f"{stat.S_IMODE(there.st_mode):o}", "kind": "directory"}
        if stat.S_ISLNK(there.st_mode):
            one |= {"kind": "symlink", "mtime": there.st_mtime_ns, "target": os.readlink(path).decode()}
        elif stat.S_ISREG(there.st_mode):
            data = Path(os.fsdecode(path)).read_bytes()
            one |= {"kind": "file", "mtime": there.st_mtime_ns, "size": len(data), "blake3": blake3(data).hexdigest()}
            one["first_name"] = names.setdefault(there.st_ino, here)
        attributes = {name: os.getxattr(path, name).decode() for name in os.listxattr(path, follow_symlinks=False)}
        if attributes:
            one["xattrs"] = attributes
    return found
