"""POSIX ACLs as the kernel stores them in extended attributes (linux/posix_acl_xattr.h). Pure functions."""

from __future__ import annotations

import errno
import os
import struct
from typing import NamedTuple

_VERSION = 2
_HEADER = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_MINIMAL = 3


class AclEntry(NamedTuple):
    """One line: its tag, the permissions (rwx as 4, 2, 1), and the user or group id."""

    tag: int
    permissions: int
    id: int


def parse(value: bytes) -> list[AclEntry]:
    """The entries. Raises `OSError` EINVAL, or ENOTSUP for another version."""
    if not value:
        return []
    if len(value) < _HEADER.size or (len(value) - _HEADER.size) % _ENTRY.size:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    if _HEADER.unpack_from(value)[0] != _VERSION:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    return [AclEntry(*fields) for fields in _ENTRY.iter_unpack(value[_HEADER.size :])]


def build(entries: list[AclEntry]) -> bytes:
    """The attribute's value."""
    return _HEADER.pack(_VERSION) + b"".join(_ENTRY.pack(*entry) for entry in entries)


def is_minimal(entries: list[AclEntry]) -> bool:
    """Whether the mode says it all."""
    return len(entries) <= _MINIMAL


def _group_tag(entries: list[AclEntry]) -> int:
    """The entry that the mode's group bits stand for: the mask where there is one."""
    return MASK if any(entry.tag == MASK for entry in entries) else GROUP_OBJ


def mode_of(entries: list[AclEntry], mode: int) -> int:
    """`mode` with the permission bits that the ACL gives."""
    shifts = {USER_OBJ: 6, _group_tag(entries): 3, OTHER: 0}
    for entry in entries:
        if entry.tag in shifts:
            shift = shifts[entry.tag]
            mode = mode & ~(7 << shift) | (entry.permissions & 7) << shift
    return mode


def with_mode(entries: list[AclEntry], mode: int) -> list[AclEntry]:
    """The ACL after chmod."""
    shifts = {USER_OBJ: 6, _group_tag(entries): 3, OTHER: 0}
    return [
        entry._replace(permissions=mode >> shifts[entry.tag] & 7) if entry.tag in shifts else entry for entry in entries
    ]


def inherited(default: list[AclEntry], mode: int) -> tuple[list[AclEntry], int]:
    """Access ACL and mode of a node created with `mode` below a directory with this default ACL."""
    shifts = {USER_OBJ: 6, _group_tag(default): 3, OTHER: 0}
    access = [
        entry._replace(permissions=entry.permissions & mode >> shifts[entry.tag]) if entry.tag in shifts else entry
        for entry in default
    ]
    return access, mode_of(access, mode)
