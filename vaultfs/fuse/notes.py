"""What the kernel is told to forget: through pyfuse3, or written to the descriptor ourselves where it is ours.

The calls raise `OSError`, ENOENT for what the kernel does not know. Unless `attributes_only`, they may wait for the
kernel, which may wait for an answer of ours: then they belong into a thread.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import pyfuse3

from vaultfs.fuse.fast import wire

if TYPE_CHECKING:
    from vaultfs.fuse.fast.lane import Device


class Notes(Protocol):
    """How the kernel is told."""

    def inode(self, ino: int, *, attributes_only: bool = False) -> None:
        """Forget the attributes of an inode, and its pages (or, of a directory, the names in it)."""

    def entry(self, parent: int, name: bytes, gone: int = 0) -> None:
        """Forget what a name stands for. `gone`: the inode that it stood for is gone, and who watches is told."""


class ByPyfuse3:
    """For a mount whose descriptor libfuse has."""

    def inode(self, ino: int, *, attributes_only: bool = False) -> None:
        """See `Notes`."""
        pyfuse3.invalidate_inode(ino, attr_only=attributes_only)

    def entry(self, parent: int, name: bytes, gone: int = 0) -> None:
        """See `Notes`."""
        pyfuse3.invalidate_entry(parent, name, gone)


class ByDevice:
    """For a mount whose descriptor is ours."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def inode(self, ino: int, *, attributes_only: bool = False) -> None:
        """See `Notes`."""
        os.write(self._device.number, wire.forget_inode(ino, attributes_only=attributes_only))

    def entry(self, parent: int, name: bytes, gone: int = 0) -> None:
        """See `Notes`."""
        os.write(self._device.number, wire.forget_entry(parent, name, gone))
