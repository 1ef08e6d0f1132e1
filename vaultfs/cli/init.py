"""`vaultfs init`: make a vault on this machine."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from vaultfs.cli.options import json_option, pass_app, verb, wallet_option, yes_option
from vaultfs.cli.output import confirm, emit, say, warn
from vaultfs.errors import UsageError, VaultExistsError, VaultfsError

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.crypto.records import Header
    from vaultfs.daemon.paths import VaultPlaces
    from vaultfs.remote import Remote


@verb(
    "init",
    examples=["init", "init --remote drive:agent-vault", "init work --wallet ssh-agent --remote /mnt/nas/vault --yes"],
)
@click.argument("name", required=False)
@wallet_option
@click.option("--remote", metavar="R", help="Where to publish it: an rclone remote, or a directory.")
@click.option("--device-label", metavar="TEXT", help="This machine's name in the vault (default: host name).")
@yes_option
@json_option
@pass_app
def command(
    app: App,
    *,
    name: str | None,
    wallet: str | None,
    remote: str | None,
    device_label: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Make the vault NAME on this machine (default: 'default').

    The wallet opens it: --wallet, else ~/.config/solana/id.json where that exists, else a new key file.
    Recovery words are shown once. With --remote the vault's header is put there; what is in the vault follows
    when it is mounted. A vault that is on the remote already is opened with `vaultfs mount`, on any machine.
    """
    vault = app.named(name)
    if vault.exists():
        raise VaultExistsError(name=vault.name, path=vault.root)
    confirm(f"Make the vault '{vault.name}' in {vault.root}?", yes=yes)
    _, facts = make(app, vault, wallet=wallet, remote=remote, label=device_label)
    if as_json:
        emit(facts)
        return
    show(facts, pause=not yes)
    say(f"Mount it with: vaultfs mount {'' if vault.name == 'default' else f'--vault {vault.name} '}DIRECTORY")


def make(
    app: App, vault: VaultPlaces, *, wallet: str | None, remote: str | None = None, label: str | None = None
) -> tuple[VaultKeys, dict[str, object]]:
    """Make `vault`, record its wallet and remote in the settings; returns its keys and the facts to show."""
    from vaultfs.crypto.slots import slot_address  # noqa: PLC0415 - as below: `--help` needs none of it
    from vaultfs.daemon import vault as vaults  # noqa: PLC0415
    from vaultfs.wallet import default_signer  # noqa: PLC0415

    spec, new_key = app.config.text("wallet", flag=wallet, vault=vault.name), False
    if spec == vaults.WORDS:
        raise UsageError(detail="A new vault needs a wallet; recovery words come with it")
    if not spec:
        spec, new_key = default_signer(app.places.home, app.places.config)
    remote = app.remote(vault.name, remote)
    label = app.config.text("device_label", flag=label, vault=vault.name)
    if remote:
        check_place(app, remote)
    created = vaults.create(vault, app.open_signer(spec), label=label)
    if remote:
        try:
            _publish_header(app, remote, created.header)
        except BaseException:
            vaults.forget(vault)
            raise
    try:
        app.config.write("wallet", app.absolute(spec), vault=vault.name)
        if remote:
            app.config.write("remote", remote, vault=vault.name)
    except (VaultfsError, OSError) as error:
        # The vault is there, and its words are shown only now: settings can be made later.
        warn(f"The settings could not be written ({error}); say --wallet {spec} when you mount.")
    facts: dict[str, object] = {
        "vault": vault.name,
        "vault_id": created.header.vault_id.hex(),
        "path": str(vault.root),
        "wallet": slot_address(created.header.slots[0]),
        "signer": spec,
        "new_key_file": spec.removeprefix("keyfile:") if new_key else None,
        "recovery_words": created.words,
        "remote": remote or None,
        "published": bool(remote),
    }
    return created.keys, facts


def check_place(app: App, spec: str) -> None:
    """Nothing of anybody may be on the remote yet. RemoteTakenError; RemoteError if that cannot be seen."""
    from vaultfs.cli.remotely import with_remote  # noqa: PLC0415 - loads what others don't need
    from vaultfs.errors import NotAVaultError, RemoteGoneError, RemoteTakenError  # noqa: PLC0415
    from vaultfs.remote.opening import is_directory  # noqa: PLC0415
    from vaultfs.sync.header import read_headers  # noqa: PLC0415

    try:
        with_remote(app, spec, read_headers)
    except RemoteGoneError:
        return  # to be made
    except NotAVaultError:
        there = os.listdir(spec) if is_directory(spec) else []  # noqa: PTH208 - whether there is any name
        if there:
            detail = "the directory is not empty, and no vault is in it"
            raise RemoteTakenError(remote=spec, object="content", detail=detail) from None
        return
    raise RemoteTakenError(
        remote=spec, object="vault", detail=f"open that one with: vaultfs mount DIRECTORY --remote {spec}"
    )


def _publish_header(app: App, spec: str, header: Header) -> None:
    from vaultfs.cli.remotely import with_remote  # noqa: PLC0415 - as above
    from vaultfs.sync.header import write_header  # noqa: PLC0415

    async def publish(remote: Remote) -> None:
        await remote.create()
        await write_header(remote, header.number, header)

    with_remote(app, spec, publish)


def show(facts: dict[str, object], *, pause: bool) -> None:
    """Tell the person what was made, what to keep, and the words; `pause` waits until they are written down."""
    say(f"Made the vault '{facts['vault']}'. It is opened by the wallet {facts['wallet']}.")
    if facts["new_key_file"]:
        say(f"\nThe wallet is a new key file: {facts['new_key_file']}")
        say("Keep a copy of it somewhere safe: whoever has it opens the vault, and without it (or the")
        say("recovery words) nobody does.")
    if facts["recovery_words"]:
        show_words(str(facts["recovery_words"]), pause=pause)
    if facts["remote"]:
        say(f"\nIt is published to {facts['remote']} while it is mounted. On another machine, with the same wallet:")
        say(f"    vaultfs mount DIRECTORY --remote {facts['remote']} --wallet ...")


def show_words(words: str, *, pause: bool) -> None:
    """The recovery words, numbered, once."""
    say("\nRecovery words. They open the vault without the wallet. Write them down now; they are not")
    say("shown again and are stored nowhere:\n")
    listed = words.split()
    for start in range(0, len(listed), 4):
        row = listed[start : start + 4]
        cells = [f"{start + number:>3} {word:<12}" for number, word in enumerate(row, 1)]
        say("   " + "".join(cells).rstrip())
    say("")
    if pause and sys.stdin.isatty() and sys.stdout.isatty():
        click.prompt("Press Enter when you have written them down", default="", show_default=False, err=True)
        warn("Make other words any time with: vaultfs key words")
