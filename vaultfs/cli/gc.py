"""`vaultfs gc`: room on the remote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from vaultfs.cli.options import json_option, pass_app, vault_option, verb, wallet_option, yes_option
from vaultfs.cli.output import confirm, emit, plural, say, size
from vaultfs.cli.progress import Bar
from vaultfs.cli.remotely import run, when
from vaultfs.errors import NoRemoteError

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.sync.garbage import Collected

NANO = 1_000_000_000
_ASKED = (
    "Every machine of this vault should have been mounted and handed off within the last {days:g} days: what one that"
    " was away still refers to may go.\nRemove from {spec} what nothing there needs any more?"
)


@verb("gc", examples=["gc --dry-run", "gc", "gc --vault work --yes --json"])
@click.option("--dry-run", is_flag=True, help="Only say what would be done; note nothing.")
@vault_option
@wallet_option
@yes_option
@json_option
@pass_app
def command(app: App, *, dry_run: bool, vault: str | None, wallet: str | None, yes: bool, as_json: bool) -> None:
    """Remove from the remote what no commit there needs any more.

    Only what this machine has known as not needed for all of gc_grace_days is removed, so run it now and then, on one
    machine. The grace has to be longer than any machine stays away. Of packs that are mostly garbage, what is needed is
    written anew. Needs the wallet, unless the vault is mounted: then its daemon does the work.
    """
    from vaultfs.daemon import upkeep  # noqa: PLC0415 - not for --help

    place = app.vault(vault)
    spec = app.remote(place.name)
    if not spec:
        raise NoRemoteError(name=place.name)
    if not dry_run:
        days = app.config.number("gc_grace_days", vault=place.name)
        confirm(_ASKED.format(spec=spec, days=days), yes=yes, default=False)
    wish = upkeep.GcRequest(dry_run, app.config.number("gc_grace_days", vault=place.name))
    with Bar("Making room", quiet=as_json) as bar:
        asking = upkeep.Asking(
            place, spec, lambda: app.unlock(place, wallet).keys, run,
            lambda step: bar.update(step.done, step.total, step.text or None),
        )  # fmt: skip
        done = asking.gc(wish)
    if as_json:
        emit({"vault": place.name, **msgspec.to_builtins(done), "next": _instant(done.next)})
        return
    _say(done, spec)


def _instant(nanoseconds: int | None) -> str | None:
    from vaultfs.daemon.status import instant  # noqa: PLC0415 - with its only use

    return None if nanoseconds is None else instant(nanoseconds / NANO)


def _say(done: Collected, spec: str) -> None:
    would = "Would be removed" if done.dry_run else "Removed"
    say(f"{would} from {spec}: {plural(done.removed, 'object', 'objects')}, {size(done.removed_bytes)}.")
    if done.rewritten:
        how = "would be written anew" if done.dry_run else "were written anew"
        packs = plural(done.rewritten, "pack", "packs")
        say(f"{packs} of {size(done.rewritten_bytes)} with {size(done.copied)} that is needed {how}.")
    if done.waiting:
        text = (
            f"{plural(done.waiting, 'object', 'objects')} ({size(done.waiting_bytes)}) can go when their time is over"
        )
        say(f"{text}: run this again after {when(done.next)}." if done.next is not None else f"{text}.")
    if done.missing:
        say(f"{done.missing:,} parts of commits are nowhere on the remote; see: vaultfs repair")
