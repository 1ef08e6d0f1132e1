"""Extended attributes: those of vaultfs, sizes and flags, ACLs in step with the mode."""

from __future__ import annotations

import errno
import json
import os
import stat
import struct
from datetime import UTC, datetime, timedelta

import pytest

from tests.store.stores import DEVICE, DIRECTORY, FILE, StoreMaker, make_file
from vaultfs.tree import ROOT, acl
from vaultfs.tree.xattrs import ACCESS, DEFAULT, LAST_WRITER, SCOPE, VERSION, XATTR_CREATE, XATTR_REPLACE


def refused(number: int) -> object:
    return pytest.raises(OSError, match=os.strerror(number).replace("(", r"\("))


def test_last_writer_says_who_and_when(stores: StoreMaker) -> None:
    tree = stores.new()
    node = make_file(tree, b"f", b"x")
    told = json.loads(tree.xattrs.get(node.ino, LAST_WRITER))
    assert told["device"] == DEVICE.label
    assert told["deviceId"] == DEVICE.id.hex()
    when = datetime.fromisoformat(told["ts"][:26] + "+00:00")
    assert abs(datetime.now(UTC) - when) < timedelta(seconds=5)
    assert told["ts"].endswith("Z")


def test_every_change_but_reading_makes_a_writer(stores: StoreMaker) -> None:
    tree = stores.new()
    node = make_file(tree, b"f", b"x")
    for change in (
        lambda: tree.content.write(node.ino, 0, b"y"),
        lambda: tree.attributes.set(node.ino, mode=0o600),
        lambda: tree.attributes.set(node.ino, mtime=1),
        lambda: tree.attributes.set(node.ino, size=5),
        lambda: tree.xattrs.set(node.ino, b"user.a", b"1"),
    ):
        node.written = 0
        change()
        assert node.written > 0
    node.written = 0
    tree.attributes.set(node.ino, atime=1)
    assert node.written == 0


def test_what_vaultfs_writes_is_read_only(stores: StoreMaker) -> None:
    tree = stores.new()
    ino = make_file(tree, b"f").ino
    for name in (LAST_WRITER, VERSION, b"user.vaultfs.new"):
        with refused(errno.EPERM):
            tree.xattrs.set(ino, name, b"{}")
    before = tree.xattrs.get(ino, LAST_WRITER)
    tree.xattrs.remove(ino, LAST_WRITER)
    assert tree.xattrs.get(ino, LAST_WRITER) == before
    assert tree.xattrs.list(ino) == [LAST_WRITER, VERSION]
    with refused(errno.ENODATA):
        tree.xattrs.remove(ino, b"user.vaultfs.new")


def test_a_symlink_lists_nothing_that_cannot_be_read(stores: StoreMaker) -> None:
    tree = stores.new()
    link = tree.names.make(ROOT, b"link", stat.S_IFLNK | 0o777, 0, 0, target=b"elsewhere")
    assert tree.xattrs.list(link.ino) == []


def test_scope_is_set_inherited_and_taken_back(stores: StoreMaker) -> None:
    tree = stores.new()
    outer = tree.names.make(ROOT, b"logs", DIRECTORY, 0, 0)
    inner = tree.names.make(outer.ino, b"f", FILE, 0, 0)
    assert tree.xattrs.get(inner.ino, SCOPE) == b"vault"
    tree.xattrs.set(outer.ino, SCOPE, b"node")
    assert tree.xattrs.get(inner.ino, SCOPE) == b"node"
    tree.xattrs.set(inner.ino, SCOPE, b"vault")
    assert tree.xattrs.get(inner.ino, SCOPE) == b"vault"
    assert SCOPE in tree.xattrs.list(inner.ino)
    tree.xattrs.remove(inner.ino, SCOPE)
    assert tree.xattrs.get(inner.ino, SCOPE) == b"node"
    with refused(errno.EINVAL):
        tree.xattrs.set(outer.ino, SCOPE, b"everywhere")


def test_flags_and_limits(stores: StoreMaker) -> None:
    tree = stores.new()
    ino = make_file(tree, b"f").ino
    with refused(errno.ENODATA):
        tree.xattrs.set(ino, b"user.a", b"1", XATTR_REPLACE)
    tree.xattrs.set(ino, b"user.a", b"1", XATTR_CREATE)
    with refused(errno.EEXIST):
        tree.xattrs.set(ino, b"user.a", b"2", XATTR_CREATE)
    tree.xattrs.set(ino, b"user.a", b"2", XATTR_REPLACE)
    assert tree.xattrs.get(ino, b"user.a") == b"2"
    with refused(errno.E2BIG):
        tree.xattrs.set(ino, b"user.a", bytes(65537))
    with refused(errno.ERANGE):
        tree.xattrs.set(ino, b"user." + b"n" * 251, b"")
    with refused(errno.ENOTSUP):
        tree.xattrs.set(ino, b"other.a", b"")
    with refused(errno.EINVAL):
        tree.xattrs.set(ino, b"user.", b"")
    tree.xattrs.set(ino, b"user.big", bytes(65536))
    assert len(stores.crash(tree).xattrs.get(ino, b"user.big")) == 65536


def build(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY = 0xFFFFFFFF
FULL = build((1, 6, NOBODY), (2, 7, 1000), (4, 5, NOBODY), (0x10, 7, NOBODY), (0x20, 4, NOBODY))
SMALL = build((1, 7, NOBODY), (4, 5, NOBODY), (0x20, 1, NOBODY))


def test_an_acl_and_the_mode_stay_in_step(stores: StoreMaker) -> None:
    tree = stores.new()
    node = make_file(tree, b"f")
    tree.xattrs.set(node.ino, ACCESS, FULL)
    assert node.mode & 0o777 == 0o674
    tree.attributes.set(node.ino, mode=0o640)
    entries = {entry.tag: entry.permissions for entry in acl.parse(tree.xattrs.get(node.ino, ACCESS))}
    assert entries == {1: 6, 2: 7, 4: 5, 0x10: 4, 0x20: 0}
    tree.xattrs.set(node.ino, ACCESS, SMALL)
    assert node.mode & 0o777 == 0o751
    with refused(errno.ENODATA):
        tree.xattrs.get(node.ino, ACCESS)
    with refused(errno.EINVAL):
        tree.xattrs.set(node.ino, ACCESS, b"junk!")


def test_a_default_acl_is_inherited_and_counts_instead_of_the_umask(stores: StoreMaker) -> None:
    tree = stores.new()
    directory = tree.names.make(ROOT, b"d", DIRECTORY, 0, 0)
    tree.xattrs.set(directory.ino, DEFAULT, FULL)
    file = tree.names.make(directory.ino, b"f", FILE | 0o666, 0, 0, umask=0o077)
    assert file.mode & 0o777 == 0o664
    assert b"system.posix_acl_access" in tree.xattrs.list(file.ino)
    sub = tree.names.make(directory.ino, b"sub", DIRECTORY, 0, 0, umask=0o077)
    assert tree.xattrs.get(sub.ino, DEFAULT) == FULL
    plain = tree.names.make(ROOT, b"plain", FILE | 0o666, 0, 0, umask=0o077)
    assert plain.mode & 0o777 == 0o600
    assert stores.crash(tree).inode(file.ino).mode & 0o777 == 0o664
