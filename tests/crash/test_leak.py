"""Invariant 7: nothing of what is in the vault stands readable in any file that vaultfs wrote.

Markers are planted in names, contents, attributes and link targets; then every byte of the HOME (store, config,
logs, runtime directory), of the temporary directory and of the daemon's argv and environment is searched for them:
as they are, and in base64, base32 and hex. While mounted, after SIGKILL, after the replay, and unmounted.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import shutil
import sqlite3
import stat
import string
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.crash.rounds import processes_of
from tests.support.driver import Machine, is_mounted
from tests.support.leftovers import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.fuse


def marker(kind: str) -> str:
    """Random, so that it can stand nowhere by chance; letters and digits, so that it is legal everywhere."""
    rng = random.Random(kind)
    return kind[:2] + "".join(rng.choices(string.ascii_lowercase + string.digits, k=22))


KINDS = (
    "name",
    "directory",
    "deep",
    "tiny",
    "content",
    "big",
    "appended",
    "mapped",
    "sqlite",
    "xattr-name",
    "xattr-value",
    "target",
    "removed",
    "failed",
    "socket",
    "read",
)
MARKERS = {kind: marker(kind) for kind in KINDS}


def disguises(secret: bytes) -> Iterator[bytes]:
    """The ways in which a secret might stand in a file: raw, hex, base64 and base32 at every alignment."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    for encode, group, bits in ((base64.b64encode, 3, 6), (base64.urlsafe_b64encode, 3, 6), (base64.b32encode, 5, 5)):
        for shift in range(group):
            text = encode(bytes(shift) + secret).rstrip(b"=")
            # the first characters depend on what stands before, the last one on what follows
            inner = text[-(-shift * 8 // bits) : -1]
            yield inner
            yield inner.lower()


def files_of(home: Machine) -> Iterator[tuple[str, bytes]]:
    """Every file below HOME but the mount itself and the person's own key file; and what /proc shows of the daemon."""
    for base, directories, files in os.walk(home.home):
        if Path(base) == home.home and "agent-vault" in directories:
            directories.remove("agent-vault")
        for name in files + directories:
            path = Path(base) / name
            yield f"the name {path}", os.fsencode(name)
            if stat.S_ISREG(path.lstat().st_mode) and path != home.key:
                yield str(path), path.read_bytes()
    for pid in processes_of(home):
        for fact in ("cmdline", "environ"):
            with contextlib.suppress(PermissionError):  # the daemon hides its environment from all but root
                yield f"{fact} of {pid}", Path(f"/proc/{pid}/{fact}").read_bytes()


def leaks(home: Machine, secrets: dict[str, bytes]) -> list[str]:
    """Where a secret stands readable."""
    needles = [(kind, needle) for kind, secret in secrets.items() for needle in set(disguises(secret))]
    found = []
    for place, everything in files_of(home):
        data = everything.replace(bytes(4096), b"\0")  # the journal is filled with zeros beforehand
        found += [f"{kind} in {place} as {needle!r}" for kind, needle in needles if needle in data]
    return found


def plant(root: Path) -> None:
    """Markers everywhere a program can put them."""
    m = MARKERS
    (root / m["directory"] / m["deep"]).mkdir(parents=True)
    (root / m["name"]).write_text(m["tiny"])
    (root / m["directory"] / m["deep"] / "f").write_text((m["content"] + "\n") * 3000)
    with (root / "big").open("wb") as file:  # incompressible around it, so that it cannot hide in compression
        for _ in range(40):
            file.write(os.urandom(50_000) + m["big"].encode())
        os.fsync(file.fileno())
    for _ in range(20):
        with (root / "log").open("a") as file:
            file.write(m["appended"] + "\n")
    os.setxattr(root / "big", "user." + m["xattr-name"], m["xattr-value"].encode())
    (root / "link").symlink_to("/" + m["target"])
    (root / m["removed"]).write_text(m["removed"])
    (root / m["removed"]).unlink()
    os.mknod(root / m["socket"], stat.S_IFSOCK | 0o600)
    db = sqlite3.connect(root / "db")
    db.execute("pragma journal_mode=wal")
    db.execute("create table t(x)")
    db.execute("insert into t values (?)", (m["sqlite"],))
    db.commit()
    db.close()
    for attempt in (
        (root / m["failed"]).read_bytes,
        (root / m["name"] / m["failed"]).mkdir,
        lambda: os.setxattr(root / "big", "user.vaultfs.lastWriter", m["failed"].encode()),
        lambda: os.setxattr(root / "big", "user.vaultfs.scope", m["failed"].encode()),
    ):
        with pytest.raises(OSError):  # noqa: PT011 - each for its own reason, what matters is the log
            attempt()


@pytest.fixture
def home() -> Iterator[Machine]:
    base = scratch()
    temporary = base / "home" / "tmp"
    temporary.mkdir(parents=True)
    made = Machine(base / "home", environment={"TMPDIR": str(temporary)})
    yield made
    made.remove()
    if not is_mounted(made.mountpoint):
        shutil.rmtree(base, ignore_errors=True)


def test_the_search_finds_what_is_there(home: Machine) -> None:
    """Every disguise, planted at any alignment, is noticed."""
    secret = MARKERS["name"].encode()
    hiding = [
        b"x" + secret,
        (b"ab" + secret).hex().encode(),
        base64.b64encode(b"12345" + secret + b"123"),
        base64.urlsafe_b64encode(b"1234" + secret + b"1"),
        base64.b32encode(b"123" + secret + b"77").lower(),
    ]
    for number, text in enumerate(hiding):
        (home.home / "file").write_bytes(os.urandom(1000) + text + b"\0" * 100)
        assert leaks(home, {"name": secret}), f"disguise {number} was not seen"
    (home.home / "file").unlink()
    (home.home / secret.decode()).touch()
    assert leaks(home, {"name": secret})


@pytest.mark.slow
def test_invariant_7_only_ciphertext_leaves_memory(home: Machine) -> None:
    said = home.run("init", "vault", "--wallet", f"keyfile:{home.key}", "--yes").stdout
    secrets = {kind: text.encode() for kind, text in MARKERS.items()}
    secrets["the wallet's seed"] = bytes(json.loads(home.key.read_text())[:32])
    words = recovery_words(said)
    assert words, f"no recovery words in what init said: {said!r}"
    secrets["the recovery words"] = words.encode()
    root = home.mount()
    plant(root)
    assert not leaks(home, secrets), "while mounted, just written"
    time.sleep(2)  # the kernel's and the daemon's own pace: checkpoints, sealing
    os.sync()
    assert (root / MARKERS["name"]).read_text() == MARKERS["tiny"]
    assert not leaks(home, secrets), "while mounted, settled"
    home.kill()
    assert not leaks(home, secrets), "after SIGKILL"
    home.mount()
    assert (root / MARKERS["directory"] / MARKERS["deep"] / "f").read_text().startswith(MARKERS["content"])
    home.run("status", "--json")
    home.run("who", str(root / MARKERS["name"]))
    assert not leaks(home, secrets), "after the replay"
    home.umount()
    assert not leaks(home, secrets), "unmounted"
    home.run("check", "--read-data")
    assert not leaks(home, secrets), "after check"


def recovery_words(said: str) -> str:
    """The words that init shows once, in a row."""
    rows = [row.split() for row in said.splitlines()]
    plain = [[word for word in row if word.isalpha() and word.islower()] for row in rows]
    longest = max(plain, key=len, default=[])
    return " ".join(longest[:6]) if len(longest) >= 6 else ""


@pytest.mark.slow
def test_files_are_the_owners_only(home: Machine) -> None:
    """No other user of the machine can read the store, the logs or reach the control socket."""
    home.init()
    home.mount()
    try:
        open_to_others = []
        for place in (home.home / ".local", home.home / ".config", home.home / ".cache", home.runtime):
            for base, directories, files in os.walk(place):
                if stat.S_IMODE(Path(base).stat().st_mode) & 0o077 == 0:
                    directories.clear()  # nobody else gets further
                    continue
                for name in files:
                    path = Path(base) / name
                    if stat.S_IMODE(path.lstat().st_mode) & 0o077:
                        open_to_others.append(str(path))
        assert not open_to_others
    finally:
        home.umount()


@pytest.mark.slow
def test_no_core_dump_and_no_tracing_by_others(home: Machine) -> None:
    """The keys are in the daemon's memory: it asks the kernel not to write that to a core file."""
    home.init()
    home.mount()
    try:
        limits = Path(f"/proc/{home.pid()}/limits").read_text()
        core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"]
    finally:
        home.umount()
