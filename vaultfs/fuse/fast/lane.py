"""The loop of the fast lane: reads the kernel's descriptor, answers what it knows, passes the rest to pyfuse3.

It is a task of trio's in the thread of the tree, so nothing else touches the tree while a request is answered. It never
waits for one: what has to (a block that is on the remote, a slow disk, a full journal) goes on in a task of its own,
which answers later by the request's number.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import time
from functools import partial
from typing import TYPE_CHECKING

import trio
from pyfuse3 import FUSEError

from vaultfs.fuse.answering import as_errno, is_killed
from vaultfs.fuse.fast import wire
from vaultfs.fuse.fast.answers import Answers, Postponed
from vaultfs.fuse.fast.apart import Apart
from vaultfs.fuse.fast.wire import HEADER, OddRequestError, Op
from vaultfs.tree.incoming import NotHereError
from vaultfs.tree.rush import EVERY

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from vaultfs.fuse.fast.answers import Reply
    from vaultfs.fuse.fast.quick_wakes import QuickWakes
    from vaultfs.fuse.meaning import Meaning

_log = logging.getLogger(__name__)

# The kernel hands nothing to a reader that has no room for the largest WRITE and what goes before it, nor to one
# that has less than 8 KiB. Names and values of attributes, 64 KiB at most, need room, too.
HEAD_BYTES = 1 << 17
RELAY_BYTES = 1 << 18
# A program that works on files sends its next request some 20 µs after the last answer; putting the processor to sleep
# and waking it costs more than that. Nothing is looked for while nobody asks.
LOOK_NS = 60_000
QUICK_NS = 150_000
SLICE_NS = 4_000_000  # then others have their turn
_MOST = Op.MOST


class Device:
    """The kernel's descriptor, ours until `close`."""

    def __init__(self, number: int) -> None:
        self.number = number

    def close(self) -> None:
        """End the connection; once is enough."""
        number, self.number = self.number, -1
        if number >= 0:
            os.close(number)


class FastLane:
    """One mount's. `run` serves until the kernel lets go, or `stop` is called."""

    def __init__(
        self, meaning: Meaning, device: Device, relay: socket.socket, max_write: int, wakes: QuickWakes
    ) -> None:
        self.counts = [0] * Op.MOST  #: requests by opcode
        self.relayed = 0  #: of those, how many went to pyfuse3
        self._device = device
        self._relay = relay
        self._wakes = wakes
        self._meaning = meaning
        self._syncer = meaning.syncer
        self._answers = Answers(meaning)
        self._by_opcode, self._caller = self._answers.by_opcode, self._answers.caller
        self._buffer = bytearray(max_write + HEAD_BYTES)
        self._waiting: dict[int, tuple[int, trio.CancelScope]] = {}  # by unique: the thread that waits for it
        self._with_pyfuse3: set[int] = set()
        self._unsent: list[bytes] = []
        self._more = trio.Event()
        self._scope = trio.CancelScope()
        os.set_blocking(device.number, False)
        relay.setblocking(False)

    def requests(self) -> dict[str, int]:
        """How many requests of each kind came; those that only pyfuse3 knows by their number."""
        named = {wire.NAMES.get(opcode, str(opcode)): count for opcode, count in enumerate(self.counts) if count}
        return dict(sorted(named.items()))

    def stop(self) -> None:
        """Answer nothing any more."""
        self._scope.cancel()

    def close(self) -> None:
        """Let go of the kernel and of libfuse."""
        self._device.close()
        self._relay.close()
        self._wakes.close()

    async def run(self) -> None:
        """Until the mount is gone."""
        with self._scope:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._replies)
                self._nursery.start_soon(self._send_rest)
                await self._serve()
                self._answers.drop()
                self._nursery.cancel_scope.cancel()

    async def _serve(self) -> None:  # noqa: C901 - one loop, every turn of which is paid for by each request
        number, buffers, answer, wakes = self._device.number, [self._buffer], self._answer, self._wakes
        poll = select.poll()
        poll.register(number, select.POLLIN)
        ready, clock, read = poll.poll, time.perf_counter_ns, os.readv
        apart, rush, asked = Apart(), self._meaning.tree.state.rush, 0
        while True:
            self._answers.drop()  # before others have their turn
            slept = clock()
            await trio.lowlevel.wait_readable(number)
            now = wakes.last = clock()
            quick, turn, piled = now - slept < QUICK_NS, now + SLICE_NS, False
            while True:
                waited = not piled and not ready(0)
                if waited:
                    # Eagerly, if the last ones came quickly, and no task of ours has to go on for an answer.
                    busy = self._with_pyfuse3 or self._waiting
                    end = clock() + (LOOK_NS if quick and not busy else 0)
                    while not (found := ready(0)) and clock() < end:
                        pass
                    if not found:
                        break
                try:
                    size = read(number, buffers)
                except OSError as error:
                    if error.errno in {errno.ENODEV, errno.ECONNABORTED}:
                        return  # unmounted, or the kernel was told to give the connection up
                    if error.errno in {errno.EAGAIN, errno.ENOENT, errno.EINTR}:
                        piled = False
                        continue  # there is none; or it was withdrawn
                    raise
                if not size:
                    return
                piled = not waited  # where one lay ready, more may: not asked for, one costs less
                if wakes.available and wakes.due(quick=quick):
                    wakes.ask()
                    self._nursery.start_soon(wakes.end_when_quiet)
                quick = True
                asked += 1
                if asked == EVERY:
                    asked = 0
                    rush.look()
                    apart.look()
                answer(size)
                if (now := clock()) > turn:
                    wakes.last = now
                    self._answers.drop()  # before others have their turn
                    await trio.lowlevel.checkpoint()
                    turn = clock() + SLICE_NS

    def _answer(self, size: int) -> None:
        record = self._buffer
        if size < HEADER.size:
            _log.error("a request of %d bytes", size)  # and nothing that an answer could say whose it is
            return
        length, opcode, unique, node, uid, gid, pid = HEADER.unpack_from(record)
        known = opcode < _MOST
        self.counts[opcode if known else 0] += 1
        handler = self._by_opcode[opcode] if known else None
        if length != size:
            self._reply(opcode, wire.error(unique, errno.EINVAL))
            return
        if handler is None:
            if opcode == Op.INTERRUPT:
                self._interrupt(size)
            else:
                self._pass_on(unique, bytes(record[:size]))
            return
        caller = self._caller
        caller.uid, caller.gid, caller.pid = uid, gid, pid
        try:
            reply = handler(record, size, unique, node)
        except OSError as error:
            reply = wire.error(unique, error.errno or errno.EIO)
        except Exception as error:  # noqa: BLE001 - one bad request must not end the mount
            reply = self._failed(error, opcode, bytes(record[:size]))
        if reply is not None:
            self._reply(opcode, reply)
        rest = self._syncer.afterwards
        if rest is not None:  # what an fsync or a WRITE has left to do when the answer is out
            self._syncer.afterwards = None
            try:
                rest()
            except OSError as error:
                _log.error("the journal cannot be written: %s", os.strerror(error.errno or 0))

    def _failed(self, error: Exception, opcode: int, record: bytes) -> Reply | None:
        """The reply to a request that raised `error`; None: it comes later."""
        _, _, unique, _, _, _, pid = HEADER.unpack_from(record)
        name = wire.NAMES.get(opcode, "request")
        if isinstance(error, OddRequestError):
            return wire.error(unique, errno.EINVAL)
        if isinstance(error, NotHereError):
            again = partial(self._again, opcode, record)
            self._later(opcode, unique, pid, lambda: self._meaning.fetched.again(error, again, name, pid))
            return None
        if isinstance(error, Postponed):
            if error.wait is None:
                self._later(opcode, unique, pid, partial(self._synced, unique))
            else:
                self._later(opcode, unique, pid, partial(self._waited, error.wait, opcode, record))
            return None
        return wire.error(unique, as_errno(error, name).errno)

    def _again(self, opcode: int, record: bytes) -> Reply | None:
        """The same request once more; raises what the handler raises."""
        _, _, unique, node, uid, gid, pid = HEADER.unpack_from(record)
        caller, handler = self._answers.caller, self._answers.by_opcode[opcode]
        assert handler is not None  # noqa: S101 - it was called before
        caller.uid, caller.gid, caller.pid = uid, gid, pid
        return handler(record, len(record), unique, node)

    # -- later

    def _later(self, opcode: int, unique: int, pid: int, call: Callable[[], Awaitable[Reply | None]]) -> None:
        # At once, not when the task begins: its INTERRUPT may be the next request.
        scope = trio.CancelScope()
        self._waiting[unique] = pid, scope
        self._nursery.start_soon(self._finish, opcode, unique, scope, call)

    async def _finish(
        self, opcode: int, unique: int, scope: trio.CancelScope, call: Callable[[], Awaitable[Reply | None]]
    ) -> None:
        reply: Reply = wire.error(unique, errno.EINTR)
        with scope:
            try:
                found = await call()
            except FUSEError as error:
                found = wire.error(unique, error.errno)
            except Exception as error:  # noqa: BLE001 - one bad request must not end the mount
                found = wire.error(unique, as_errno(error, wire.NAMES.get(opcode, "request")).errno)
            finally:
                del self._waiting[unique]
            if found is None:
                return
            reply = found
        self._reply(opcode, reply)

    async def _waited(self, wait: Callable[[], Awaitable[None]], opcode: int, record: bytes) -> Reply | None:
        """A request that had to wait before it began."""
        _, _, _, _, _, _, pid = HEADER.unpack_from(record)
        await wait()
        again = partial(self._again, opcode, record)
        try:
            return again()
        except NotHereError as lack:
            return await self._meaning.fetched.again(lack, again, wire.NAMES[opcode], pid)

    async def _synced(self, unique: int) -> bytes:
        await self._syncer.sync()
        return wire.error(unique, 0)

    def _interrupt(self, size: int) -> None:
        """Somebody who waits got a signal. Who is killed need not wait on; all others do, as on any local disk."""
        if size < wire.BODY + wire.U64.size:
            return
        (unique,) = wire.U64.unpack_from(self._buffer, wire.BODY)
        if unique in self._waiting:
            pid, scope = self._waiting[unique]
            if is_killed(pid):
                scope.cancel()
        elif unique in self._with_pyfuse3:
            self._send(bytes(self._buffer[:size]))

    # -- to and from the kernel

    def _reply(self, opcode: int, reply: Reply) -> None:
        """Tell the kernel. If it no longer waits, what it was told is not so."""
        try:
            if isinstance(reply, list):
                os.writev(self._device.number, reply)
            else:
                os.write(self._device.number, reply)
        except OSError as error:
            self._not_taken(error, opcode, reply)

    def _not_taken(self, error: OSError, opcode: int, reply: Reply) -> None:
        if error.errno not in {errno.ENOENT, errno.ENODEV, errno.EBADF}:
            _log.error("the kernel did not take an answer: %s", os.strerror(error.errno or 0))
        self._answers.unsay(opcode, reply)

    def _pass_on(self, unique: int, record: bytes) -> None:
        self.relayed += 1
        self._with_pyfuse3.add(unique)
        self._send(record)

    def _send(self, record: bytes) -> None:
        """To libfuse, in order; what its socket has no room for goes when it has."""
        if not self._unsent:
            try:
                self._relay.send(record)
            except BlockingIOError:
                pass
            else:
                return
        self._unsent.append(record)
        self._more.set()

    async def _send_rest(self) -> None:
        while True:
            await self._more.wait()
            await trio.lowlevel.wait_writable(self._relay)
            while self._unsent:
                try:
                    self._relay.send(self._unsent[0])
                except BlockingIOError:
                    break
                del self._unsent[0]
            if not self._unsent:
                self._more = trio.Event()

    async def _replies(self) -> None:
        """What pyfuse3 says goes to the kernel as it is."""
        while True:
            await trio.lowlevel.wait_readable(self._relay)
            try:
                reply = self._relay.recv(RELAY_BYTES)
            except BlockingIOError:
                continue
            if not reply:
                return
            (unique,) = wire.U64.unpack_from(reply, wire.UNIQUE_AT)
            self._with_pyfuse3.discard(unique)
            try:
                os.write(self._device.number, reply)
            except OSError as error:
                if error.errno not in {errno.ENOENT, errno.ENODEV, errno.EBADF}:
                    _log.error("the kernel did not take an answer of pyfuse3's: %s", os.strerror(error.errno or 0))
