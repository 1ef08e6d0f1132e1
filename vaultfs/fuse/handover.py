"""Before a cut: the kernel hands over the pages that programs wrote and it has not sent yet."""

from __future__ import annotations

import errno
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from vaultfs.durable import write_out
from vaultfs.fuse import virtual
from vaultfs.fuse.threads import through_mount

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vaultfs.fuse.meaning import Meaning
    from vaultfs.fuse.notes import Notes

_log = logging.getLogger(__name__)


async def handover(operations: Meaning, mountpoint: str) -> None:
    """Return when all that was written before the call is in the tree, with the times the kernel keeps for it.

    Only files that somebody has open for writing can have such pages (a shared mapping keeps its file open; a close
    hands over by itself). A file that cannot be handed over does not stop the others: nobody was told that its pages
    are safe, and they come later.
    """
    inos = {handle.ino for handle in operations.tree.handles.writers()}
    if not inos:
        return
    closed: list[int] = []
    await through_mount(lambda: _hand_over(operations, mountpoint, inos, closed))
    await trio.to_thread.run_sync(_settle, operations.notes, inos, closed)


def _hand_over(operations: Meaning, mountpoint: str, inos: Iterable[int], closed: list[int]) -> None:
    """In a thread: the files one after the other, found by number, so a rename meanwhile does not matter.

    `closed` gets those that we have no permission to open.
    """
    hidden = b"/".join((os.fsencode(mountpoint), virtual.NAME, virtual.OPEN_NAME))
    with operations.own.entered():
        try:
            directory = os.open(hidden, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            closed.extend(inos)  # another mount is on top of ours
            return
        try:
            for ino in inos:
                try:
                    _one(directory, str(ino))
                except FileNotFoundError:
                    continue  # closed and gone
                except PermissionError:
                    closed.append(ino)
                except OSError as error:
                    _log.warning("the kernel did not hand over a file: %s", error.strerror)
        finally:
            os.close(directory)


def _one(directory: int, name: str) -> None:
    # Not to be kept waiting, should it be a FIFO; that has no pages.
    descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        write_out(descriptor, wait=True)
    except OSError as error:
        if error.errno != errno.ESPIPE:
            raise
    finally:
        # Sends the times as well, and waits for what a kernel before 6.16 no longer counts as being written.
        os.close(descriptor)


def _settle(kernel: Notes, inos: Iterable[int], closed: Iterable[int]) -> None:
    """In a thread that has the kernel's descriptor."""
    for ino in inos:
        # Else a file that loses its real names would stay, with all its bytes, for the one that it was found by.
        with suppress(OSError):
            kernel.entry(virtual.OPEN, b"%d" % ino)
    for ino in closed:
        # The dearer way, which needs no permission: before the kernel drops pages it writes the dirty ones.
        with suppress(FileNotFoundError):
            kernel.inode(ino)
