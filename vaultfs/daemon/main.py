"""The daemon of one mount: opens the store, serves the kernel and the control socket, and closes cleanly."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from vaultfs.daemon import server
from vaultfs.daemon.following import Following
from vaultfs.daemon.live import LiveStatus
from vaultfs.daemon.neighbors import Neighbors
from vaultfs.daemon.notify import keep_told, notify
from vaultfs.daemon.routes import Control
from vaultfs.errors import MountFailedError, VaultfsError
from vaultfs.tree import Device, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vaultfs.daemon.job import Job, Opened
    from vaultfs.fuse.operations import Operations
    from vaultfs.tree import Tree

log = logging.getLogger(__name__)


def run(opened: Opened, ready: Callable[[dict[str, object]], None]) -> int:
    """Mount and serve until unmounted. Returns 0; raises VaultfsError if it could not be mounted.

    `ready` is called with the status as plain values once the mount answers.
    """
    job, identity = opened.job, opened.identity
    opened.lock.record(job.holder)
    log.info("opening the store of vault %s", opened.keys.vault_id.hex()[:8])
    started = time.monotonic()
    device = Device(identity.id, identity.label)
    # Who follows a remote keeps what it fetches, though nobody can write through the mount.
    follows = bool(job.remote) and os.access(job.vault.store, os.W_OK)
    tree = open_store(job.vault.store, opened.keys, device, read_only=job.options.read_only and not follows)
    log.info("store open after %.3f s, %s", time.monotonic() - started, _summary(tree))
    try:
        left = trio.run(_serve, opened, tree, ready)
    except BaseExceptionGroup as group:
        raise _told(group, job) from group
    except Exception as error:
        raise _told(BaseExceptionGroup("", [error]), job) from error
    else:
        opened.lock.release(left)
        return 0
    finally:
        # Done by now if all went well. The lock goes with the process: its text then shows that all did not.
        tree.close()
        log.info("store closed")
        if job.pinned is not None:
            shutil.rmtree(job.vault.root, ignore_errors=True)


async def _serve(opened: Opened, tree: Tree, ready: Callable[[dict[str, object]], None]) -> str:
    """Returns what could not be published, in words."""
    from vaultfs.fuse.session import MountReport, serve  # noqa: PLC0415 - pyfuse3 is for the daemon only

    job = opened.job
    stop = trio.Event()
    following = Following(opened, tree)
    neighbors = Neighbors(opened, tree, following)
    status = LiveStatus(opened, tree, following, neighbors)

    report, hurry = MountReport(), trio.Event()

    async def beside(operations: Operations, mountpoint: str) -> None:
        status.mounted(report)
        log.info("mounted, %s %s", report.way, report.detail)
        nursery.start_soon(neighbors.run, operations)
        await following.beside(operations, mountpoint)
        notify(READY="1", STATUS=status.in_words())
        nursery.start_soon(keep_told, status.in_words)
        try:
            ready(status.facts())
        except BrokenPipeError:
            log.warning("the command that started this was ended: unmounting")
            stop.set()

    async def finish() -> None:
        status.where = "Unmounted"
        notify(STOPPING="1", STATUS=status.in_words())
        await following.finish()

    for dead in job.vault.sockets:  # the lock is ours: nobody listens on them
        with suppress(OSError):
            dead.unlink()
    socket = job.vault.sockets[0]
    listener = server.listen(socket)
    try:
        async with trio.open_nursery() as nursery:
            # Before anything is mounted: who is ended in the middle of that leaves a dead mount behind.
            await nursery.start(_signals, stop)
            nursery.start_soon(following.run)
            control = Control(opened, tree, status, following, neighbors, stop, hurry)
            nursery.start_soon(server.serve, listener, control.routes)
            await serve(
                tree,
                job.mountpoint,
                job.options,
                status=status.encode,
                ready=lambda: None,
                stop=stop,
                hurry=hurry,
                report=report,
                fetch=following.fetch,
                fetch_seconds=job.fetch_timeout,
                beside=beside,
                finish=finish,
            )
            log.info("unmounted")
            nursery.cancel_scope.cancel()
    finally:
        listener.close()
        socket.unlink(missing_ok=True)
    return following.left


def _summary(tree: Tree) -> str:
    start = tree.startup
    if start.clean:
        return "it was clean"
    return f"replayed {start.records} records, {start.bytes} bytes, dropped {start.dropped_bytes} bytes"


async def _signals(stop: trio.Event, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        task_status.started()
        async for number in received:
            log.info("signal %d: unmounting", number)
            stop.set()


def _told(group: BaseExceptionGroup[BaseException], job: Job) -> BaseException:
    """The one error a person should see, out of a group of trio's."""
    errors = list(_flat(group))
    for error in errors:
        if isinstance(error, VaultfsError):
            return error
    log.error("the mount failed", exc_info=group)
    reasons = [error.strerror for error in errors if isinstance(error, OSError) and error.strerror]
    detail = reasons[0] if reasons else type(errors[0]).__name__
    return MountFailedError(path=job.mountpoint, detail=detail, log=job.vault.log)


def _flat(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flat(error)
        else:
            yield error
