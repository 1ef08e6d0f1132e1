"""What this machine tells the others about its agents: in its card."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import msgspec

from vaultfs.daemon.cards import read_cards, write_card
from vaultfs.errors import VaultfsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultfs.daemon.card import Card
    from vaultfs.daemon.status import DeviceFact

_PROJECTS = 64  # the newest are kept


def introduce(mountpoint: str, device: DeviceFact, *, agent: str, project: str | None = None) -> None:
    """This machine has the agent here, and works in `project`. A card that cannot be written is no reason to fail."""

    def change(card: Card) -> Card:
        projects = [path for path in card.projects if path != project]
        return msgspec.structs.replace(
            card,
            label=device.label,
            mountpoint=mountpoint,
            home=os.path.expanduser("~"),
            agents={**card.agents, agent: agent},
            projects=projects if project is None else [*projects, project][-_PROJECTS:],
        )

    _write(mountpoint, device, change)


def take_leave(mountpoint: str, device: DeviceFact, *, agent: str) -> None:
    """This machine has the agent no more."""

    def change(card: Card) -> Card:
        rest = {name: path for name, path in card.agents.items() if name != agent}
        return msgspec.structs.replace(card, agents=rest)

    _write(mountpoint, device, change)


def others_with(mountpoint: str, device: DeviceFact, agent: str) -> list[str]:
    """Labels (or ids) of the other machines that say they have the agent."""
    cards = read_cards(mountpoint).items()
    return [card.label or id_.hex()[:8] for id_, card in cards if id_.hex() != device.id and agent in card.agents]


def _write(mountpoint: str, device: DeviceFact, change: Callable[[Card], Card]) -> None:
    with contextlib.suppress(OSError, VaultfsError):
        write_card(mountpoint, bytes.fromhex(device.id), change)
