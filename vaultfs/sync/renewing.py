"""When a mounted vault looks for newer keys: now and then, and as soon as something is under keys that it lacks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from vaultfs.errors import DeviceRemovedError, NewerKeysError, RemoteError, VaultfsError
from vaultfs.sync.renewal import Renewal

if TYPE_CHECKING:
    from vaultfs.sync.heads import Heads
    from vaultfs.sync.ports import Ports

_log = logging.getLogger(__name__)

EVERY = 60.0  # seconds between two looks; the first is later than what is more urgent after a mount
FIRST = 20.0
_AGAIN = 5.0  # at most so often while something cannot be opened


class Renewing:
    """Keeps keys and members of the vault up to date. `trouble`: why this machine lacks newer keys, if it does."""

    def __init__(self, ports: Ports, heads: Heads) -> None:
        self.trouble: VaultfsError | None = None
        self._heads = heads
        self._due: float | None = None
        self._looked = False
        self._renewal: Renewal | None = None
        if ports.header is not None:
            self._renewal = Renewal(
                ports.remote, ports.keys, lambda: ports.identity, ports.header, ports.keep_header, ports.offer_header
            )
            heads.members = self._renewal.members

    async def before_publishing(self) -> None:
        """The first time after a mount there may be new keys: what waits is not to be under old ones.

        Raises `RemoteError`, and `trouble` as long as this machine lacks the newest keys: what it published would open
        for the device that was removed, and count for nobody.
        """
        if not self._looked:
            await self.look(now=True)
        if isinstance(self.trouble, NewerKeysError | DeviceRemovedError):
            raise self.trouble

    async def look(self, *, now: bool = False) -> bool:
        """Take over newer headers if it is time, or `now`; True: there are new keys. Raises `RemoteError`."""
        renewal, at = self._renewal, trio.current_time()
        if self._due is None:
            self._due = at + FIRST
        lacking = self._heads.unread.lacking
        if renewal is None:
            self._heads.unread.keys(lacking, grown=False)
            return False
        if not (now or at >= self._due or (lacking and at >= self._due - EVERY + _AGAIN)):
            return False
        self._due, self._looked = at + EVERY, True
        try:
            grown = await renewal.check() is not None
        except RemoteError:
            self._looked = False
            raise
        except (VaultfsError, OSError) as error:
            self.trouble = error if isinstance(error, VaultfsError) else self.trouble
            _log.warning("newer keys of the vault cannot be used: %s", type(error).__name__)
            return False
        self.trouble = None
        self._heads.members = renewal.members
        self._heads.unread.keys(lacking, grown=grown)
        return grown
