"""A machine that was cloned, or restored from an older image, goes on as a new device.

Its counters have been used: by its twin, or by itself before it was set back. It finds that out by a head of its own
on the remote that it never made. Then what it committed since the last head that both know becomes commits of a new
device, and the other's are merged like anybody's.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import trio

from vaultfs import clock
from vaultfs.crypto.device import load_device, make_device, seal_device
from vaultfs.sync.restamp import restamp
from vaultfs.sync.vectors import stepped

if TYPE_CHECKING:
    from vaultfs.crypto.device import DeviceIdentity
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.sync.commits import Commits
    from vaultfs.sync.ports import Ports
    from vaultfs.tree.ledger import Ledger

_log = logging.getLogger(__name__)

_FACT = "identity"


def stored_identity(ledger: Ledger, keys: VaultKeys) -> DeviceIdentity | None:
    """The identity that this machine took since its vault was made; None: it still has its first."""
    record = ledger.fact(_FACT)
    return None if record is None else load_device(record, keys, path="the local store")


async def be_another(ports: Ports, commits: Commits, above: int) -> None:
    """Take a new identity; commits of ours above `above` become its own. Raises what nodes and the disk raise."""
    tree, old = ports.tree, ports.identity
    async with commits.busy:
        await commits.commit_now()
        base = commits.base()
        new = make_device(old.label)
        if base is not None:
            nodes = commits.nodes()
            state = await trio.to_thread.run_sync(partial(restamp, nodes, base, old.id, above, new.id))
            packs = await commits.adopt(nodes)
            for waiting in tree.ledger.outbox():
                packs = [*waiting.packs, *packs]
            number, now = commits.next_number(), clock.now()
            state = state._replace(vector=stepped(state.vector, new.id, number))
            head = commits.head(state, number, now, packs, new)  # if it cannot be made, nothing has happened
        for waiting in tree.ledger.outbox():
            tree.ledger.withdraw(waiting.number)
        tree.ledger.set_fact(_FACT, seal_device(new, ports.keys))
        ports.identity = new
        tree.be(new.id, new.label)
        tree.state.file_ids.begin(tree.state, tree.state.next_ino)  # a clone makes files with the same numbers
        if base is not None:
            commits.put(state, number, head, packs, now)
        try:
            await commits.checkpoint()
        except BaseException:
            # A full disk took it back: the outbox is the old one's again, and so is what will be changed.
            ports.identity = stored_identity(tree.ledger, ports.keys) or old
            tree.be(ports.identity.id, ports.identity.label)
            tree.state.file_ids.load(tree.state)
            raise
    _log.warning("this machine's counters were used by another: it goes on as device %s", new.id.hex()[:8])
