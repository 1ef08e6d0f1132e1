"""The system calls by which a checkout tells the kernel, and what the kernel is told to forget; all in threads."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from vaultfs.fuse import kernel, virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from vaultfs.fuse.notes import Notes
    from vaultfs.fuse.threads import OwnThreads

_log = logging.getLogger(__name__)


class Step(NamedTuple):
    """One name to change through the kernel: `token` comes there, None: it goes away."""

    parent: int
    name: bytes
    path: bytes
    token: bytes | None
    was_directory: bool
    exchange: bool  # a rename cannot put it there, as one of the two is a directory


class Note(NamedTuple):
    """What the kernel must forget: a name of a directory (`gone`: the inode that stood there), or an inode's pages."""

    parent: int
    name: bytes
    gone: int
    ino: int = 0


def tell(work: Sequence[Sequence[Step]], missed: list[Step], mountpoint: bytes, own: OwnThreads) -> None:
    """All steps, batch by batch, through the mount: for a thread of `through_mount`, which becomes one of our `own`.

    `missed` gets the steps that failed: the tree refused, which the loop knows, or the kernel, as when a directory is
    called otherwise by now. Raises `OSError` when none can be tried.
    """
    hidden = b"/".join((mountpoint, virtual.NAME, virtual.STAGING_NAME))
    with own.entered():
        staging = os.open(hidden, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for steps in work:
                if len(steps) > 1:
                    # So that the kernel knows what stands there before the first rename changes it all.
                    for step in steps:
                        with suppress(OSError):
                            os.lstat(step.path)
                for step in steps:
                    try:
                        _step(step, staging)
                    except OSError:
                        missed.append(step)
        finally:
            os.close(staging)


def _step(step: Step, staging: int) -> None:
    remove = os.rmdir if step.was_directory else os.unlink
    if step.token is None:
        remove(step.path)
    elif not step.exchange:
        os.rename(step.token, step.path, src_dir_fd=staging)
    else:
        kernel.exchange(step.token, step.path, staging)
        remove(step.token, dir_fd=staging)


def forget(kernel: Notes, notes: Iterable[Note]) -> None:
    """The kernel drops what it knows: in a thread, as it may have to wait for requests that we answer meanwhile."""
    parents = set()
    for note in notes:
        if note.ino:
            _forget(partial(kernel.inode, note.ino))
            continue
        parents.add(note.parent)
        if note.gone:
            with suppress(OSError):
                kernel.entry(note.parent, note.name, note.gone)  # who is in the directory notices
                continue
        _forget(partial(kernel.entry, note.parent, note.name))
    for parent in parents:
        # The list of names that it keeps, too, which it does not drop for a name that it never looked up.
        _forget(partial(kernel.inode, parent))


def _forget(call: Callable[[], None]) -> None:
    try:
        call()
    except FileNotFoundError:
        pass  # the kernel does not know it
    except OSError as error:
        _log.warning("the kernel did not forget a name: %s", error.strerror)
