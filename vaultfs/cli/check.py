"""`vaultfs check`: is the local store whole, is the remote?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vaultfs.cli.options import json_option, pass_app, vault_option, verb, wallet_option
from vaultfs.cli.output import emit, printable, say
from vaultfs.cli.waiting import Waiting
from vaultfs.errors import ProblemsFoundError, UsageError

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.daemon.paths import VaultPlaces


@verb(
    "check",
    examples=["check", "check --read-data", "check --remote", "check --remote --read-data=5% --vault work --json"],
)
@click.option(
    "--read-data",
    is_flag=False,
    flag_value="100%",
    metavar="[=SUBSET]",
    help="Also read and authenticate every block; of the remote perhaps a part of them: --read-data=5%.",
)
@click.option("--remote", is_flag=True, help="Check what is on the remote instead of what is here.")
@vault_option
@wallet_option
@json_option
@pass_app
def command(
    app: App, *, read_data: str | None, remote: bool, vault: str | None, wallet: str | None, as_json: bool
) -> None:
    """Verify the local store: header, device, metadata, and that every block is there. With --remote: the remote.

    Ends with 0 if all is well and 50 if problems were found. Changes nothing. Needs the wallet, unless the
    vault is mounted: then its daemon does the work. Of the remote, the newest commit of every machine is checked:
    its whole tree, and that every block is there.
    """
    place = app.vault(vault)
    share = _share(read_data)
    if remote:
        from vaultfs.cli.check_remote import check  # noqa: PLC0415 - not for --help

        check(app, vault=vault, wallet=wallet, share=share, as_json=as_json)
        return
    if share not in {0.0, 1.0}:
        raise UsageError(detail="A part of the blocks can be chosen with --remote only")
    _local(app, place, wallet, read_data=bool(share), as_json=as_json)


def _share(text: str | None) -> float:
    """`5%` or `0.05` as 0.05; nothing as 0."""
    if text is None:
        return 0.0
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise UsageError(detail=f"'{text}' is no part of the blocks: say 5%, or 0.05")
    return share


def _local(app: App, place: VaultPlaces, wallet: str | None, *, read_data: bool, as_json: bool) -> None:
    from vaultfs.daemon import checking  # noqa: PLC0415 - not for --help

    line = Waiting(f"Checking the vault '{place.name}'", quiet=as_json)
    try:
        problems = checking.check(place, lambda: app.unlock(place, wallet).keys, read_data=read_data, waiting=line)
    finally:
        line.done()
    if as_json:
        emit({"vault": place.name, "read_data": read_data, "ok": not problems, "problems": problems})
    for problem in problems if not as_json else []:
        where = f" {printable(problem.path)}" if problem.path else ""
        say(f"{problem.kind}:{where} {printable(problem.detail)} ({problem.object})")
    if problems:
        raise ProblemsFoundError(count=len(problems))
    if not as_json:
        depth = "every block was read and is authentic" if read_data else "use --read-data to read every block"
        say(f"No problems found in '{place.name}'; {depth}.")
