"""What others have just published is fetched before anybody asks for it, up to a limit.

Who follows another machine is likely to read what changes there, perhaps when the remote is out of reach. A large
change is left to those who read it: the limit is for each time that something came. A vault that was only just joined
is fetched as it is read.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

import trio

from vaultfs.errors import RemoteError
from vaultfs.sync.wary import together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultfs.format.head import PackPlace
    from vaultfs.sync.fetching import Fetcher

_AT_ONCE = 2  # of the eight that the remote is asked for at once: who reads now goes first

_log = logging.getLogger(__name__)


class Ahead:
    """Fetches the packs it is told of, each once. `limit`: bytes of one call of `want`; 0: none."""

    def __init__(self, fetcher: Fetcher, limit: int) -> None:
        self._fetcher = fetcher
        self._limit = limit
        self._due: deque[PackPlace] = deque()
        self._more = trio.Event()

    def want(self, packs: Sequence[PackPlace]) -> None:
        """These packs came with what others published."""
        if sum(pack.size for pack in packs) <= self._limit:
            self._due.extend(packs)
            self._more.set()

    async def run(self) -> None:
        """Until cancelled. What cannot be fetched is left to who needs it."""
        while True:
            await self._more.wait()
            self._more = trio.Event()
            try:
                await together([self._some] * _AT_ONCE)
            except (RemoteError, OSError) as error:
                self._due.clear()
                _log.info("not fetched ahead: %s", type(error).__name__)
            except Exception:  # noqa: BLE001 - nobody has asked for it: a fault must not end what others wait for
                self._due.clear()
                _log.exception("not fetched ahead")

    async def _some(self) -> None:
        while self._due:
            await self._fetcher.whole(self._due.popleft())
