"""A fetcher that knows a vault's packs."""

from __future__ import annotations

from tests.sync.vaults import A, Machine, Made, Vault, make_head

BLOCK = 64 << 10


async def known(vault: Vault, here: Machine, *made: Made) -> None:
    """The packs are on the remote, and their footers were read."""
    for pack in made:
        await vault.put_pack(pack)
    here.catalog.learn(make_head(A, 1, packs=made))
    for pack in made:
        await here.catalog.find(pack.ids)


def rows(here: Machine, pack: Made, numbers: range | list[int]) -> list[int]:
    return [here.places.add_block(pack.ids[number]) for number in numbers]
