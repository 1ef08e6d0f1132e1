"""What mount(8) runs as mount.vaultfs and mount.fuse.vaultfs: a line of fstab becomes `vaultfs mount`."""

from __future__ import annotations

import os
import shlex
import sys

from vaultfs.cli.app import App
from vaultfs.cli.helper_options import Translated, switches, translate
from vaultfs.cli.helper_user import become, user_of
from vaultfs.cli.main import run
from vaultfs.errors import NoFuseError, NoVaultError, StoreFullError, StoreReadOnlyError, UsageError, VaultfsError

# What mount(8) ends with, and so what its helpers do.
USAGE, SYSTEM, INTERRUPTED, FAILED = 1, 2, 8, 32
_CODES = {0: 0, 1: SYSTEM, 2: USAGE, 60: USAGE, 130: INTERRUPTED} | {
    kind.exit_code: SYSTEM for kind in (NoFuseError, StoreFullError, StoreReadOnlyError)
}


def main(arguments: list[str]) -> int:
    """Run `mount.vaultfs ARGUMENTS`; returns the exit code as mount(8) documents it."""
    try:
        given = switches(arguments)
        wanted = translate(given)
        if given.fake:
            return 0
        become(user_of(wanted.user) if wanted.user else None)
        check(wanted)
    except UsageError as error:
        return complain(error, USAGE)
    except VaultfsError as error:
        return complain(error, FAILED)
    for word in wanted.ignored:
        sys.stderr.write(f"mount.vaultfs: the option '{word}' is not known and ignored\n")
    if given.verbose:
        sys.stderr.write(f"mount.vaultfs: vaultfs {shlex.join(wanted.arguments)}\n")
    else:
        _silent()
    return _CODES.get(run(wanted.arguments, as_json=False), FAILED)


def check(wanted: Translated) -> None:
    """NoVaultError if there is neither the vault nor a remote that has it: a mount does not make one, nor ask."""
    app = App()
    place = app.named(wanted.values.get("vault"))
    if not place.exists() and not app.remote(place.name, wanted.values.get("remote")):
        raise NoVaultError(name=place.name)


def complain(error: VaultfsError, code: int, name: str = "mount.vaultfs") -> int:
    """Say what is wrong; returns `code`."""
    sys.stderr.write(f"{name}: {error.message}\n")
    return code


def _silent() -> None:
    """As mount(8) is where all is well."""
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, 1)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
