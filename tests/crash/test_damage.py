"""Damage to the store: found and named by `vaultfs check`, never silently served, and the rest stays readable.

A store is made once, cleanly unmounted, and once more left by SIGKILL; each trial damages one file of a copy.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.crash.claims import sync_directory
from tests.crash.rounds import machine
from tests.support.driver import Machine, find_key, is_mounted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.fuse, pytest.mark.slow]
# the store is damaged, a part is of no known format, or the header or device is: never a bare 1, never a traceback
REFUSALS = range(10, 40)
FILES = 60


@dataclass
class Golden:
    """A vault's files as they were, and what is in it: path to digest."""

    machine: Machine
    copy: Path
    contents: dict[str, str]
    clean: bool

    def restore(self) -> None:
        """The store as it was, nothing mounted."""
        self.machine.abandon()
        shutil.rmtree(self.machine.store)
        shutil.copytree(self.copy, self.machine.store)

    def files(self, part: str) -> list[Path]:
        """Files of one part of the store (relative), the larger first."""
        found = [path for path in self.copy.rglob("*") if path.is_file() and path.stat().st_size]
        chosen = [path.relative_to(self.copy) for path in found if part in str(path.relative_to(self.copy))]
        return sorted(chosen, key=lambda path: (self.copy / path).stat().st_size, reverse=True)


def fill(root: Path) -> dict[str, str]:
    """Files small and large, fresh and old, nested; what must be read back."""
    contents = {}
    rng = random.Random(5)
    for number in range(FILES):
        directory = root / f"d{number % 6}"
        directory.mkdir(exist_ok=True)
        data = rng.randbytes(rng.choice([10, 3000, 70_000, 200_000]))
        path = directory / f"f{number}"
        with path.open("wb") as file:
            file.write(data)
            if number % 3 == 0:
                file.flush()
                os.fsync(file.fileno())
        contents[str(path.relative_to(root))] = hashlib.sha256(data).hexdigest()
    for directory in root.glob("d*"):
        sync_directory(directory)
    return contents


def read_all(root: Path) -> tuple[dict[str, str], dict[str, int]]:
    """What can be read, and which errno the rest gives; directories that cannot be listed count as errors."""
    good, bad = {}, {}
    for number in range(FILES):
        key = f"d{number % 6}/f{number}"
        try:
            good[key] = hashlib.sha256((root / key).read_bytes()).hexdigest()
        except OSError as error:
            bad[key] = error.errno or 0
    return good, bad


@pytest.fixture(scope="module", params=["clean", "killed"])
def golden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Golden]:
    with machine() as home:
        root = home.mount()
        contents = fill(root)
        if request.param == "clean":
            home.umount()
        else:
            home.kill()
            home.abandon()
        copy = tmp_path_factory.mktemp("golden") / "store"
        shutil.copytree(home.store, copy)
        yield Golden(home, copy, contents, request.param == "clean")


def flip(path: Path, place: float) -> None:
    """Flip one bit, at a fraction of what is used of the file (a journal segment ends in zeros that mean nothing)."""
    data = bytearray(path.read_bytes())
    used = len(data.rstrip(b"\0")) or len(data)
    data[min(int(used * place), used - 1)] ^= 0x10
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "first bit": lambda path: flip(path, 0.0),
    "early bit": lambda path: flip(path, 0.1),
    "middle bit": lambda path: flip(path, 0.5),
    "last bit": lambda path: flip(path, 1.0),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "missing": os.unlink,
}
PARTS = ["header", "device", "meta.db", "journal", "packs"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("part", PARTS)
def test_damage_is_found_and_nothing_wrong_is_served(golden: Golden, part: str, damage: str) -> None:
    files = golden.files(part)
    if not files:
        pytest.skip(f"this store has no {part}")
    name = files[0]
    golden.restore()
    DAMAGES[damage](golden.machine.store / name)
    home = golden.machine
    check = home.run("check", "--read-data", "--json", "--wallet", f"keyfile:{home.key}", check=False)
    assert "Traceback" not in check.stdout + check.stderr
    assert check.returncode == 0 or check.returncode in (50, *REFUSALS), f"unexplained: {check.stderr}"
    found = check.returncode != 0
    home.mountpoint.mkdir(exist_ok=True)
    mount = home.run(*home.mount_command(), check=False)
    assert "Traceback" not in mount.stdout + mount.stderr
    if mount.returncode != 0:
        assert mount.returncode in REFUSALS, mount.stderr
        assert found, f"the mount is refused ({mount.stderr}), but check finds nothing"
        assert "vault" in mount.stderr
        assert part in ("header", "device", "meta.db"), (
            f"one damaged file of {part} closes the whole vault: {mount.stderr}"
        )
        return
    good, bad = read_all(home.mountpoint)
    wrong = {path for path, digest in good.items() if digest != golden.contents[path]}
    status = home.status()
    health, startup = find_key(status, "health"), find_key(status, "startup")
    told = not find_key(health, "ok") or find_key(startup, "notes") or find_key(startup, "dropped_bytes")
    if wrong or set(bad.values()) - {errno.EIO}:
        # a damaged record of the journal takes the changes in it with it: told, since its file is not known
        assert not golden.clean, f"silently served: {wrong}, {bad}"
        assert told, f"wrong without a word: {wrong} {bad}"
        assert part == "journal", f"{wrong} {bad} by {name}"
    if bad:
        assert found or told, f"{len(bad)} files cannot be read, but check found nothing"
        assert len(bad) < FILES * 0.9 or part != "packs", "one damaged file took nearly everything"
    home.umount("--force")
    assert found or told or not (wrong or bad)
    if golden.clean and part != "journal":
        assert found, f"{damage} in {name} was not found by check (all files read right)"
        assert name.name in check.stdout + check.stderr, f"check does not name {name}: {check.stdout}{check.stderr}"


def test_check_finds_nothing_in_a_sound_store(golden: Golden) -> None:
    golden.restore()
    home = golden.machine
    found = home.run("check", "--read-data", "--json")
    assert find_key(json.loads(found.stdout), "ok") is True
    home.mount()
    good, bad = read_all(home.mountpoint)
    assert good == golden.contents
    assert not bad
    home.umount()


def test_read_only_store(golden: Golden) -> None:
    """A store that cannot be written: said so, and still readable with --read-only."""
    golden.restore()
    home = golden.machine
    if os.geteuid() != 0:
        pytest.skip("needs root to bind-mount read-only")
    import subprocess  # noqa: PLC0415

    subprocess.run(["mount", "--bind", home.store, home.store], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", home.store], check=True)
        home.mountpoint.mkdir(exist_ok=True)
        refused = home.run(*home.mount_command(), check=False)
        assert refused.returncode == 24, refused.stderr
        assert "--read-only" in refused.stderr
        home.mount("--read-only")
        good, _ = read_all(home.mountpoint)
        assert good == golden.contents
        with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is looked at
            (home.mountpoint / "new").touch()
        assert caught.value.errno == errno.EROFS
        home.umount()
    finally:
        home.abandon()
        subprocess.run(["umount", "-l", home.store], check=True)
    assert not is_mounted(home.mountpoint)
