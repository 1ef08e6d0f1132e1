"""Retries, pauses, deadlines and counting, and that the fake is as bad as it says: all by a virtual clock."""

from __future__ import annotations

import functools
import random
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from tests.remote.fake import Crash, FakeBackend
from tests.remote.memory import MemoryBackend
from vaultfs.errors import (
    RemoteFullError,
    RemoteObjectMissingError,
    RemotePermissionError,
    RemoteSignInError,
    RemoteUnavailableError,
)
from vaultfs.remote import Entry, Limits, Remote

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PACK = "packs/ab/cd"
DATA = bytes(range(256)) * 4096


def on_virtual_clock(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """The test in a loop whose clock jumps whenever everybody sleeps."""

    @functools.wraps(test)
    def run(**fixtures: object) -> None:
        trio.run(functools.partial(test, **fixtures), clock=MockClock(autojump_threshold=0))

    return run


@pytest.fixture
def fake() -> FakeBackend:
    return FakeBackend(MemoryBackend(), seed=7)


@pytest.fixture
def remote(fake: FakeBackend) -> Remote:
    return Remote(fake, jitter=random.Random(1))


@on_virtual_clock
async def test_what_fails_now_and_then_is_done_all_the_same(fake: FakeBackend, remote: Remote) -> None:
    fake.faults.failing = fake.faults.failing_after = fake.faults.torn_puts = 0.3
    for number in range(50):
        await remote.put(f"packs/aa/{number}", DATA)
    for number in range(50):
        assert await remote.get(f"packs/aa/{number}", 5, 10) == DATA[5:15]
    assert {*await remote.list()} == {Entry(f"packs/aa/{number}", len(DATA)) for number in range(50)}
    assert remote.requests.puts == len([one for one in fake.log if one[1] == "put"]) > 50, "every try is counted"
    assert remote.requests.bytes_up == 50 * len(DATA)


@on_virtual_clock
async def test_pauses_grow_from_20_ms_to_5_minutes_and_are_spread(fake: FakeBackend, remote: Remote) -> None:
    fake.faults.reachable = False
    with pytest.raises(RemoteUnavailableError, match="no route to host"):
        await remote.list("heads", within=3600)
    times = [time for time, _, _ in fake.log]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    for number, pause in enumerate(pauses):
        longest = min(0.02 * 2**number, 300)
        assert longest / 2 <= pause <= longest
    assert len({round(pause / min(0.02 * 2**number, 300), 6) for number, pause in enumerate(pauses)}) > 3
    assert max(pauses) > 150
    assert trio.current_time() <= times[0] + 3600


@on_virtual_clock
async def test_it_goes_on_when_the_network_is_back(fake: FakeBackend, remote: Remote) -> None:
    fake.faults.reachable = False

    async def network_comes_back() -> None:
        await trio.sleep(40)
        assert isinstance(remote.trouble, RemoteUnavailableError)
        fake.faults.reachable = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(network_comes_back)
        await remote.put(PACK, DATA)
    assert 40 <= trio.current_time() - fake.log[0][0] <= 121
    assert remote.trouble is None


@pytest.mark.parametrize("operation", ["put", "get", "list", "delete"])
@on_virtual_clock
async def test_every_call_is_bounded_in_time(operation: str, fake: FakeBackend, remote: Remote) -> None:
    fake.faults.hangs = True
    calls = {
        "put": lambda: remote.put(PACK, b"x", within=7),
        "get": lambda: remote.get(PACK, 0, 1, within=7),
        "list": lambda: remote.list("", within=7),
        "delete": lambda: remote.delete(PACK, within=7),
    }
    start = trio.current_time()
    with pytest.raises(RemoteUnavailableError, match="no answer within 7 seconds"):
        await calls[operation]()
    assert trio.current_time() - start == pytest.approx(7)


@on_virtual_clock
async def test_a_try_that_hangs_is_given_up_for_another(fake: FakeBackend, remote: Remote) -> None:
    fake.faults.hangs = True

    async def recover() -> None:
        await trio.sleep(10)
        fake.faults.hangs = False

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recover)
        await remote.put(PACK, b"x")
    assert trio.current_time() - start == pytest.approx(remote.limits.attempt, abs=1)
    assert remote.requests.puts == 2


@on_virtual_clock
async def test_the_default_time_grows_with_the_bytes(fake: FakeBackend, remote: Remote) -> None:
    fake.faults.bandwidth = 40_000  # just above the slowest that is allowed
    start = trio.current_time()
    await remote.put(PACK, DATA * 16)
    assert trio.current_time() - start == pytest.approx(len(DATA) * 16 / 40_000)
    assert remote.requests.puts == 1
    fake.faults.bandwidth = 10_000
    with pytest.raises(RemoteUnavailableError, match="no answer within"):
        await remote.put(PACK, DATA * 16)


@on_virtual_clock
async def test_what_trying_again_does_not_mend_comes_at_once(fake: FakeBackend, remote: Remote) -> None:
    await remote.put(PACK, DATA)
    fake.faults.capacity = len(DATA) + 10
    with pytest.raises(RemoteFullError):
        await remote.put("packs/ab/ce", DATA)
    assert isinstance(remote.trouble, RemoteFullError)
    await remote.put("heads/aa/1", b"small")
    assert remote.trouble is None
    fake.faults.allowed = frozenset({"get", "list"})
    with pytest.raises(RemotePermissionError):
        await remote.put("heads/aa/2", b"small")
    with pytest.raises(RemotePermissionError):
        await remote.delete(PACK)
    assert await remote.get(PACK) == DATA
    fake.faults.signed_in = False
    with pytest.raises(RemoteSignInError):
        await remote.get(PACK)
    with pytest.raises(RemoteSignInError):
        await remote.list()
    fake.faults = type(fake.faults)()
    await remote.put("heads/aa/2", b"small")
    await remote.delete(PACK)
    assert len([one for one in fake.log if one[2] == "heads/aa/2"]) == 2, "no second try of what cannot work"
    with pytest.raises(RemoteObjectMissingError):
        await remote.get(PACK)


@on_virtual_clock
async def test_cancelling_is_not_an_error_of_the_remote(fake: FakeBackend, remote: Remote) -> None:
    fake.faults.hangs = True
    with trio.move_on_after(1) as scope:
        await remote.put(PACK, DATA)
    assert scope.cancelled_caught
    assert remote.trouble is None


@on_virtual_clock
async def test_the_fake_lists_late_and_twice(fake: FakeBackend, remote: Remote) -> None:
    await remote.put("heads/aa/1", b"1")
    await trio.sleep(30)
    fake.faults.list_lag = 20
    fake.faults.duplicates = 1
    await remote.put("heads/aa/2", b"22")
    await remote.delete("heads/aa/1")
    assert await remote.list("heads") == [Entry("heads/aa/1", 1)] * 2
    assert await remote.get("heads/aa/2") == b"22", "only listings lag"
    await trio.sleep(20)
    assert await remote.list("heads") == [Entry("heads/aa/2", 2)] * 2


@on_virtual_clock
async def test_the_fake_truncates_flips_freezes_and_hides(fake: FakeBackend, remote: Remote) -> None:
    await remote.put(PACK, DATA)
    fake.faults.truncated_gets = 1
    assert await remote.get(PACK, 0, 100) == DATA[:50]
    fake.faults.truncated_gets, fake.faults.flipped_gets = 0, 1
    wrong = await remote.get(PACK, 0, 100)
    assert sum((a ^ b).bit_count() for a, b in zip(wrong, DATA, strict=False)) == 1
    fake.faults.flipped_gets = 0
    await fake.freeze()
    await remote.put("heads/aa/1", b"new")
    await remote.delete(PACK)
    assert await remote.list() == [Entry(PACK, len(DATA))]
    assert await remote.get(PACK) == DATA
    with pytest.raises(RemoteObjectMissingError):
        await remote.get("heads/aa/1")
    fake.faults.frozen = False
    assert await remote.list() == [Entry("heads/aa/1", 3)]
    fake.faults.hidden = lambda name: name.startswith("heads/")
    assert await remote.list() == []
    with pytest.raises(RemoteObjectMissingError):
        await remote.get("heads/aa/1")


@on_virtual_clock
async def test_the_fake_leaves_half_an_object_and_loses_answers(fake: FakeBackend, remote: Remote) -> None:
    fake.faults.torn_puts = 1
    with pytest.raises(RemoteUnavailableError):
        await remote.put(PACK, DATA, within=1)
    assert await remote.get(PACK) == DATA[: len(DATA) // 2]
    fake.faults.torn_puts, fake.faults.failing_after = 0, 1
    with pytest.raises(RemoteUnavailableError):
        await remote.put(PACK, DATA, within=1)
    fake.faults.failing_after = 0
    assert await remote.get(PACK) == DATA


@on_virtual_clock
async def test_the_fake_kills_its_caller_at_a_chosen_request(fake: FakeBackend, remote: Remote) -> None:
    fake.faults.crash_before = lambda operation, name: operation == "put" and name.startswith("heads/")
    await remote.put(PACK, DATA)
    with pytest.raises(Crash):
        await remote.put("heads/aa/1", b"head")
    fake.faults = type(fake.faults)()
    assert await remote.list("heads") == []
    fake.faults.crash_after = lambda operation, _: operation == "put"
    with pytest.raises(Crash):
        await remote.put("heads/aa/1", b"head")
    assert await remote.list("heads") == [Entry("heads/aa/1", 4)]


@on_virtual_clock
async def test_devices_that_lost_the_network_come_back_apart() -> None:
    moments = []
    for seed in range(100):
        fake = FakeBackend(MemoryBackend())
        fake.faults.reachable = False
        start = trio.current_time()
        with pytest.raises(RemoteUnavailableError):
            await Remote(fake, Limits(call=10), jitter=random.Random(seed)).list()
        moments.append(round(fake.log[-1][0] - start, 3))
    assert len(set(moments)) > 60
