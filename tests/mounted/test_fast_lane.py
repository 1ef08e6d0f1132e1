"""The fast lane, with the test in the kernel's place: odd records, late answers, signals, what pyfuse3 gets."""

from __future__ import annotations

import errno
import os
import random
import struct

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from tests.support.lane import ROOT, Kernel, kernel, record
from vaultfs.fuse.fast import wire
from vaultfs.fuse.fast.wire import OddRequestError, Op
from vaultfs.fuse.meaning import VIRTUAL
from vaultfs.tree.check import check_tree
from vaultfs.tree.incoming import NotHereError

OPCODES = [number for number in wire.NAMES if number != Op.INTERRUPT]
UNANSWERED = {Op.FORGET, Op.BATCH_FORGET}
CREATE = struct.pack("=IIII", os.O_RDWR | os.O_CREAT, 0o100644, 0o022, 0)
EXPECTED = {
    0, errno.EINVAL, errno.ENOENT, errno.ESTALE, errno.EBADF, errno.ENOSYS, errno.ENOTTY, errno.ENODATA, errno.EPERM,
    errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EFBIG, errno.ENAMETOOLONG, errno.ERANGE,
    errno.EACCES, errno.EROFS,
}  # fmt: skip


async def made(kernel: Kernel, name: bytes = b"file") -> tuple[int, int]:
    """A new file: its inode and an open handle."""
    number, body = await kernel.ask(record(Op.CREATE, ROOT, CREATE + name + b"\0"))
    assert number == 0
    return struct.unpack_from("=Q", body)[0], struct.unpack_from("=Q", body, 128)[0]


def range_of(handle: int, offset: int, size: int) -> bytes:
    return struct.pack("=QQIIQII", handle, offset, size, 0, 0, 0, 0)


def some_body(chance: random.Random, handle: int) -> bytes:
    """What could stand in a request: numbers that mean something, and noise."""
    parts = [
        struct.pack("=Q", chance.choice([0, 1, 2, handle, 1 << 62, (1 << 64) - 1, chance.getrandbits(64)])),
        struct.pack("=I", chance.choice([0, 1, 3, 4096, (1 << 32) - 1, chance.getrandbits(32)])),
        chance.choice([b"a\0", b"a\0b\0", b"\0", b"x" * 300 + b"\0", b".vaultfs\0", b"file\0", b"no end"]),
        chance.randbytes(chance.randrange(90)),
    ]
    return b"".join(chance.choices(parts, k=chance.randrange(9)))


@pytest.mark.trio
@pytest.mark.parametrize("seed", range(4))
async def test_whatever_comes_is_answered_and_harms_nothing(seed: int) -> None:
    chance = random.Random(seed)
    async with kernel() as asked:
        _, handle = await made(asked)
        for number in range(1, 2500):
            opcode, body = chance.choice(OPCODES), some_body(chance, handle)
            node = chance.choice([ROOT, 2, 2, 3, 99, 1 << 62, (1 << 62) + 1, (1 << 62) + 4, (1 << 64) - 1])
            length = None if chance.random() < 0.95 else chance.choice([0, 39, 41, len(body), 1 << 31])
            sent = record(opcode, node, body, unique=number, length=length)
            if opcode in UNANSWERED and length is None:
                await asked.send(sent)  # one that is too short is answered all the same, which a kernel ignores
                if wire_is_odd(opcode, sent):
                    assert (await asked.hear(number))[0] == errno.EINVAL
                continue
            found, _ = await asked.ask(sent)
            assert found in EXPECTED, (wire.NAMES[opcode], body, errno.errorcode.get(found))
        _, handle = await made(asked, b"afterwards")
        assert (await asked.ask(record(Op.WRITE, 0, range_of(handle, 0, 5) + b"hello")))[0] == 0
        assert (await asked.ask(record(Op.READ, 0, range_of(handle, 0, 99)))) == (0, b"hello")
        assert [problem for problem in check_tree(asked.meaning.tree, read_data=True) if problem is not None] == []


def forget(ino: int, times: int = 1) -> bytes:
    return record(Op.FORGET, ino, struct.pack("=Q", times))


@pytest.mark.trio
async def test_what_the_kernel_forgot_goes_when_nobody_waits_all_by_one_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vaultfs.fuse.fast.lane.SLICE_NS", 1 << 62)  # nobody else's turn comes, however slow it is here
    async with kernel() as asked:
        tree = asked.meaning.tree
        names = [b"%d" % number for number in range(40)]
        nodes = [await made(asked, name) for name in names]
        for _, handle in nodes:
            assert (await asked.ask(record(Op.RELEASE, 0, struct.pack("=QIIQ", handle, 0, 0, 0))))[0] == 0
        await trio.testing.wait_all_tasks_blocked()
        before = tree.state.journal.lsn
        stays, looked_up = nodes[38][0], nodes[39][0]
        for name, (ino, _) in zip(names, nodes, strict=True):
            if ino not in {stays, looked_up}:
                os.write(asked.socket.fileno(), record(Op.UNLINK, ROOT, name + b"\0"))
            os.write(asked.socket.fileno(), forget(ino))
        os.write(asked.socket.fileno(), record(Op.LOOKUP, ROOT, names[39] + b"\0"))
        for _ in range(39):
            assert (await asked.hear())[0] == 0
        await trio.testing.wait_all_tasks_blocked()
        assert tree.state.journal.lsn == before + 38 + 1, "each name by itself, all files at once"
        assert not asked.meaning.lookups.knows(stays)
        assert asked.meaning.lookups.knows(looked_up)
        for ino, _ in nodes:
            assert (tree.state.find(ino) is not None) is (ino in {stays, looked_up})
        assert [problem for problem in check_tree(tree, read_data=True) if problem is not None] == []


@pytest.mark.trio
async def test_what_is_forgotten_twice_goes_once() -> None:
    """A file is dropped from the cache, found again, removed and dropped, all before anybody else has a turn."""
    async with kernel() as asked:
        tree = asked.meaning.tree
        before = tree.state.files
        ino, handle = await made(asked)
        await asked.ask(record(Op.RELEASE, 0, struct.pack("=QIIQ", handle, 0, 0, 0)))
        found, removed = record(Op.LOOKUP, ROOT, b"file\0"), record(Op.UNLINK, ROOT, b"file\0")
        for sent in (forget(ino), found, removed, forget(ino)):
            os.write(asked.socket.fileno(), sent)
        for _ in range(2):
            assert (await asked.hear())[0] == 0
        await trio.testing.wait_all_tasks_blocked()
        assert tree.state.find(ino) is None
        assert tree.state.files == before


@pytest.mark.trio
async def test_the_status_counts_what_was_just_removed() -> None:
    async with kernel() as asked:
        ino, handle = await made(asked)
        await asked.ask(record(Op.RELEASE, 0, struct.pack("=QIIQ", handle, 0, 0, 0)))
        for sent in (record(Op.UNLINK, ROOT, b"file\0"), forget(ino), record(Op.OPEN, VIRTUAL + 1, bytes(8))):
            os.write(asked.socket.fileno(), sent)
        assert (await asked.hear())[0] == 0
        assert (await asked.hear())[0] == 0
        assert asked.meaning.tree.state.find(ino) is None


def wire_is_odd(opcode: int, sent: bytes) -> bool:
    try:
        if opcode == Op.FORGET:
            wire.fields(wire.U64, sent, len(sent))
        else:
            wire.forgets_at(sent, len(sent))
    except OddRequestError:
        return True
    return False


@given(st.binary(max_size=200), st.integers(0, 80))
def test_the_decoder_takes_nothing_from_beyond_the_record(body: bytes, at: int) -> None:
    """What lies behind a record in the buffer, left from one before, changes nothing."""
    decoders = [
        lambda buffer, size: wire.fields(wire.RANGE, buffer, size, at),
        lambda buffer, size: wire.name_at(buffer, size, at),
        lambda buffer, size: wire.names_at(buffer, size, at),
        lambda buffer, size: wire.change_at(buffer, size, 7),
        wire.forgets_at,
    ]
    for decode in decoders:
        results = []
        for behind in (b"", b"\0" * 200, b"x\0" * 100):
            try:
                results.append(decode(bytearray(body + behind), len(body)))
            except OddRequestError:
                results.append(None)
        assert results[0] == results[1] == results[2]


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), max_size=9))
def test_batches_of_forgets(forgets: list[tuple[int, int]]) -> None:
    body = struct.pack("=II", len(forgets), 0) + b"".join(struct.pack("=QQ", *one) for one in forgets)
    sent = record(Op.BATCH_FORGET, 0, body)
    assert wire.forgets_at(sent, len(sent)) == forgets
    if forgets:
        with pytest.raises(OddRequestError):
            wire.forgets_at(sent, len(sent) - 1)


@given(
    st.binary(min_size=1).filter(lambda name: 0 not in name), st.binary(min_size=1).filter(lambda name: 0 not in name)
)
def test_names_of_any_bytes(one: bytes, other: bytes) -> None:
    sent = record(Op.RENAME, ROOT, bytes(8) + one + b"\0" + other + b"\0")
    assert wire.names_at(sent, len(sent), wire.BODY + 8) == (one, other)
    sent = record(Op.LOOKUP, ROOT, one + b"\0")
    assert wire.name_at(sent, len(sent)) == one


@pytest.mark.trio
async def test_what_the_lane_does_not_know_goes_to_pyfuse3_and_back_as_it_is() -> None:
    async with kernel() as asked:
        sent = [record(17, ROOT, b"statfs", unique=10), record(99, ROOT, b"of the future", unique=12)]
        for one in sent:
            await asked.send(one)
            assert await asked.pyfuse3.recv(4096) == one
        assert asked.lane.relayed == 2
        answer = struct.pack("=IiQ", 19, 0, 12) + b"yes"
        await asked.pyfuse3.send(answer)
        assert await asked.hear(12) == (0, b"yes")
        await asked.send(record(Op.INTERRUPT, 0, struct.pack("=Q", 10), unique=11))
        assert struct.unpack_from("=Q", await asked.pyfuse3.recv(4096), 40) == (10,), "that one is still under way"
        await asked.send(record(Op.INTERRUPT, 0, struct.pack("=Q", 12), unique=13))
        await asked.send(record(17, ROOT, b"next", unique=14))
        assert (await asked.pyfuse3.recv(4096))[40:] == b"next", "nobody waits for 12 any more"


@pytest.mark.trio
async def test_more_than_the_socket_holds_waits_and_keeps_its_order() -> None:
    async with kernel() as asked:
        count = 400
        for number in range(count):
            await asked.send(record(21, ROOT, b"x" * 4000, unique=number))
        for number in range(count):
            with trio.fail_after(60):
                assert struct.unpack_from("=Q", await asked.pyfuse3.recv(1 << 20), 8) == (number,)


def slow(asked: Kernel, missing: set[int]) -> trio.Event:
    """The content of those inodes comes when the event is set."""
    came, pieces = trio.Event(), asked.meaning.tree.content.pieces

    def not_here(ino: int, offset: int, size: int) -> list[bytes]:
        if ino in missing and not came.is_set():
            raise NotHereError(content=ino)
        return pieces(ino, offset, size)

    async def fetch(_: NotHereError) -> None:
        await came.wait()

    asked.meaning.tree.content.pieces = not_here
    asked.meaning.fetched._fetch = fetch
    return came


@pytest.mark.trio
async def test_who_waits_holds_up_nobody() -> None:
    async with kernel() as asked:
        ino, handle = await made(asked)
        await asked.ask(record(Op.WRITE, ino, range_of(handle, 0, 4) + b"late"))
        came = slow(asked, {ino})
        await asked.send(record(Op.READ, ino, range_of(handle, 0, 9), unique=100))
        for unique in range(3, 20):
            assert (await asked.ask(record(Op.GETATTR, ino, bytes(16), unique=unique)))[0] == 0
        came.set()
        assert await asked.hear(100) == (0, b"late")


@pytest.mark.trio
@pytest.mark.parametrize("killed", [False, True], ids=["a signal", "killed"])
async def test_a_signal_ends_the_wait_of_those_only_whom_it_kills(
    killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaultfs.fuse.fast.lane.is_killed", lambda pid: killed and pid == os.getpid())
    async with kernel() as asked:
        ino, handle = await made(asked)
        await asked.ask(record(Op.WRITE, ino, range_of(handle, 0, 4) + b"late"))
        came = slow(asked, {ino})
        await asked.send(record(Op.READ, ino, range_of(handle, 0, 9), unique=100))
        await asked.send(record(Op.INTERRUPT, 0, struct.pack("=Q", 100), unique=101))
        if killed:
            assert await asked.hear(100) == (errno.EINTR, b"")
        assert (await asked.ask(record(Op.GETATTR, ino, bytes(16))))[0] == 0
        came.set()
        if not killed:
            assert await asked.hear(100) == (0, b"late")


@pytest.mark.trio
async def test_what_was_told_in_vain_is_taken_back() -> None:
    """The kernel no longer waits for the answer: it does not know the inode, nor the handle."""
    async with kernel() as asked:
        ino, handle = await made(asked)
        meaning, lane = asked.meaning, asked.lane
        assert meaning.tree.handles.is_open(ino)
        assert meaning.lookups.knows(ino)
        lane._answers.unsay(Op.CREATE, wire.created(2, meaning.tree.inode(ino), handle, 0))
        assert not meaning.tree.handles.is_open(ino)
        assert not meaning.lookups.knows(ino)
        lane._answers.unsay(Op.LOOKUP, wire.error(2, errno.ENOENT))


@pytest.mark.trio
async def test_links_of_both_kinds() -> None:
    async with kernel() as asked:
        ino, _ = await made(asked)
        number, body = await asked.ask(record(Op.LINK, ROOT, struct.pack("=Q", ino) + b"other\0"))
        assert (number, *struct.unpack_from("=Q", body)) == (0, ino)
        assert (await asked.ask(record(Op.LINK, ROOT, struct.pack("=Q", ino) + b"other\0")))[0] == errno.EEXIST
        assert (await asked.ask(record(Op.LINK, ROOT, struct.pack("=Q", ROOT) + b"third\0")))[0] == errno.EPERM
        number, body = await asked.ask(record(Op.SYMLINK, ROOT, b"symbolic\0../\xff target\0"))
        (link,) = struct.unpack_from("=Q", body)
        assert number == 0
        assert await asked.ask(record(Op.READLINK, link)) == (0, b"../\xff target")
        assert [asked.meaning.lookups.forget(one, 1) for one in (ino, link)] == [False, True], "told twice, and once"
        assert asked.meaning.lookups.forget(ino, 1)
        assert not asked.lane.relayed


@pytest.mark.trio
async def test_times_before_1970_and_after_2262() -> None:
    async with kernel() as asked:
        ino, _ = await made(asked)
        for seconds, kept in ((-5, -5), (1 << 40, ((1 << 63) - 1) // 10**9), (-(1 << 62), -((1 << 63) - 1) // 10**9)):
            body = struct.pack("=IIQQQqqQIIIIIIII", 16 | 32, 0, 0, 0, 0, seconds, seconds, 0, 0, 0, 0, 0, 0, 0, 0, 0)
            number, answer = await asked.ask(record(Op.SETATTR, ino, body))
            assert number == 0
            assert struct.unpack_from("=q", answer, 16 + 24) == (kept,)
