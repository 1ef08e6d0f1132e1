"""Heads: one listing when nothing changed; and whatever a remote does with them, nothing wrong is taken for right."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import trio

from tests.sync.polling import polls
from tests.sync.vaults import KEYS, A, B, Machine, Vault, device, make_head, name_of_head
from vaultfs.errors import RemoteUnavailableError, RollbackError
from vaultfs.format.head import seal_head
from vaultfs.remote import Limits, Remote
from vaultfs.remote.directory import DirectoryBackend
from vaultfs.sync.heads import Heads, Own

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

pytestmark = pytest.mark.trio


async def test_new_heads_come_once_and_nothing_new_is_one_request(vault: Vault, here: Machine) -> None:
    await vault.publish_number(A, 1)
    await vault.publish_number(B, 1, a=1)
    await vault.publish_number(A, 2)
    before = vault.counted()
    assert await here.poll() == [("box-b", 1), ("box-a", 2)]
    cost = vault.remote.requests - before
    assert (cost.lists, cost.gets, cost.puts) == (1, 2, 0), "only the newest of each device"
    before = vault.counted()
    assert await polls(here, 5) == []
    cost = vault.remote.requests - before
    assert (cost.lists, cost.gets) == (5, 0)
    here.start()
    before = vault.counted()
    assert await here.poll() == []
    assert vault.remote.requests - before == type(before)(lists=1), "what was seen is kept over a restart"
    assert sorted(head.number for head in here.heads.seen) == [1, 2]
    assert here.alarms == []


async def test_an_empty_vault(vault: Vault, here: Machine) -> None:
    assert await here.poll() == []
    vault.fake.faults.reachable = False
    with pytest.raises(RemoteUnavailableError):
        await vault.remote.list("heads", within=0.1)


async def test_a_late_listing_with_duplicates_is_no_alarm(autojump_clock: MockClock, here: Machine) -> None:
    vault = here.vault
    vault.fake.faults.duplicates = 0.7
    await vault.publish_number(A, 1)
    assert await here.poll() == [("box-a", 1)]
    vault.fake.faults.list_lag = 10_000
    await vault.publish_number(A, 2)
    await vault.publish_number(B, 1, a=2)
    assert await polls(here, 20) == [], "neither is listed"
    vault.fake.faults.list_lag = 0
    assert sorted(await here.poll()) == [("box-a", 2), ("box-b", 1)]
    await trio.sleep(20_000)
    vault.fake.faults.list_lag = 10_000
    await vault.backend.delete(name_of_head(A, 1))
    await vault.publish_number(A, 3)
    here_too = vault.machine(device("d"))
    assert await here_too.poll() != []
    vault.fake.faults.list_lag = 0
    await polls(here, 4)
    await polls(here_too, 4)
    assert here.alarms == here_too.alarms == []
    assert autojump_clock.autojump_threshold == 0


@pytest.mark.parametrize("seed", range(40))
async def test_honest_devices_on_a_slow_store_never_raise_an_alarm(autojump_clock: MockClock, seed: int) -> None:
    """Random histories: listings late by up to a minute, everything listed twice now and then, old heads thinned."""
    chance = random.Random(seed)
    vault = Vault()
    faults = vault.fake.faults
    faults.duplicates, faults.latency = 0.3, 0.01
    devices = [device(letter) for letter in "abcd"]
    machines = [Machine(vault, Own(one.id)) for one in devices]
    counters = [0] * len(devices)
    for _ in range(120):
        faults.list_lag = chance.choice([0, 0, 5, 60])
        which = chance.randrange(len(devices))
        machine, author = machines[which], devices[which]
        act = chance.random()
        if act < 0.3:
            counters[which] += chance.randint(1, 3)
            known = {head.device: head.number for head in machine.heads.seen}
            for head in machine.heads.seen:
                known |= {dot.device: max(dot.counter, known.get(dot.device, 0)) for dot in head.vector}
            head = make_head(author, counters[which], vector=known)
            await vault.publish(author, head)
            machine.own = Own(author.id, lambda number=head.number: number)
            machine.heads.own = machine.own
            machine.heads.published(head)
            await trio.sleep(chance.choice([0, 100]))
            if chance.random() < 0.3 and faults.list_lag == 0:
                for name in [name for name in vault.objects if author.id.hex() in name and name != head.name]:
                    await vault.backend.delete(name)
        elif act < 0.35:
            machine.start()
        else:
            await machine.poll()
            await trio.sleep(chance.choice([0, 1, 20]))
    faults.list_lag = 0
    for machine in machines:
        await polls(machine, 5)
        assert machine.alarms == []
        assert machine.heads.unknown_own == 0
    assert len({machine.heads.fingerprint() for machine in machines}) == 1, "all have seen the same"
    assert autojump_clock.autojump_threshold == 0


async def test_a_head_that_others_have_seen_and_that_is_not_listed_is_asked_for(vault: Vault, here: Machine) -> None:
    """The listing shows B's head, not A's: no alarm, it is there."""
    await vault.publish_number(A, 4)
    await vault.publish_number(B, 1, a=4)
    listed = vault.fake.list

    async def lists(prefix: str) -> list[object]:
        return [entry for entry in await listed(prefix) if entry.name != name_of_head(A, 4)]

    vault.fake.list = lists  # type: ignore[method-assign, assignment]
    assert await polls(here, 3) == [("box-b", 1), ("box-a", 4)]
    before = vault.counted()
    assert await polls(here, 30) == []
    assert here.alarms == []
    assert (vault.remote.requests - before).gets <= 4, "and not with every poll"


@pytest.mark.parametrize("older", [True, False], ids=["an older state", "nothing at all"])
async def test_rolled_back(vault: Vault, here: Machine, *, older: bool) -> None:
    for number in (1, 2, 3):
        await vault.publish_number(A, number)
    await vault.publish_number(B, 1)
    await here.poll()
    gone = (2, 3) if older else (1, 2, 3)
    kept = {number: vault.objects.pop(name_of_head(A, number)) for number in gone}
    assert await polls(here, 2) == []
    assert here.alarms == []
    assert await here.poll() == []
    assert here.alarms == [("rollback", A.id)]
    (alarm,) = here.heads.alarms
    assert "head 3 of 'box-a', from 2026-09-21 14:13:23 UTC" in alarm.text
    assert ("only head 1" if older else "none") in alarm.text
    error = here.heads.trust.error(alarm)
    assert isinstance(error, RollbackError)
    assert error.exit_code == 80
    here.start()
    assert here.alarms == [("rollback", A.id)], "until it is accepted"
    await vault.publish_number(A, 4)
    await vault.publish_number(B, 2)
    assert await polls(here, 2) == [("box-b", 2)], "nothing more of that device, everything of the others"
    assert [head.label for head in here.heads.seen] == ["box-b"]
    for number, data in kept.items():
        vault.objects[name_of_head(A, number)] = data
    assert here.heads.accept(A.id) == [alarm]
    assert await here.poll() == [("box-a", 4)]
    assert here.alarms == []


async def test_after_accepting_the_older_state_counts(vault: Vault, here: Machine) -> None:
    for number in (1, 2):
        await vault.publish_number(A, number)
    await vault.publish_number(B, 1, a=2)
    await here.poll()
    del vault.objects[name_of_head(A, 2)]
    await polls(here, 3)
    here.heads.accept(A.id)
    here.start()
    assert await here.poll() == [("box-a", 1)]
    assert await polls(here, 10) == []
    assert here.alarms == [], "that B has seen more of A is excused"


async def test_an_older_state_of_everything_served_back(here: Machine) -> None:
    vault = here.vault
    await vault.publish_number(A, 1)
    await vault.publish_number(B, 1, a=1)
    await here.poll()
    await vault.fake.freeze()
    vault.fake.faults.frozen = False
    await vault.publish_number(A, 2, b=1)
    await vault.publish_number(B, 2, a=2)
    assert len(await here.poll()) == 2
    vault.fake.faults.frozen = True
    assert await polls(here, 3) == []
    assert sorted(here.alarms) == [("rollback", A.id), ("rollback", B.id)]


async def test_a_device_whose_memory_went_back(vault: Vault, here: Machine) -> None:
    await vault.publish_number(B, 7)
    await vault.publish_number(A, 1, b=7)
    await here.poll()
    await vault.publish_number(A, 2, b=6)
    assert await here.poll() == []
    assert here.alarms == [("vector", A.id)]
    assert "'box-b'" in here.heads.alarms[0].text
    here.heads.accept(A.id)
    assert await here.poll() == [("box-a", 2)]
    await vault.publish_number(A, 3)
    assert await here.poll() == []
    assert here.alarms == [("vector", A.id)], "again"


async def test_errors_lose_nothing(vault: Vault, here: Machine) -> None:
    await vault.publish_number(A, 1)
    await vault.publish_number(B, 1)
    get = vault.fake.get

    async def gets(name: str, offset: int, length: int | None) -> bytes:
        if name == name_of_head(B, 1):
            raise RemoteUnavailableError(remote="x", detail="busy")
        return await get(name, offset, length)

    vault.fake.get = gets  # type: ignore[method-assign]
    here.heads = Heads(Remote(vault.fake, Limits(call=0.05)), KEYS, here.seen, here.own)
    with pytest.raises(RemoteUnavailableError):
        await here.poll()
    vault.fake.get = get  # type: ignore[method-assign]
    assert sorted(await here.poll()) == [("box-a", 1), ("box-b", 1)]


# What a person compares.


async def test_fingerprints(vault: Vault) -> None:
    one, other = vault.machine(), vault.machine(device("d"))
    assert one.heads.fingerprint() == other.heads.fingerprint()
    await vault.publish_number(A, 1)
    await one.poll()
    assert one.heads.fingerprint() != other.heads.fingerprint()
    await vault.publish_number(B, 1)
    await one.poll()
    await other.poll()
    assert one.heads.fingerprint() == other.heads.fingerprint()
    assert len(one.heads.fingerprint()) == 39
    shown = vault.machine(device("e"))
    vault.objects[name_of_head(B, 1)] = seal_head(make_head(B, 1, root=bytes([1] * 32)), B, KEYS)
    await shown.poll()
    assert shown.heads.fingerprint() != one.heads.fingerprint(), "another head under the same number"


async def test_over_a_real_directory(tmp_path: Path) -> None:
    vault = Vault(DirectoryBackend(tmp_path))
    here = vault.machine()
    for number in (1, 2, 3):
        await vault.publish_number(A, number)
    assert await here.poll() == [("box-a", 3)]
    (tmp_path / name_of_head(A, 3)).unlink()
    await polls(here, 3)
    assert here.alarms == [("rollback", A.id)]
