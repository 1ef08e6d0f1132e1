"""What umount(8) runs as umount.fuse.vaultfs: it returns when what was written is on the remote, too.

That is how a vault that fstab mounted is complete elsewhere when the machine shuts down.
"""

from __future__ import annotations

import os
import pwd
import sys
from contextlib import suppress

from vaultfs.cli.app import App
from vaultfs.cli.helper_mount import FAILED, SYSTEM, USAGE, complain
from vaultfs.cli.helper_user import account, become, settings
from vaultfs.cli.waiting import Waiting
from vaultfs.daemon import unmounting
from vaultfs.daemon.lock import holder_of
from vaultfs.daemon.paths import places
from vaultfs.errors import BusyError, VaultfsError
from vaultfs.fuse import mount, mountinfo

NAME = "umount.fuse.vaultfs"


def main(arguments: list[str]) -> int:
    """Run `umount.fuse.vaultfs DIRECTORY [-flnrv]`; returns the exit code as umount(8) documents it."""
    letters = {letter for word in arguments if word.startswith("-") and word != "-t" for letter in word[1:]}
    if not arguments or arguments[0].startswith("-"):
        sys.stderr.write("Usage: umount.fuse.vaultfs DIRECTORY [-flnrv] [-t TYPE]\n")
        return USAGE
    place = mount.resolve(arguments[0])
    entry = mountinfo.vault_at(place)
    if entry is None:
        os.execv("/bin/umount", ["umount", "-i", arguments[0]])  # noqa: S606 - a fixed program, no shell
    try:
        return _umount(place, entry.owner, lazy="l" in letters, force="f" in letters)
    except BusyError:
        sys.stderr.write(f"umount: {arguments[0]}: target is busy.\n")
        return FAILED
    except VaultfsError as error:
        return complain(error, FAILED if mountinfo.vault_at(place) else 0, NAME)
    except OSError as error:
        return complain(VaultfsError(detail=error.strerror or str(error)), SYSTEM, NAME)


def _umount(place: str, owner: int | None, *, lazy: bool, force: bool) -> int:
    """As root the mount goes first: whoever owns it need not be able to. Then, as its owner, wait for the daemon."""
    user = None
    if os.geteuid() == 0 and owner:
        with suppress(KeyError):
            user = pwd.getpwuid(owner)
    else:
        become(None)
    found = None if owner and os.geteuid() == 0 and user is None else _find(place, user)
    if not force or found is None:
        mount.detach(place, lazy=lazy or force)
    if found is None or lazy:
        return 0
    become(user)
    line = Waiting(f"Waiting for {place}")
    try:
        seconds = App().config.number("umount_timeout", vault=found.vault.name if found.vault else None)
        unmounting.unmount(found, seconds=seconds, force=force, waiting=line.because)
    finally:
        line.done()
    return 0


def _find(place: str, user: pwd.struct_passwd | None) -> unmounting.Mounted | None:
    """The mount, by the vault of `user` (None: ours) that remembers being there; None where no vault does."""
    here = places(os.environ if user is None else {**settings(), **account(user)})
    try:
        vaults = [*map(here.vault, here.names()), *here.temporaries()]
        for vault in vaults:
            holder = holder_of(vault)
            if holder is not None and holder.mountpoint == place:
                return unmounting.Mounted(place, vault, holder)
    except OSError:
        pass  # a home that root cannot read: nothing to wait for
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
