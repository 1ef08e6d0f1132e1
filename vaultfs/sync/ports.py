"""What the engine is given: the tree, the remote, and what only the mount can do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from vaultfs.crypto.device import DeviceIdentity
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.crypto.records import Header
    from vaultfs.remote import Remote
    from vaultfs.sync.units import Classifier
    from vaultfs.tree import Tree
    from vaultfs.tree.arrivals import Batch
    from vaultfs.tree.housekeeping import Work


@dataclass
class Pace:
    """When things are done; seconds. A commit comes `after` the last write, and at most `every` while writing goes on.

    `poll` is how often the remote is asked what is new; it grows to `idle_poll` when nothing happens.
    """

    after: float = 1.0
    every: float = 5.0
    poll: float = 1.0
    idle_poll: float = 3.0


LIVE = Pace(after=0.1, every=0.4, poll=0.2, idle_poll=0.3)


class Mount(Protocol):
    """What only a mounted tree can do."""

    async def handover(self) -> None:
        """Have the kernel hand over what was written to files that are open."""

    async def present_all(self, batches: Sequence[Batch]) -> list[bool]:
        """Put prepared batches in place, through the kernel where it knows them; False: not now."""


async def _keep_nothing(_header: Header) -> None:
    """Without a vault on disk there is no header to keep."""


@dataclass
class Ports:
    """Everything the engine works with. `do` is Housekeeping.do.

    `header`: the one that the keys were opened with; `keep_header` stores a newer one, whose keys are used then;
    `offer_header` one that cannot be opened here without a wallet, for the next time that there is one.
    """

    tree: Tree
    remote: Remote
    keys: VaultKeys
    identity: DeviceIdentity
    mount: Mount
    do: Callable[[Callable[[], Work | None]], Awaitable[bool]]
    classify: Classifier
    pace: Pace = field(default_factory=Pace)
    follow_only: bool = False
    cache_limit: int = 10 << 30
    fetch_ahead: int = 64 << 20
    retention_days: int = 30
    header: Header | None = None
    keep_header: Callable[[Header], Awaitable[None]] = _keep_nothing
    offer_header: Callable[[Header], Awaitable[None]] = _keep_nothing
