"""`vaultfs repair`: what the remote has lost is stored again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from vaultfs.cli.options import json_option, pass_app, vault_option, verb, wallet_option
from vaultfs.cli.output import emit, plural, printable, say, size
from vaultfs.cli.progress import Bar
from vaultfs.cli.remotely import run
from vaultfs.errors import LostError, NoRemoteError, ProblemsFoundError

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.sync.repair import LostPath, Repaired

SHOWN = 100


@verb("repair", examples=["repair --dry-run", "repair", "repair --read-data --json"])
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--read-data", is_flag=True, help="Look at every byte on the remote, not only whether it is there.")
@vault_option
@wallet_option
@json_option
@pass_app
def command(app: App, *, dry_run: bool, read_data: bool, vault: str | None, wallet: str | None, as_json: bool) -> None:
    """Store again what the remote has lost or holds damaged, as far as this machine has it; say what is gone.

    Try it on every machine: each has other things in its cache. Ends with 0 if now all is there, with 51 if files are
    not whole, and with --dry-run with 50 if there is something to repair. Nothing is removed. Needs the wallet, unless
    the vault is mounted.
    """
    from vaultfs.daemon import upkeep  # noqa: PLC0415 - not for --help

    place = app.vault(vault)
    spec = app.remote(place.name)
    if not spec:
        raise NoRemoteError(name=place.name)
    with Bar("Looking at the remote", quiet=as_json) as bar:
        asking = upkeep.Asking(
            place, spec, lambda: app.unlock(place, wallet).keys, run,
            lambda step: bar.update(step.done, step.total, step.text or None),
        )  # fmt: skip
        done = asking.repair(upkeep.RepairRequest(dry_run, read_data))
    if as_json:
        facts = msgspec.to_builtins(done)
        facts["paths"] = [{**msgspec.to_builtins(lost), "path": printable(lost.path)} for lost in done.paths]
        emit({"vault": place.name, **facts})
    else:
        _say(done, spec)
    if done.gone:
        raise LostError(count=len({lost.path for lost in done.paths}), remote=spec)
    if dry_run and done.lost:
        raise ProblemsFoundError(count=len(done.lost))


def _say(done: Repaired, spec: str) -> None:
    for lost in done.lost[:SHOWN]:
        say(f"{lost.object}: {printable(lost.detail)}")
    for path in done.paths[:SHOWN]:
        say(_gone(path))
    if len(done.paths) > SHOWN:
        say(f"… and {plural(len(done.paths) - SHOWN, 'path', 'paths')} more; use --json to see all.")
    for alarm in done.alarms:
        say(f"{printable(alarm)}; see: vaultfs heads accept")
    if done.stored or done.copied:
        what = "can be stored again" if done.dry_run else "stored again"
        objects = f"{plural(done.stored, 'object', 'objects')} ({size(done.stored_bytes)})"
        say(f"{objects} and {done.copied:,} parts of others ({size(done.copied_bytes)}) {what}.")
    elif not done.lost:
        say(f"Nothing to repair on {spec}.")


def _gone(lost: LostPath) -> str:
    what = "what is in it is not known" if lost.directory else "not whole"
    older = f"; it is whole in {lost.whole_in}" if lost.whole_in else ""
    return f"Gone: {printable(lost.path) or '/'} in {lost.commit}: {what}{older}"
