"""Where a mount is, without touching it: whoever touches the mount of a stuck daemon waits with it."""

from __future__ import annotations

import os

from vaultfs.fuse import mount, mountinfo


def place_of(text: str) -> str:
    """The absolute path of the mount point `text`, links resolved; a mount of ours there is not touched."""
    parent, name = os.path.split(os.path.abspath(text))  # noqa: PTH100 - a Path would look
    path = os.path.join(os.path.realpath(parent), name)  # noqa: PTH118 - as above
    return path if has_mount(path) else mount.resolve(text)


def has_mount(path: str) -> bool:
    """Whether a mount of ours, alive or dead, is just at the resolved `path`."""
    return mountinfo.vault_at(path) is not None
