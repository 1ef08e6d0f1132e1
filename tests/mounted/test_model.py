"""The mount against a plain directory: the same operations on both, and every answer the same.

Hypothesis chooses and shrinks the histories. On vaultfs they also contain remounts, and SIGKILL of the daemon
right after an fsync of whatever is open and of the root directory: nothing may have changed by that.
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.support.posix import renameat2
from tests.support.twin import Side, attributes, map_read, map_write, outcome, own_xattrs, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.mounted.conftest import Target

OLD = 10**18
NAME = st.sampled_from(["a", "b", "c", "é", "n" * 255])
PATH = st.lists(NAME, min_size=1, max_size=3).map(tuple)
MODE = st.sampled_from([0o644, 0o755, 0o600, 0o400, 0o1777, 0o2755, 0o4711])
SIZE = st.one_of(st.integers(0, 10_000), st.sampled_from([4095, 4096, 4097, 65_535, 65_536, 65_537, 262_144]))
OFFSET = st.one_of(SIZE, st.integers(0, 700_000))
DATA = st.tuples(SIZE, st.integers(0, 255)).map(lambda pair: bytes([pair[1]]) * pair[0])
XATTR = st.sampled_from(["user.a", "user.b", "user.long" + "x" * 200, "user.nö"])
VALUE = st.binary(max_size=60)
SLOT = st.integers(0, 3)
BASE_FLAGS = st.sampled_from([os.O_RDONLY, os.O_WRONLY, os.O_RDWR])
EXTRA_FLAGS = st.sets(st.sampled_from([os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND, os.O_NOFOLLOW]))
FLAGS = st.builds(lambda base, extra: base | sum(extra), BASE_FLAGS, EXTRA_FLAGS)


class Model(RuleBasedStateMachine):
    """Two sides, four slots for open handles."""

    target: Target
    plain: Path

    def __init__(self) -> None:
        super().__init__()
        self.subject = Side(tempfile.mkdtemp(prefix="model.", dir=self.target.root))
        self.model = Side(tempfile.mkdtemp(prefix="model.", dir=self.plain))

    def both(self, call: Callable[[Side], object]) -> None:
        """Do it on both sides; the outcomes must be equal."""
        expected = outcome(call, self.model)
        found = outcome(call, self.subject)
        assert found == expected, f"here {found!r:.300}, on ext4 {expected!r:.300}"

    # names

    @rule(path=PATH, mode=MODE)
    def mkdir(self, path: tuple[str, ...], mode: int) -> None:
        self.both(lambda side: os.mkdir(side.path(path), mode))

    @rule(path=PATH)
    def rmdir(self, path: tuple[str, ...]) -> None:
        self.both(lambda side: os.rmdir(side.path(path)))

    @rule(path=PATH)
    def unlink(self, path: tuple[str, ...]) -> None:
        self.both(lambda side: os.unlink(side.path(path)))

    @rule(old=PATH, new=PATH, flags=st.sampled_from([0, 0, 0, 1, 2]))
    def rename(self, old: tuple[str, ...], new: tuple[str, ...], flags: int) -> None:
        self.both(lambda side: renameat2(side.path(old), side.path(new), flags))

    @rule(old=PATH, new=PATH, flags=st.sampled_from([0, 0, 0, 1, 2]), data=DATA)
    def write_then_rename(self, old: tuple[str, ...], new: tuple[str, ...], flags: int, data: bytes) -> None:
        self.write_file(old, data, sync=False)
        self.rename(old, new, flags)

    @rule(old=PATH, new=PATH)
    def link(self, old: tuple[str, ...], new: tuple[str, ...]) -> None:
        self.both(lambda side: os.link(side.path(old), side.path(new), follow_symlinks=False))

    @rule(
        path=PATH,
        content=st.one_of(PATH.map("/".join), st.sampled_from([".", "..", "../a", "nowhere", "x" * 254, "é" * 100])),
    )
    def symlink(self, path: tuple[str, ...], content: str) -> None:
        self.both(lambda side: os.symlink(content, side.path(path)))

    @rule(path=PATH)
    def readlink(self, path: tuple[str, ...]) -> None:
        self.both(lambda side: os.readlink(side.path(path)))

    @rule(path=PATH, mode=MODE)
    def mkfifo(self, path: tuple[str, ...], mode: int) -> None:
        self.both(lambda side: os.mkfifo(side.path(path), mode))

    @rule(path=PATH)
    def listdir(self, path: tuple[str, ...]) -> None:
        self.both(lambda side: sorted(os.listdir(side.path(path))))

    # attributes

    @rule(path=PATH)
    def stat(self, path: tuple[str, ...]) -> None:
        self.both(lambda side: attributes(os.lstat(side.path(path))))
        self.both(lambda side: attributes(os.stat(side.path(path))))

    @rule(path=PATH, mode=MODE)
    def chmod(self, path: tuple[str, ...], mode: int) -> None:
        # A link to `..` may lead out, where an ordinary user would lock the door behind all that come later.
        if os.path.realpath(self.model.path(path)).startswith(self.model.root):
            self.both(lambda side: os.chmod(side.path(path), mode))

    @rule(path=PATH, moment=st.integers(0, 10**9), follow=st.booleans())
    def utime(self, path: tuple[str, ...], moment: int, *, follow: bool) -> None:
        times = (OLD + moment, OLD - moment)
        self.both(lambda side: os.utime(side.path(path), ns=times, follow_symlinks=follow))

    @rule(path=PATH, name=XATTR, value=VALUE, flags=st.sampled_from([0, 0, os.XATTR_CREATE, os.XATTR_REPLACE]))
    def setxattr(self, path: tuple[str, ...], name: str, value: bytes, flags: int) -> None:
        self.both(lambda side: os.setxattr(side.path(path), name, value, flags))

    @rule(path=PATH, name=XATTR)
    def removexattr(self, path: tuple[str, ...], name: str) -> None:
        self.both(lambda side: os.removexattr(side.path(path), name))

    @rule(path=PATH)
    def xattrs(self, path: tuple[str, ...]) -> None:
        self.both(lambda side: own_xattrs(side.path(path)))

    # whole files

    @rule(path=PATH, data=DATA, sync=st.booleans())
    def write_file(self, path: tuple[str, ...], data: bytes, *, sync: bool) -> None:
        def call(side: Side) -> int:
            fd = os.open(side.path(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o644)
            try:
                done = os.write(fd, data)
                if sync:
                    os.fsync(fd)
            finally:
                os.close(fd)
            return done

        self.both(call)

    @rule(path=PATH)
    def read_file(self, path: tuple[str, ...]) -> None:
        def call(side: Side) -> bytes:
            fd = os.open(side.path(path), os.O_RDONLY | os.O_NONBLOCK)
            try:
                return os.read(fd, 1 << 21)
            finally:
                os.close(fd)

        self.both(call)

    @rule(path=PATH, size=OFFSET)
    def truncate(self, path: tuple[str, ...], size: int) -> None:
        self.both(lambda side: os.truncate(side.path(path), size))

    # open handles, kept across everything else

    @rule(slot=SLOT, path=PATH, flags=FLAGS)
    def open(self, slot: int, path: tuple[str, ...], flags: int) -> None:
        if flags & os.O_EXCL and not flags & os.O_CREAT:
            flags &= ~os.O_EXCL  # undefined by POSIX

        def call(side: Side) -> None:
            fd = os.open(side.path(path), flags | os.O_NONBLOCK, 0o644)
            if slot in side.handles:
                os.close(side.handles.pop(slot))
            side.handles[slot] = fd

        self.both(call)

    def handle(self, slot: int, call: Callable[[int], object]) -> None:
        """A call on an open handle; nothing where the slot is empty."""
        if slot in self.model.handles:
            self.both(lambda side: call(side.handles[slot]))

    @rule(slot=SLOT, data=DATA, offset=OFFSET)
    def pwrite(self, slot: int, data: bytes, offset: int) -> None:
        self.handle(slot, lambda fd: os.pwrite(fd, data, offset))

    @rule(slot=SLOT, data=DATA)
    def write(self, slot: int, data: bytes) -> None:
        self.handle(slot, lambda fd: os.write(fd, data))

    @rule(slot=SLOT, size=SIZE, offset=OFFSET)
    def pread(self, slot: int, size: int, offset: int) -> None:
        self.handle(slot, lambda fd: os.pread(fd, size, offset))

    @rule(slot=SLOT, size=OFFSET)
    def ftruncate(self, slot: int, size: int) -> None:
        self.handle(slot, lambda fd: os.ftruncate(fd, size))

    @rule(slot=SLOT)
    def fstat(self, slot: int) -> None:
        self.handle(slot, lambda fd: attributes(os.fstat(fd)))

    @rule(slot=SLOT, mode=MODE)
    def fchmod(self, slot: int, mode: int) -> None:
        self.handle(slot, lambda fd: os.fchmod(fd, mode))

    @rule(slot=SLOT)
    def fsync(self, slot: int) -> None:
        self.handle(slot, os.fsync)

    @rule(slot=SLOT)
    def seek_end(self, slot: int) -> None:
        self.handle(slot, lambda fd: os.lseek(fd, 0, os.SEEK_END))

    @rule(slot=SLOT, offset=OFFSET, data=DATA)
    def mmap_write(self, slot: int, offset: int, data: bytes) -> None:
        self.handle(slot, lambda fd: map_write(fd, offset, data))

    @rule(slot=SLOT)
    def mmap_read(self, slot: int) -> None:
        self.handle(slot, map_read)

    @rule(slot=SLOT)
    def close(self, slot: int) -> None:
        if slot in self.model.handles:
            self.both(lambda side: os.close(side.handles.pop(slot)))

    # the whole, and what only vaultfs goes through

    @rule()
    def compare(self) -> None:
        # entry by entry, so that a difference is readable
        expected, found = snapshot(self.model.root), snapshot(self.subject.root)
        assert sorted(found) == sorted(expected)
        for path, entry in expected.items():
            assert found[path] == entry, path

    @precondition(lambda self: self.target.is_vaultfs)
    @rule(chance=st.integers(0, 11))
    def remount(self, chance: int) -> None:
        if chance != 5:  # seconds each: now and then is enough
            return
        assert self.target.machine is not None
        self.subject.close_all()
        self.model.close_all()
        self.target.machine.umount()
        self.target.machine.mount()
        self.compare()

    @precondition(lambda self: self.target.is_vaultfs)
    @rule(chance=st.integers(0, 11))
    def kill_and_remount(self, chance: int) -> None:
        if chance != 5:
            return
        assert self.target.machine is not None
        for fd in self.subject.handles.values():
            os.fsync(fd)
        root = os.open(self.subject.root, os.O_RDONLY)
        os.fsync(root)
        os.close(root)
        self.target.machine.kill()
        self.subject.close_all()
        self.model.close_all()
        self.target.machine.mount()
        self.compare()

    def teardown(self) -> None:
        self.subject.close_all()
        self.model.close_all()
        self.compare()


@pytest.mark.timeout(900)
def test_the_mount_behaves_like_a_plain_directory(
    target: Target, outside: Path, request: pytest.FixtureRequest
) -> None:
    examples = request.config.getoption("--model-examples")
    machine = type("Machine", (Model,), {"target": target, "plain": outside})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples or 100,
            stateful_step_count=60,
            derandomize=examples is None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
