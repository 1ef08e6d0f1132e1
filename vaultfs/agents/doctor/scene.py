"""What the checks look at: this machine, a vault of it, and the agents that are meant."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vaultfs.agents.finding import state_directory
from vaultfs.daemon.cards import read_cards
from vaultfs.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaultfs.agents.profiles import Profile
    from vaultfs.daemon.card import Card
    from vaultfs.daemon.paths import Places, VaultPlaces
    from vaultfs.daemon.status import Status


@dataclass
class Scene:
    """`mountpoint` is "" while the vault is not mounted; `local`: the remote is not to be asked.

    `agents`: those that are looked at, with their directory in the vault. `cards`: of the other devices, by id.
    """

    places: Places
    vault: VaultPlaces | None
    status: Status | None
    remote: str
    local: bool
    environ: Mapping[str, str]
    agents: dict[str, Profile] = field(default_factory=dict)
    cards: dict[bytes, Card] = field(default_factory=dict)
    mountpoint: str = ""

    def directory(self, profile: Profile) -> str:
        """The agent's directory in the mount."""
        return f"{self.mountpoint}/{profile.name}"

    def state(self, profile: Profile) -> str:
        """Where the agent looks for its state when it is started from this environment."""
        try:
            return state_directory(profile, self.environ).path
        except UsageError:  # the variable names something else than its directory
            return self.environ[profile.env]

    @property
    def name(self) -> str:
        """Of the vault."""
        return "" if self.vault is None else self.vault.name

    def label(self, device: bytes) -> str:
        """The name of another device, for people."""
        sync = self.status.sync if self.status is not None else None
        known = {one.id: one.label for one in (sync.devices if sync is not None else [])}
        card = self.cards.get(device)
        return known.get(device.hex()) or (card.label if card is not None else "") or device.hex()[:8]


def scene(
    places: Places,
    vault: VaultPlaces | None,
    status: Status | None,
    *,
    remote: str,
    local: bool,
    environ: Mapping[str, str],
    known: Mapping[str, Profile],
    named: tuple[str, ...],
) -> Scene:
    """Put together. Without `named` agents: those that are in the vault, or that another device says are there."""
    made = Scene(places, vault, status, remote, local, environ)
    said: set[str] = set()
    if status is not None and status.state == "mounted" and status.mountpoint is not None:
        made.mountpoint = os.path.realpath(status.mountpoint)
        cards = _of_the_vault(read_cards(made.mountpoint), status)
        said = {name for card in cards.values() for name in card.agents}
        made.cards = {device: card for device, card in cards.items() if device != this_device(status)}
    made.agents = {
        name: profile
        for name, profile in known.items()
        if name in named or (not named and made.mountpoint and (name in said or os.path.isdir(made.directory(profile))))
    }
    return made


def _of_the_vault(cards: dict[bytes, Card], status: Status) -> dict[bytes, Card]:
    """Without those of machines that were removed from the vault: their cards stay, and mean nothing."""
    if status.sync is None:
        return cards
    known = {one.id for one in status.sync.devices}
    return {device: card for device, card in cards.items() if device.hex() in known}


def this_device(status: Status) -> bytes:
    """This machine's id in the vault; b"" where it is not known."""
    here = [one.id for one in (status.sync.devices if status.sync is not None else []) if one.this]
    if not here and status.device is not None:
        here = [status.device.id]
    return bytes.fromhex(here[0]) if here else b""
