"""The status of a vault as seen from outside its daemon: asked of the daemon, or found on the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from vaultfs.daemon.client import NoAnswerError, call
from vaultfs.daemon.lock import MOUNT, Holder, holder_of, last_holder
from vaultfs.daemon.status import Status, decode
from vaultfs.fuse.mountinfo import vault_at

if TYPE_CHECKING:
    from vaultfs.daemon.paths import VaultPlaces

ANSWER_SECONDS = 5.0


def report(vault: VaultPlaces, *, remote: str = "") -> Status:
    """The status of `vault`, which must exist. Damage is reported in it, not raised."""
    holder, state, problems = holder_of(vault), "busy", []
    if holder is not None and holder.purpose in {MOUNT, "unknown"}:
        try:
            return decode(call(vault.socket, "GET", "/status", timeout=ANSWER_SECONDS))
        except (NoAnswerError, msgspec.DecodeError):
            state = "mounted"
            problems = [f"the daemon (pid {holder.pid}) does not answer on {vault.socket}"]
    elif holder is None:
        last = last_holder(vault)
        if last.mountpoint and vault_at(last.mountpoint):
            holder, state = last, "dead"
            problems = ["its daemon has died; mounting it again cleans up"]
        else:
            holder, state = Holder(), "unmounted"
    from vaultfs.daemon.on_disk import on_disk  # noqa: PLC0415 - loads cryptography: not where a daemon answers

    return on_disk(vault, remote, holder, state, problems)
