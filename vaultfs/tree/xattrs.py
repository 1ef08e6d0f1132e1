"""Extended attributes, those of vaultfs itself among them."""

from __future__ import annotations

import errno
import json
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vaultfs.tree import acl
from vaultfs.tree.inode import Flag, Inode, Scope
from vaultfs.tree.statements import error
from vaultfs.tree.whereabouts import scope_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultfs.tree.state import Device, State

XATTR_CREATE = 1
XATTR_REPLACE = 2
NAME_MAX = 255
SIZE_MAX = 65536
TOTAL_MAX = 65536

PREFIX = b"user.vaultfs."
LAST_WRITER = PREFIX + b"lastWriter"
VERSION = PREFIX + b"version"
SCOPE = PREFIX + b"scope"
ACCESS = b"system.posix_acl_access"
DEFAULT = b"system.posix_acl_default"
CAPABILITY = b"security.capability"
_NAMESPACES = (b"user.", b"security.", b"trusted.", ACCESS, DEFAULT)
FLAGS = {CAPABILITY: Flag.CAPABILITY, ACCESS: Flag.ACL, DEFAULT: Flag.DEFAULT_ACL}
SCOPES = {b"vault": Scope.VAULT, b"node": Scope.NODE}


class Xattrs:
    """Get, set, list and remove. All raise `OSError`."""

    def __init__(self, state: State, device: Callable[[int], Device]) -> None:
        self._state = state
        self._device = device
        self._own: dict[bytes, Callable[[Inode], bytes]] = {
            LAST_WRITER: self._last_writer,
            VERSION: self._version,
            SCOPE: lambda node: scope_of(state, node).name.lower().encode(),
        }

    def _last_writer(self, node: Inode) -> bytes:
        device = self._device(node.writer)
        seconds, rest = divmod(node.written, 1_000_000_000)
        moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        value = {"device": device.label, "deviceId": device.id.hex(), "ts": f"{moment}.{rest:09d}Z"}
        return json.dumps(value, ensure_ascii=False).encode()

    def _version(self, node: Inode) -> bytes:
        return json.dumps({"deviceId": self._device(node.writer).id.hex(), "counter": node.counter}).encode()

    def get(self, ino: int, name: bytes) -> bytes:
        """The value. ENODATA where there is none."""
        value = self.find(ino, name)
        if value is None:
            raise error(errno.ENODATA)
        return value

    def find(self, ino: int, name: bytes) -> bytes | None:
        """The value; None where there is none, as the kernel asks each new file for one."""
        node = self._state.inode(ino)
        own = self._own.get(name)
        if own is not None:
            return own(node)
        if node.flags & FLAGS.get(name, Flag.XATTRS):
            value = self._state.one("SELECT value FROM xattr WHERE ino=? AND name=?", ino, name)
            if value is not None:
                return bytes(value)
        return None

    def list(self, ino: int) -> list[bytes]:
        """The names."""
        node = self._state.inode(ino)
        # The kernel refuses `user.*` of anything else, so that a program that reads what is listed would fail.
        names = [LAST_WRITER, VERSION] if stat.S_ISREG(node.mode) or node.is_dir else []
        if node.scope != Scope.INHERIT:
            names.append(SCOPE)
        if node.flags:
            names += [row[0] for row in self._state.all("SELECT name FROM xattr WHERE ino=?", ino)]
        return names

    def set(self, ino: int, name: bytes, value: bytes, flags: int = 0) -> None:
        """Sets the value, by `flags` only if it is new (EEXIST) or only if it is there (ENODATA).

        EPERM for what vaultfs alone writes, ENOTSUP for other name spaces, ERANGE, E2BIG and ENOSPC for sizes.
        """
        state = self._state
        node = state.inode(ino)
        if name.startswith(PREFIX):
            self._set_own(node, name, value)
            return
        self._check(node, name, value)
        exists = self._exists(node, name)
        if flags & XATTR_CREATE and exists:
            raise error(errno.EEXIST)
        if flags & XATTR_REPLACE and not exists:
            raise error(errno.ENODATA)
        mode = None
        if name in (ACCESS, DEFAULT):
            entries = acl.parse(value)
            if name == ACCESS:
                mode = acl.mode_of(entries, node.mode)
        now = state.begin(len(name) + len(value))
        if mode is not None:
            node.mode = mode
        if (name == ACCESS and acl.is_minimal(entries)) or (name in (ACCESS, DEFAULT) and not entries):
            # Three entries say no more than the mode does, as on ext4.
            state.drop_xattr(ino, name)
            node.flags &= ~FLAGS[name]
        else:
            state.put_xattr(ino, name, value)
            node.flags |= Flag.XATTRS | FLAGS.get(name, 0)
        node.ctime = now
        state.stamp(node, now)
        state.end()

    def _exists(self, node: Inode, name: bytes) -> bool:
        if not node.flags:
            return False
        return self._state.one("SELECT 1 FROM xattr WHERE ino=? AND name=?", node.ino, name) is not None

    def _check(self, node: Inode, name: bytes, value: bytes) -> None:
        if not name.startswith(_NAMESPACES):
            raise error(errno.ENOTSUP)
        if name.endswith(b".") and name.count(b".") == 1:
            raise error(errno.EINVAL)
        if len(name) > NAME_MAX:
            raise error(errno.ERANGE)
        if len(value) > SIZE_MAX:
            raise error(errno.E2BIG)
        used = self._state.one(
            "SELECT total(length(name) + length(value)) FROM xattr WHERE ino=? AND name<>?", node.ino, name
        )
        names = self._state.one("SELECT total(length(name) + 1) FROM xattr WHERE ino=?", node.ino)
        own = sum(len(own) + 1 for own in self._own)
        if used + len(name) + len(value) > 4 * TOTAL_MAX or names + len(name) + 1 + own > TOTAL_MAX:
            # listxattr(2) could not show more than 64 KiB of names.
            raise error(errno.ENOSPC)

    def _set_own(self, node: Inode, name: bytes, value: bytes) -> None:
        if name != SCOPE:
            raise error(errno.EPERM)
        if value not in SCOPES:
            raise error(errno.EINVAL)
        now = self._state.begin()
        node.scope = SCOPES[value]
        node.ctime = now
        self._state.stamp(node, now)
        self._state.end()

    def remove(self, ino: int, name: bytes) -> None:
        """Removes the attribute. ENODATA where there is none.

        Removing what vaultfs alone writes succeeds and does nothing: `rsync -X` removes every attribute that its
        source has not, and should not fail for it. Removing the scope makes it inherited again.
        """
        state = self._state
        node = state.inode(ino)
        if name in self._own and (name != SCOPE or node.scope == Scope.INHERIT):
            return
        if name != SCOPE and not self._exists(node, name):
            raise error(errno.ENODATA)
        now = state.begin(grows=False)
        if name == SCOPE:
            node.scope = Scope.INHERIT
        else:
            state.drop_xattr(ino, name)
            node.flags &= ~FLAGS.get(name, 0)
        node.ctime = now
        state.stamp(node, now)
        state.end()

    def mode_changed(self, node: Inode) -> None:
        """chmod: keeps an access ACL in step, inside a change already begun."""
        if node.flags & Flag.ACL:
            value = self._state.one("SELECT value FROM xattr WHERE ino=? AND name=?", node.ino, ACCESS)
            if value is not None:
                self._state.put_xattr(node.ino, ACCESS, acl.build(acl.with_mode(acl.parse(value), node.mode)))

    def inherit(self, node: Inode, parent: Inode) -> None:
        """Gives a new node the ACLs of its directory's default ACL, inside a change already begun."""
        value = self.get(parent.ino, DEFAULT)
        access, node.mode = acl.inherited(acl.parse(value), node.mode)
        if not acl.is_minimal(access):
            self._state.put_xattr(node.ino, ACCESS, acl.build(access))
            node.flags |= Flag.XATTRS | Flag.ACL
        if node.is_dir:
            self._state.put_xattr(node.ino, DEFAULT, value)
            node.flags |= Flag.XATTRS | Flag.DEFAULT_ACL
