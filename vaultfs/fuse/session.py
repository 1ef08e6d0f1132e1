"""One mount from attaching to letting go: handshake, serving, housekeeping, unmount, closing the tree."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pyfuse3
import trio

from vaultfs.errors import BusyError, MountFailedError, NotMountedError, VaultfsError
from vaultfs.fuse import handshake, huge_pages, kernel, mount, mountinfo, protocol
from vaultfs.fuse.answering import FETCH_SECONDS
from vaultfs.fuse.eager import EagerWait
from vaultfs.fuse.fast.lane import Device, FastLane
from vaultfs.fuse.fast.quick_wakes import QuickWakes
from vaultfs.fuse.notes import ByDevice
from vaultfs.fuse.operations import Operations
from vaultfs.fuse.options import BOTH
from vaultfs.fuse.threads import through_mount

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from vaultfs.fuse.options import MountOptions
    from vaultfs.tree import Tree
    from vaultfs.tree.incoming import NotHereError

_log = logging.getLogger(__name__)

UNMOUNT_SECONDS = 10.0
READY_SECONDS = 30.0
_RETRY_SECONDS = 0.2
_QUIET_SECONDS = 0.3
_WAKE_SECONDS = 1.0
# A thread beside the loop may hold the interpreter for this long before a request gets its turn.
_SWITCH_SECONDS = 0.0005
_GARBAGE_AFTER = 20_000
# Requests are answered one after the other; more tasks are for those that wait for the disk or the network. Idle ones
# end by themselves.
_MIN_TASKS, _MAX_TASKS = 4, 1024


@dataclass(slots=True)
class MountReport:
    """For `status`: how the mount came about."""

    mountpoint: str = ""
    way: str = ""  # "handshake" or "plain"
    detail: str = ""  # why not the handshake
    protocol: str = ""
    lane: FastLane | None = None  # None: pyfuse3 answers everything
    quick_wakes: str = ""  # "yes", or why not
    missing: list[str] = field(default_factory=list)  # what the kernel does not offer
    notes: list[str] = field(default_factory=list)


async def serve(
    tree: Tree,
    mountpoint: str | os.PathLike[str],
    options: MountOptions,
    *,
    status: Callable[[], bytes],
    ready: Callable[[], None],
    stop: trio.Event,
    hurry: trio.Event | None = None,
    report: MountReport | None = None,
    fetch: Callable[[NotHereError], Awaitable[None]] | None = None,
    fetch_seconds: float = FETCH_SECONDS,
    beside: Callable[[Operations, str], Awaitable[None]] | None = None,
    finish: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Mount the tree and answer until it is unmounted or `stop` is set; then close the tree.

    `ready` is called once the mount answers. When `stop` is set, what is open has UNMOUNT_SECONDS to be closed (no
    time at all when `hurry` is set, too); then the mount is taken away. `fetch` brings what a request needs and is not
    on this machine (it raises OSError where it cannot); a request waits for `fetch_seconds` at most. `beside` runs
    from when the mount answers until it is gone, with the operations and the resolved mount point: what makes
    commits (`handover`) and checkouts (`Presenter`). `finish` runs when the mount is gone and before the tree is
    closed. Raises errors of vaultfs.errors:
    MountPointError, MountPointNotEmptyError, NoFuseError, UsageError, MountFailedError. The tree is closed in every
    case.
    """
    report = MountReport() if report is None else report
    place = report.mountpoint = mount.resolve(mountpoint)
    try:
        sys.setswitchinterval(_SWITCH_SECONDS)
        # What is loaded by now stays, and requests leave no cycles behind: looking for some after each few hundred
        # objects takes 2 % of the processor, and up to milliseconds at a time (docs/performance.md).
        gc.freeze()
        gc.set_threshold(_GARBAGE_AFTER, 20, 20)
        huge_pages.take()
        with suppress(OSError):
            # libfuse reads by splice where its pipe may grow, which a socket refuses (docs/design.md).
            kernel.drop_capability(kernel.CAP_SYS_RESOURCE)
        report.notes += mount.check_mountpoint(place)
        operations = Operations(
            tree, status, permissions=options.permissions,
            read_only=options.read_only, fetch=fetch, fetch_seconds=fetch_seconds,
        )  # fmt: skip
        await _attach(operations, place, options, report)
        await _run(operations, place, ready, stop, trio.Event() if hurry is None else hurry, beside, report.lane)
        if finish is not None:
            await finish()
    finally:
        tree.close()


async def _attach(operations: Operations, place: str, options: MountOptions, report: MountReport) -> None:
    """Mount with the handshake, else the plain way; afterwards pyfuse3.main can run."""
    if options.handshake:
        device = mount.attach(place, options)
        try:
            agreement = await handshake.negotiate(device, operations, keep=options.lane == BOTH)
            _agreed(agreement, operations, options, report)
        except handshake.HandshakeError as error:
            report.detail = str(error)
            _log.warning("mounting the plain way: %s", error)
            with suppress(VaultfsError):
                mount.detach(place, lazy=True)
        except BaseException:
            with suppress(VaultfsError):
                mount.detach(place, lazy=True)
            raise
        else:
            return
    else:
        report.detail = "switched off"
    report.way = "plain"
    try:
        pyfuse3.init(operations, place, mount.plain_words(options))
    except RuntimeError as error:
        raise MountFailedError(path=place, detail=str(error), log="the daemon's") from error


def _agreed(agreement: handshake.Agreement, operations: Operations, options: MountOptions, report: MountReport) -> None:
    """The handshake is done: who answers the kernel now."""
    report.way = "handshake" if agreement.killpriv else "plain"
    report.detail = "" if agreement.killpriv else "the kernel does not offer HANDLE_KILLPRIV_V2"
    report.protocol = f"{protocol.MAJOR}.{agreement.minor}"
    report.missing = protocol.missing(agreement.offered)
    if agreement.relay is None:
        trio.lowlevel.add_instrument(EagerWait(agreement.descriptor))
        return
    kept = Device(agreement.descriptor)
    operations.notes = ByDevice(kept)
    wakes = QuickWakes(wanted=options.quick_wakes)
    report.quick_wakes = wakes.lack or "yes"
    report.lane = FastLane(operations, kept, agreement.relay, agreement.max_write, wakes)


async def _run(
    operations: Operations,
    place: str,
    ready: Callable[[], None],
    stop: trio.Event,
    hurry: trio.Event,
    beside: Callable[[Operations, str], Awaitable[None]] | None,
    lane: FastLane | None,
) -> None:
    """Serve until the kernel says the mount is gone, or `stop` and then it is gone."""
    try:
        with nullcontext() if lane is not None else _wake_ups():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_answer, nursery, lane)
                nursery.start_soon(_read_ahead, operations.tree)
                nursery.start_soon(operations.housekeeping.run)
                nursery.start_soon(_announce, place, ready, operations, beside)
                await stop.wait()
                nursery.start_soon(_let_go, operations, place, hurry, lane)
    except* VaultfsError as group:
        raise _first(group) from None
    except* (OSError, RuntimeError) as group:
        raise MountFailedError(path=place, detail=str(_first(group)), log="the daemon's") from group
    finally:
        operations.syncer.close()
        if lane is not None:
            lane.close()
        pyfuse3.close(unmount=False)
        if mountinfo.vault_at(place) is not None:
            with suppress(VaultfsError):
                mount.detach(place, lazy=True)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _answer(nursery: trio.Nursery, lane: FastLane | None) -> None:
    """The serving loop; when it ends, the mount is gone, and everything beside it ends too."""
    if lane is None:
        await pyfuse3.main(_MIN_TASKS, _MAX_TASKS)
    else:
        nursery.start_soon(pyfuse3.main, _MIN_TASKS, _MAX_TASKS)
        await lane.run()
    nursery.cancel_scope.cancel()


async def _read_ahead(tree: Tree) -> None:
    await trio.to_thread.run_sync(tree.read_ahead, abandon_on_cancel=True)


@contextmanager
def _wake_ups() -> Iterator[None]:
    """A signal every second.

    pyfuse3 reads the device without O_NONBLOCK and with the GIL held. Should the one request it was woken for be
    withdrawn in that instant, the read would hold up everything else until the next request comes; the signal
    ends it after a second at most.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signals up
        return
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, _WAKE_SECONDS, _WAKE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


async def _announce(
    place: str,
    ready: Callable[[], None],
    operations: Operations,
    beside: Callable[[Operations, str], Awaitable[None]] | None,
) -> None:
    """Call `ready` when the mount has answered us, then run what goes on beside it."""

    def ask() -> None:
        os.stat(place)  # noqa: PTH116
        os.statvfs(place)  # never answered from a cache

    try:
        with trio.fail_after(READY_SECONDS):
            await through_mount(ask)
    except (OSError, trio.TooSlowError) as error:
        raise MountFailedError(path=place, detail=f"it does not answer ({error})", log="the daemon's") from error
    ready()
    if beside is not None:
        await beside(operations, place)


async def _let_go(operations: Operations, place: str, hurry: trio.Event, lane: FastLane | None) -> None:
    """Unmount, with patience for what is open; the serving loop goes on until the kernel lets go."""
    with trio.move_on_after(UNMOUNT_SECONDS):
        while True:
            try:
                await through_mount(partial(mount.detach, place))
            except BusyError:
                if hurry.is_set():
                    break
                await trio.sleep(_RETRY_SECONDS)
            except NotMountedError:
                break  # somebody took it out of sight already; who has files open still has them
            else:
                return
    _log.warning("files are still open; the mount is taken away from them")
    with trio.move_on_after(UNMOUNT_SECONDS), suppress(OSError):
        # The kernel sends its dirty pages, but does not wait for them on a FUSE mount: wait until it is quiet.
        await through_mount(partial(kernel.sync_filesystem, place))
        seen = -1
        while seen != operations.changes:
            seen = operations.changes
            await trio.sleep(_QUIET_SECONDS)
    with suppress(VaultfsError):
        await through_mount(partial(mount.detach, place, lazy=True))
    # Closing the descriptor then ends the connection for those who still have files open.
    if lane is None:
        pyfuse3.terminate()
    else:
        lane.stop()
