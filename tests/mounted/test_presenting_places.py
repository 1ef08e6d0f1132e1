"""What comes from elsewhere, where the place for it is no easy one."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.mounted.presented import WHICH, file, gone, present
from tests.support.served import Served, served
from tests.support.users import User, as_user
from vaultfs.fuse import kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = User(pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)


pytestmark = [
    pytest.mark.fuse,
    pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="no /dev/fuse"),
]


@pytest.fixture(scope="module")
def vault() -> Iterator[Served]:
    with served(WHICH) as running:
        yield running


SWAPPER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
root = os.fsencode(sys.argv[1])
print("ready", flush=True)
os.set_blocking(0, False)
n = 0
while sys.stdin.buffer.raw.read(1) is None:
    assert libc.renameat2(-100, root + b"/a", -100, root + b"/b", 2) == 0, os.strerror(ctypes.get_errno())
    n += 1
print(n, flush=True)
"""


def test_directories_that_change_places_meanwhile(vault: Served) -> None:
    """The way to a name may lead elsewhere by the time the kernel goes it: nothing comes into the wrong directory."""
    root = vault.mountpoint / "swapped"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        (root / name / "f").write_bytes(name.encode())
    inos = {(root / name).stat().st_ino: name for name in ("a", "b")}
    swapper = subprocess.Popen(
        [sys.executable, "-c", SWAPPER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert swapper.stdout.readline() == "ready\n"
        came: dict[int, str] = {}
        for number in range(150):
            answer = vault.ask(batches=[[file("swapped/a/f", f"{number}")], [file(f"swapped/b/{number}", "new")]])
            assert answer["placed"] == [True, True]
            for parent, content in zip(answer["parents"], (f"{number}", None), strict=True):
                assert parent in inos
                if content is not None:
                    came[parent] = content
        out, _ = swapper.communicate("x", timeout=90)
        assert swapper.returncode == 0
        assert int(out) > 50
    finally:
        swapper.kill()
        swapper.wait()
    found = {(root / name).stat().st_ino: (root / name / "f").read_text() for name in ("a", "b")}
    assert found == {ino: came.get(ino, name) for ino, name in inos.items()}
    names = [name for each in ("a", "b") for name in os.listdir(root / each)]
    assert sorted(names) == sorted([*map(str, range(150)), "f", "f"])


def test_a_path_that_is_too_long_for_the_kernel(vault: Served) -> None:
    name = "n" * 250
    here = os.open(vault.mountpoint, os.O_RDONLY)
    for _ in range(20):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    path = "/".join([name] * 20)
    assert present(vault, file(f"{path}/f", "theirs"), file(f"{path}/g", "new"))
    for each, content in (("f", b"theirs"), ("g", b"new")):
        descriptor = os.open(each, os.O_RDONLY, dir_fd=here)
        assert os.read(descriptor, 100) == content
        os.close(descriptor)
    assert present(vault, gone(f"{path}/f"))
    assert os.listdir(here) == ["g"]
    with pytest.raises(FileNotFoundError):
        os.stat("f", dir_fd=here)
    os.close(here)


@pytest.mark.root
def test_below_another_mount(vault: Served) -> None:
    path = vault.mountpoint / "shadowed"
    path.mkdir()
    (path / "f").write_bytes(b"mine")
    kernel.mount("tmpfs", str(path), "tmpfs", 0, "")
    try:
        (path / "f").write_bytes(b"on top")
        assert present(vault, file("shadowed/f", "theirs"))
        assert (path / "f").read_bytes() == b"on top"
    finally:
        kernel.unmount(str(path), 0)
    assert (path / "f").read_bytes() == b"theirs"


@pytest.mark.root
def test_a_directory_that_the_owner_made_read_only() -> None:
    with served(WHICH, user=NOBODY) as vault:
        root = vault.mountpoint

        def body() -> None:
            (root / "d" / "sub").mkdir(parents=True)
            (root / "d" / "f").write_bytes(b"mine")
            (root / "d" / "drop").write_bytes(b"mine")
            (root / "d").chmod(0o555)
            # Watchers are not told then: the kernel tells of nothing that it did not do (since 5.3).
            assert present(vault, file("d/f", "theirs"), file("d/g", "new"))
            assert present(vault, gone("d/drop"))
            assert (root / "d" / "g").read_bytes() == b"new"
            # The kernel takes the first name of the batch, and not the others.
            assert present(vault, file("top", "top"), file("d/g", "newer"), gone("d/sub"))
            assert (root / "top").read_bytes() == b"top"
            assert (root / "d" / "g").read_bytes() == b"newer"
            assert (root / "d" / "f").read_bytes() == b"theirs"
            assert (root / "d" / "g").read_bytes() == b"newer"
            assert sorted(os.listdir(root / "d")) == ["f", "g"]
            assert not (root / "d" / "drop").exists()

        as_user(NOBODY, body)


def test_many_at_once(vault: Served) -> None:
    (vault.mountpoint / "many").mkdir()
    answer = vault.ask(batches=[[file(f"many/{number}", str(number))] for number in range(300)])
    assert all(answer["placed"])
    names = os.listdir(vault.mountpoint / "many")
    assert len(names) == 300
    assert all((vault.mountpoint / "many" / name).read_bytes() == name.encode() for name in names)
    print(f"{answer['seconds'] / 300 * 1e6:.0f} us for each")  # noqa: T201 - pytest shows it with -s
