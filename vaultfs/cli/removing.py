"""`vaultfs devices remove`: a machine is shut out of everything that is published from now on."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import click

from vaultfs.cli.options import json_option, pass_app, vault_option, verb, wallet_option, yes_option
from vaultfs.cli.output import confirm, emit, plural, say, warn
from vaultfs.cli.remotely import with_remote
from vaultfs.errors import VaultfsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultfs.cli.app import App
    from vaultfs.crypto.epochs import NewEpoch
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.crypto.records import Header
    from vaultfs.daemon.paths import VaultPlaces
    from vaultfs.remote import Remote
    from vaultfs.sync.roster import Machine
    from vaultfs.wallet import Signer

SHORTEST = 4  # letters of an id: fewer are a slip sooner than an id
PATIENCE = 20.0


class _Vault(NamedTuple):
    """What a removal starts from."""

    header: Header
    keys: VaultKeys
    signer: Signer
    machines: list[Machine]


@verb("remove", examples=["devices remove old-laptop", "devices remove 3f2a91c0 --wallet ssh-agent --yes"])
@click.argument("device", metavar="LABEL|ID")
@vault_option
@wallet_option
@yes_option
@json_option
@pass_app
def remove(app: App, *, device: str, vault: str | None, wallet: str | None, yes: bool, as_json: bool) -> None:
    """Remove a machine: it cannot read what is published from now on, and what it publishes does not count.

    It keeps what it has already. Make --wallet one that is not on that machine: only this wallet opens the vault
    afterwards. The machines that remain get the new keys by themselves.
    """
    from vaultfs.crypto.epochs import remove_device  # noqa: PLC0415 - not for --help
    from vaultfs.daemon.vault import header_update, write_header  # noqa: PLC0415
    from vaultfs.errors import NoRemoteError  # noqa: PLC0415

    place = app.vault(vault)
    spec = app.remote(place.name)
    if not spec:
        raise NoRemoteError(name=place.name)
    with header_update(place):
        found = _open(app, place, spec, wallet)
        own = _identity(place, found.keys)
        gone = find_device(found.machines, device)
        _warn(found, own, gone)
        confirm(f"Remove '{gone.label}' ({gone.device.hex()[:8]}) from the vault '{place.name}'?", yes=yes)
        remaining = _remaining(found, own, gone)
        made = remove_device(found.header, found.keys, found.signer, remaining, (gone.device, gone.number, gone.head))

        async def publish(remote: Remote) -> None:
            from vaultfs.sync import header as headers  # noqa: PLC0415 - not for --help

            await headers.write_header(remote, made.header.number, made.header)

        with_remote(app, spec, publish)
        write_header(place, made.header)
    _tell_daemon(place)
    if as_json:
        emit(_fact(gone, made))
    else:
        _tell(place.name, gone, made)


def find_device(machines: Sequence[Machine], text: str) -> Machine:
    """The device a person means: by its label, or the start of its id. `UsageError` else."""
    from vaultfs.errors import UsageError  # noqa: PLC0415 - with its only use

    fits = [one for one in machines if one.label == text]
    if not fits and len(text) >= SHORTEST:
        fits = [one for one in machines if one.device.hex().startswith(text.lower())]
    if len(fits) != 1:
        what = "Several machines fit" if fits else "No machine fits"
        raise UsageError(detail=f"{what} '{text}'; see: vaultfs devices list")
    return fits[0]


def _open(app: App, place: VaultPlaces, spec: str, wallet: str | None) -> _Vault:
    """The newest header, which may be newer on the remote than here, and the machines.

    HeaderDamagedError if the remote has one that opens, but whose keys are not those that are here, continued.
    """
    from vaultfs.daemon.vault import opener, read_header  # noqa: PLC0415 - not for --help
    from vaultfs.errors import RollbackError, UsageError  # noqa: PLC0415
    from vaultfs.sync.header import read_headers  # noqa: PLC0415
    from vaultfs.sync.header_chain import Found  # noqa: PLC0415
    from vaultfs.sync.roster import roster  # noqa: PLC0415

    here = read_header(place)
    signer = app.signer(place, wallet)
    if signer is None:
        raise UsageError(detail="Removing a machine needs a wallet, for it makes the new key; words can be added then")
    headers = with_remote(app, spec, lambda remote: read_headers(remote, vault_id=here.vault_id))
    mine = Found(here.number, here, str(place.header))
    there, keys = headers.unlock(opener(signer, place.name), here=mine, strict=True)
    if (there.header.epoch, there.number) < (here.epoch, here.number):
        detail = f"it has the vault's keys only up to number {there.number}, and here is {here.number}"
        raise RollbackError(remote=spec, label="the vault's header", detail=detail)
    machines = with_remote(app, spec, lambda remote: roster(remote, there.header, keys))
    return _Vault(there.header, keys, signer, machines)


def _identity(place: VaultPlaces, keys: VaultKeys) -> tuple[bytes, bytes]:
    from vaultfs.daemon.vault import read_device  # noqa: PLC0415 - not for --help

    identity = read_device(place, keys)
    return identity.id, identity.public_key


def _remaining(found: _Vault, own: tuple[bytes, bytes], gone: Machine) -> list[tuple[bytes, bytes]]:
    """Who gets the new keys: id and public key."""
    devices = {one.device: one.public_key for one in found.machines if not one.doubt} | dict([own])
    devices.pop(gone.device, None)
    return list(devices.items())


def _warn(found: _Vault, own: tuple[bytes, bytes], gone: Machine) -> None:
    """What a person should see before they say yes."""
    from vaultfs.crypto.slots import describe  # noqa: PLC0415 - not for --help

    if gone.device == own[0]:
        warn("That is this machine: it will not read or publish anything new in this vault any more.")
    remaining = {device for device, _ in _remaining(found, own, gone)}
    labels = [f"'{one.label}' ({one.device.hex()[:8]})" for one in found.machines if one.device in remaining]
    warn(f"These machines get the new keys: {', '.join(labels) or 'this one only'}.")
    for one in found.machines:
        if one.device not in remaining | {gone.device}:
            warn(f"'{one.label}' ({one.device.hex()[:8]}) gets none, and needs the wallet again: {one.doubt}.")
    key = found.signer.public_key
    others = [describe(slot) for slot in found.header.slots if getattr(slot, "public_key", None) != key]
    if others:
        warn(f"Afterwards only the wallet {found.signer.address} opens the vault. No longer: {'; '.join(others)}.")


def _tell_daemon(place: VaultPlaces) -> None:
    """This machine's mount is to have the new keys now, and not within a minute."""
    from vaultfs.daemon.asking import PublishRequest, ask, is_mounted  # noqa: PLC0415 - not for --help

    if is_mounted(place):
        with suppress(VaultfsError):  # then it finds them by itself
            ask(place, "/publish", PublishRequest(wait=False, timeout=PATIENCE), timeout=PATIENCE)


def _fact(gone: Machine, made: NewEpoch) -> dict[str, object]:
    return {
        "removed": {"id": gone.device.hex(), "label": gone.label, "number": gone.number},
        "epoch": made.header.epoch,
        "given_new_keys": [one.device.hex() for one in made.header.granted],
        "keys_dropped": [slot.id.hex() for slot in made.dropped],
    }


def _tell(name: str, gone: Machine, made: NewEpoch) -> None:
    from vaultfs.crypto.slots import describe  # noqa: PLC0415 - not for --help

    say(f"Removed '{gone.label}' from the vault '{name}'. What it has it may keep; nothing newer opens for it.")
    count = len(made.header.granted)
    say(f"{plural(count, 'machine', 'machines')} will get the new keys when they next reach the remote.")
    for slot in made.dropped:
        say(f"This no longer opens the vault: {describe(slot)}.")
    if made.dropped:
        say("Add wallets again with: vaultfs key add SIGNER; new recovery words with: vaultfs key words.")
    say("Take the machine's access to the remote away, too: with it, it could still delete what is there.")
