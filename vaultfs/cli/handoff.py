"""`vaultfs handoff`: is it safe to open elsewhere?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from vaultfs.cli.options import json_option, pass_app, vault_option, verb
from vaultfs.cli.output import emit, say, warn
from vaultfs.cli.publishing import ask_with_bar, outcome
from vaultfs.errors import UsageError, VaultfsError

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.daemon.paths import VaultPlaces


@verb("handoff", examples=["handoff", "handoff --timeout 60", "handoff --vault work --json", "handoff --all"])
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="How long to wait (sync_timeout).")
@vault_option
@click.option("--all", "every", is_flag=True, help="Every vault that is mounted here and has a remote.")
@json_option
@pass_app
def command(app: App, *, timeout: float | None, vault: str | None, every: bool, as_json: bool) -> None:
    """Wait until everything written here is on the remote: when it returns 0, it is safe to open elsewhere.

    Ends with 45 when time is over, and with the remote's own code when it does not take it. Nothing is lost then.
    With --all nothing need be mounted: that is what runs before a machine sleeps.
    """
    if every and vault:
        raise UsageError(detail="--all is every vault; leave out --vault")
    if every:
        _every(app, timeout, as_json=as_json)
        return
    place = app.vault(vault)
    found = _hand_off(app, place, timeout, quiet=as_json)
    if as_json:
        emit(found)
        return
    say("Safe to open elsewhere: everything that was written here is on the remote.")
    for item in found["open_for_writing"]:
        warn(f"Still open for writing here: {item}")


def _hand_off(app: App, place: VaultPlaces, timeout: float | None, *, quiet: bool) -> dict[str, Any]:
    from vaultfs.daemon.asking import HandoffRequest  # noqa: PLC0415 - not for --help

    seconds = app.config.number("sync_timeout", flag=timeout, vault=place.name)
    ask_with_bar(place, "/handoff", HandoffRequest(seconds), seconds, quiet=quiet)
    return outcome(place)


def _every(app: App, timeout: float | None, *, as_json: bool) -> None:
    """All at once, so that one slow remote takes no time from the others. Raises the first that failed."""
    from vaultfs.daemon.lock import MOUNT, holder_of  # noqa: PLC0415 - not for --help

    app.config  # noqa: B018 - read once, before threads would each read it
    found = [app.places.vault(name) for name in app.places.names()]
    holders = [(place, holder_of(place)) for place in found if app.remote(place.name)]
    mounted = [place for place, holder in holders if holder and holder.purpose == MOUNT and not holder.read_only]
    with ThreadPoolExecutor(max(1, len(mounted))) as pool:
        work = partial(_hand_off, app, timeout=timeout, quiet=True)
        futures = [(place, pool.submit(work, place)) for place in mounted]
    done = [future.result() for _, future in futures if future.exception() is None]
    if as_json:
        emit(done)
    else:
        say("\n".join(f"{fact['vault']}: everything is on the remote." for fact in done) or "Nothing is mounted.")
    failed = [(place, error) for place, future in futures if (error := future.exception()) is not None]
    for place, error in failed[1:]:
        warn(f"{place.name}: {error.message if isinstance(error, VaultfsError) else error}")
    if failed:
        raise failed[0][1]
