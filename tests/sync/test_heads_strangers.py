"""Names below heads/ that no machine made, in any number."""

from __future__ import annotations

import pytest

from tests.sync.polling import polls
from tests.sync.vaults import A, B, Machine, Vault, device, name_of_head
from vaultfs.crypto.epochs import Members
from vaultfs.format.head import MAGIC, head_name
from vaultfs.sync.patience import LONG, PATIENCE
from vaultfs.sync.strangers import AT_ONCE, FEW

pytestmark = pytest.mark.trio

LATER = MAGIC + (2).to_bytes(2, "little") + bytes(600)


def make_up(vault: Vault, count: int, data: bytes = b"", first: int = 0) -> list[str]:
    names = [head_name(number.to_bytes(16, "big"), 1) for number in range(first, first + count)]
    vault.objects.update(dict.fromkeys(names, data))
    return names


async def test_many_of_them_are_one_alarm_and_one_acceptance(vault: Vault, here: Machine) -> None:
    await vault.publish_number(A, 1)
    make_up(vault, 200)
    assert await polls(here, PATIENCE) == [("box-a", 1)]
    assert len(here.alarms) == FEW + 1
    collective = here.heads.alarms[-1]
    assert f"{200 - FEW} more names" in collective.text
    before = vault.counted()
    await polls(here, 3)
    assert (vault.remote.requests - before).gets == 0, "they were looked at"
    for alarm in here.heads.alarms:
        here.heads.accept(alarm.device)
    assert here.alarms == []
    here.start()
    await polls(here, LONG)
    assert here.alarms == [], "over a restart, too"
    make_up(vault, 1, first=5000)
    await polls(here, PATIENCE)
    assert here.alarms == [("damaged", (5000).to_bytes(16, "big"))]


async def test_the_one_alarm_ends_with_what_it_is_about(vault: Vault, here: Machine) -> None:
    names = make_up(vault, 50)
    await polls(here, PATIENCE)
    for name in names:
        del vault.objects[name]
    await here.poll()
    assert len(here.alarms) == FEW, "these stand until they are accepted"


async def test_a_poll_costs_so_much_and_no_more(vault: Vault, here: Machine) -> None:
    kept: list[bytes] = []
    set_fact = here.seen.set_fact

    def counted(key: str, value: bytes) -> None:
        kept.append(value)
        set_fact(key, value)

    here.seen.set_fact = counted  # type: ignore[method-assign]
    make_up(vault, 4 * AT_ONCE)
    for _ in range(4 * PATIENCE):
        before, saved = vault.counted(), len(kept)
        await here.poll()
        assert (vault.remote.requests - before).gets <= AT_ONCE
        assert len(kept) - saved <= 1
    assert f"{4 * AT_ONCE - FEW} more" in here.heads.alarms[-1].text, "and all of them come to their turn"
    assert len(b"".join(kept)) < 20_000


@pytest.mark.parametrize("data", [b"", LATER], ids=["empty", "a later version"])
async def test_a_new_machine_is_not_lost_among_them(vault: Vault, here: Machine, data: bytes) -> None:
    """It is read in its turn; at once, if a head names it or the vault's header."""
    make_up(vault, 2 * AT_ONCE, data)
    await vault.publish_number(A, 1)
    assert ("box-a", 1) in await polls(here, 3 * PATIENCE)
    named = vault.machine(device("d"))
    named.heads.members = Members(1, {B.id: B.public_key}, {})
    await vault.publish_number(B, 1, a=1)
    assert ("box-b", 1) in await named.poll()
    assert ("box-a", 1) in await named.poll(), "B names it"


async def test_many_that_cannot_be_read_here_are_few_alarms(vault: Vault, here: Machine) -> None:
    make_up(vault, 100, LATER)
    await polls(here, PATIENCE)
    alarms = here.heads.unread.alarms
    assert len(alarms) == FEW + 1
    assert f"{100 - FEW - 1} more" in alarms[-1].text
    here.heads.accept(alarms[-1].device)
    assert len(here.heads.unread.alarms) == FEW
    here.heads.accept(alarms[0].device)
    assert len(here.heads.unread.alarms) == FEW - 1
    await polls(here, PATIENCE)
    assert len(here.heads.unread.alarms) == FEW - 1


async def test_a_known_device_is_never_one_of_many(vault: Vault, here: Machine) -> None:
    await vault.publish_number(A, 1)
    await here.poll()
    make_up(vault, 100)
    await polls(here, PATIENCE)
    vault.objects[name_of_head(A, 2)] = b"junk"
    await polls(here, PATIENCE)
    assert ("damaged", A.id) in here.alarms
    assert A.id in {alarm.device for alarm in here.heads.trust.alarms}
