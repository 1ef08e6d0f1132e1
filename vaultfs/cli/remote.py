"""`vaultfs remote`: where a vault is published."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

import click

from vaultfs.cli.options import json_option, pass_app, vault_option, verb, wallet_option
from vaultfs.cli.output import emit, say, size, warn
from vaultfs.cli.remotely import with_remote
from vaultfs.errors import NoRemoteError, UsageError

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.remote import Remote

PROBE = 4096


@click.group(
    "remote",
    epilog="\b\nExamples:\n  vaultfs remote show\n  vaultfs remote set drive:agent-vault\n  vaultfs remote test",
)
def command() -> None:
    """Show, set and try the place where a vault is published."""


@verb("show", examples=["remote show", "remote show --vault work --json"])
@vault_option
@json_option
@pass_app
def show(app: App, vault: str | None, as_json: bool) -> None:
    """Show the remote that is recorded, and how it is if the vault is mounted. Asks the remote nothing."""
    from vaultfs.daemon.report import report  # noqa: PLC0415 - not for --help

    place = app.vault(vault)
    spec, source = app.remote(place.name), app.config.find("remote", vault=place.name).source
    sync = report(place).sync
    if as_json:
        trouble = sync.trouble if sync is not None else None
        reachable = sync.reachable if sync is not None else None
        emit({"remote": spec or None, "source": source, "reachable": reachable, "trouble": trouble})
        return
    if not spec:
        raise NoRemoteError(name=place.name)
    say(f"{spec} (from the {source})")
    if sync is not None:
        say(sync.trouble.text if sync.trouble is not None else "It works." if sync.reachable else "Not asked yet.")
        counts = sync.requests
        if counts:
            made = ", ".join(f"{counts.get(name, 0)} {name}" for name in ("puts", "gets", "lists", "deletes"))
            up, down = size(counts.get("bytes_up", 0)), size(counts.get("bytes_down", 0))
            say(f"Since the mount: {made}; {up} up, {down} down.")


@verb("set", examples=["remote set drive:agent-vault", "remote set /mnt/nas/vault --vault work"])
@click.argument("remote", metavar="R")
@vault_option
@wallet_option
@pass_app
def put(app: App, remote: str, vault: str | None, wallet: str | None) -> None:
    """Publish the vault to R from the next mount on: an rclone remote, or a directory.

    R is a place where nothing is yet, or one that has this vault already (moved there with rclone). To move a vault
    that is published, copy it first: rclone copy OLD NEW.
    """
    from vaultfs.cli.setting_remote import set_remote  # noqa: PLC0415 - not for --help

    place = app.vault(vault)
    spec = app.remote(place.name, remote)
    made = set_remote(app, place, spec, wallet)
    app.config.write("remote", spec, vault=place.name)
    say(f"The vault '{place.name}' is published to {spec} from its next mount on.")
    if not made:
        say("It has been there before.")


@verb("test", examples=["remote test", "remote test --remote s3:bucket/vault --json"])
@click.option("--remote", metavar="R", help="Another than the one that is recorded.")
@vault_option
@json_option
@pass_app
def test(app: App, remote: str | None, vault: str | None, as_json: bool) -> None:
    """Write a small object to the remote, list it, read it, remove it, and tell how long each took."""
    place = app.named(vault) if remote else app.vault(vault)
    spec = app.remote(place.name, remote)
    if not spec:
        raise NoRemoteError(name=place.name)
    seconds = with_remote(app, spec, _try)
    if as_json:
        emit({"remote": spec, "ok": True, "seconds": seconds})
        return
    for what, took in seconds.items():
        say(f"{what:<8}{took * 1000:8.0f} ms")
    say(f"{spec} works.")


@verb("limit", examples=["remote limit 500000", "remote limit 0"])
@click.argument("rate", metavar="BYTES", type=click.IntRange(min=0))
@vault_option
@pass_app
def limit(app: App, rate: int, vault: str | None) -> None:
    """Use at most BYTES a second each way from now on, and after the next mount; 0: no limit."""
    from vaultfs.daemon.asking import BandwidthRequest, ask, is_mounted  # noqa: PLC0415 - not for --help

    place = app.vault(vault)
    app.config.write("bandwidth", str(rate), vault=place.name)
    if is_mounted(place):
        ask(place, "/bandwidth", BandwidthRequest(rate))
    say(f"At most {size(rate)} a second." if rate else "No limit.")


async def _try(remote: Remote) -> dict[str, float]:
    """In a directory of its own, where nobody else looks."""
    name, data = f"test/{secrets.token_hex(16)}", secrets.token_bytes(PROBE)
    seconds: dict[str, float] = {}

    async def timed(what: str, work: object) -> object:
        started = time.monotonic()
        result = await work  # type: ignore[misc]
        seconds[what] = time.monotonic() - started
        return result

    try:
        await timed("write", remote.put(name, data))
        listed = await timed("list", remote.list("test"))
        if name not in [entry.name for entry in listed]:  # type: ignore[attr-defined]
            warn("What was just written is not listed yet; that may take a while, and does no harm.")
        if await timed("read", remote.get(name, 0, PROBE + 1)) != data:
            raise UsageError(detail="The remote gave back something else than was written")
    finally:
        await timed("remove", remote.delete(name))
    return seconds


for _verb in (show, put, test, limit):
    command.add_command(_verb)
