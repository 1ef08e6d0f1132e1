"""`vaultfs lease`: tell other machines that this one wishes to be alone somewhere for a while."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import click
import msgspec

from vaultfs.cli.options import any_path, json_option, pass_app, vault_option, verb
from vaultfs.cli.output import emit, say, warn
from vaultfs.daemon.presence import lease_fact
from vaultfs.errors import LeaseHeldError

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.daemon.card import Card, Lease
    from vaultfs.daemon.presence import LeaseFact
    from vaultfs.daemon.status import Status

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PUBLISH = 10.0  # seconds that a person waits for others to be told


class _Length(click.ParamType[timedelta]):
    """`90m`, `1h`, `2d`: a time that is not longer than leases can be."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        from vaultfs.daemon.card import LONGEST  # noqa: PLC0415 - not for --help

        found = re.fullmatch(r"(\d{1,6})([smhd])", str(value))
        length = timedelta(seconds=int(found[1]) * _SECONDS[found[2]]) if found else timedelta(0)
        if not timedelta(0) < length <= LONGEST:
            self.fail(f"'{value}' is no time such as 30m, 1h or 2d, of {LONGEST.days} days at most", param, ctx)
        return length


@click.group(
    "lease",
    epilog="\b\nExamples:\n  vaultfs lease take ~/agent-vault/hermes --for 2h\n  vaultfs lease show\n"
    "  vaultfs lease give ~/agent-vault/hermes",
)
def command() -> None:
    """Tell other machines that this one wishes to be alone somewhere for a while.

    A lease ends by itself and stops nobody, but who mounts with --respect-leases.
    """


@verb("take", examples=["lease take ~/agent-vault/hermes", "lease take hermes --for 2h --json"])
@click.argument("path", type=any_path)
@click.option("--for", "length", type=_Length(), default="1h", show_default=True, help="How long: 30m, 2h, 1d.")
@vault_option
@json_option
@pass_app
def take(app: App, path: str, length: timedelta, vault: str | None, as_json: bool) -> None:
    """Lease PATH and what is below it for this machine; take it again to go on. PATH is in a mounted vault."""
    from vaultfs.daemon.cards import Lease, write_card  # noqa: PLC0415 - not for --help

    place = Leasing.at(app, vault)
    where, now = place.path(path), datetime.now(UTC)
    place.check_free(where, now)
    made: list[Lease] = []

    def change(card: Card) -> Card:
        old = [lease for lease in card.leased(now) if lease.path == where]
        made.append(Lease(where, old[0].since if old else now, now + length))
        rest = [lease for lease in card.leases if lease.path != where]
        return msgspec.structs.replace(card, label=place.label, mountpoint=place.mountpoint, leases=[*rest, made[0]])

    write_card(place.mountpoint, place.device, change)
    fact = lease_fact(place.device, place.label, True, *_times(made[0]))
    published = place.publish(app, vault)
    if as_json:
        emit({**msgspec.to_builtins(fact), "published": published})
        return
    say(f"{_what(fact)} is leased by this machine until {_local(fact.until)}.")


@verb("give", examples=["lease give ~/agent-vault/hermes"])
@click.argument("path", type=any_path)
@vault_option
@json_option
@pass_app
def give(app: App, path: str, vault: str | None, as_json: bool) -> None:
    """End this machine's lease of PATH."""
    from vaultfs.daemon.cards import write_card  # noqa: PLC0415 - not for --help

    place = Leasing.at(app, vault)
    where, now = place.path(path), datetime.now(UTC)
    mine = place.cards[place.device].leased(now) if place.device in place.cards else []
    given = any(lease.path == where for lease in mine)
    if given:

        def change(card: Card) -> Card:
            return msgspec.structs.replace(card, leases=[lease for lease in card.leases if lease.path != where])

        write_card(place.mountpoint, place.device, change)
    else:
        place.check_free(where, now)
    published = place.publish(app, vault) if given else True
    if as_json:
        emit({"path": where, "given": given, "published": published})
    elif given:
        say("It is free for others now.")
    else:
        say("This machine has no lease of that.")


@verb("show", examples=["lease show", "lease show ~/agent-vault/hermes --json"])
@click.argument("path", required=False, type=any_path)
@vault_option
@json_option
@pass_app
def show(app: App, path: str | None, vault: str | None, as_json: bool) -> None:
    """Show the leases that hold, of all machines: those of PATH, of what is above it and below it."""
    place = Leasing.at(app, vault)
    where, now = None if path is None else place.path(path), datetime.now(UTC)
    found = [fact for lease, fact in place.leases(now) if where is None or lease.touches(where)]
    if as_json:
        emit(found)
    elif not found:
        say("Nothing is leased.")
    else:
        _show(found)


class Leasing(NamedTuple):
    """A mounted vault: where, which device this is, and what all devices say."""

    mountpoint: str
    device: bytes
    label: str
    labels: dict[bytes, str]
    cards: dict[bytes, Card]

    @classmethod
    def at(cls, app: App, vault: str | None) -> Leasing:
        """NotMountedError."""
        from vaultfs.daemon.cards import read_cards  # noqa: PLC0415 - not for --help
        from vaultfs.daemon.report import report  # noqa: PLC0415
        from vaultfs.errors import NotMountedError  # noqa: PLC0415

        place = app.vault(vault)
        found = report(place)
        if found.state != "mounted" or found.device is None or found.mountpoint is None:
            raise NotMountedError(what=f"The vault '{place.name}'")
        me, label = _this(found)
        labels = {bytes.fromhex(one.id): one.label for one in (found.sync.devices if found.sync else [])}
        return cls(found.mountpoint, me, label, labels, read_cards(found.mountpoint))

    def path(self, text: str) -> str:
        """The path in the vault that a person means: what it is in the mount, links followed; else from the top."""
        from vaultfs.daemon.vault_path import vault_path  # noqa: PLC0415 - not for --help

        return vault_path(self.mountpoint, text)

    def leases(self, now: datetime) -> list[tuple[Lease, LeaseFact]]:
        """All that hold now."""
        return [
            (lease, lease_fact(device, self._label(device, card), device == self.device, *_times(lease)))
            for device, card in self.cards.items()
            for lease in card.leased(now)
        ]

    def _label(self, device: bytes, card: Card) -> str:
        return self.labels.get(device) or card.label or device.hex()[:8]

    def check_free(self, where: str, now: datetime) -> None:
        """LeaseHeldError if another machine has a lease of that, of something above it or below it."""
        for lease, fact in self.leases(now):
            if not fact.this and lease.touches(where):
                raise LeaseHeldError(label=fact.label, path=_what(fact), until=_local(fact.until))

    @staticmethod
    def publish(app: App, vault: str | None) -> bool:
        """Have others told at once; False (and a warning) if that has to wait."""
        from vaultfs.daemon.asking import PublishRequest, ask  # noqa: PLC0415 - not for --help
        from vaultfs.errors import NoRemoteError, VaultfsError  # noqa: PLC0415

        try:
            ask(app.vault(vault), "/publish", PublishRequest(wait=True, timeout=_PUBLISH), timeout=_PUBLISH)
        except NoRemoteError:
            return False
        except VaultfsError as error:
            warn(f"Other machines will see it later: {error.message}")
            return False
        return True


def _this(found: Status) -> tuple[bytes, str]:
    assert found.device is not None  # noqa: S101 - mounted
    here = next((one for one in (found.sync.devices if found.sync else []) if one.this), None)
    return (bytes.fromhex(here.id), here.label) if here else (bytes.fromhex(found.device.id), found.device.label)


def _times(lease: Lease) -> tuple[str, datetime, datetime]:
    return lease.path, lease.since, lease.until


def _what(fact: LeaseFact) -> str:
    return fact.path or "the whole vault"


def _local(time: str) -> str:
    return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M:%S}"


def _show(found: list[LeaseFact]) -> None:
    from rich.table import Table  # noqa: PLC0415 - only for people
    from rich.text import Text  # noqa: PLC0415

    from vaultfs.cli.output import console  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("PATH", "MACHINE", "SINCE", "UNTIL"):
        table.add_column(heading, overflow="fold", no_wrap=heading in {"SINCE", "UNTIL"})
    for fact in found:
        label = fact.label + (" (here)" if fact.this else "")
        table.add_row(Text(_what(fact)), Text(label), _local(fact.since), _local(fact.until))
    console().print(table)


for _verb in (take, give, show):
    command.add_command(_verb)
