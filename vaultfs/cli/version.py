"""`vaultfs version`."""

from __future__ import annotations

from vaultfs.cli.options import json_option, verb
from vaultfs.cli.output import emit, say
from vaultfs.daemon.status import versions


@verb("version", examples=["version", "version --json"])
@json_option
def command(as_json: bool) -> None:
    """Show the versions of vaultfs and of what it stands on."""
    found = versions()
    if as_json:
        emit(found)
        return
    say(f"vaultfs {found.vaultfs}, Python {found.python}, pyfuse3 {found.pyfuse3}, Linux {found.kernel}")
