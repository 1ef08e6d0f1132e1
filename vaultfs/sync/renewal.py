"""New keys for a machine that is running: newer headers are taken over as they come, in the order of their numbers.

A header with a new epoch is believed by this device's grant, and only when its keys continue the ones that are here
(vaultfs.crypto.epochs). Order is part of that: once the real next header is taken, one that somebody with the old keys
made up does not continue it any more; and one behind a header that this device cannot open has to go on from that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultfs.crypto.epochs import members, renew
from vaultfs.errors import (
    DeviceRemovedError,
    HeaderDamagedError,
    NewerFormatError,
    NewerKeysError,
    RemoteObjectMissingError,
)
from vaultfs.format.header import MAX_BYTES, decode_header, encode_header
from vaultfs.sync.header import header_name
from vaultfs.sync.header_chain import Found, vouched

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vaultfs.crypto.device import DeviceIdentity
    from vaultfs.crypto.epochs import Members
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.crypto.records import Header
    from vaultfs.errors import VaultfsError
    from vaultfs.remote import Remote

PATIENCE = 3  # checks until a header that is damaged, and stays so, is passed over
_AT_ONCE = 100


class Renewal:
    """The newest header that this machine has, and its keys: they grow where everybody holds them.

    `header`: the one that the keys were opened with. `identity`: this device, asked at each check, as a machine can
    become another. `keep`: told every header before its keys are used, to be stored beside the vault; it may raise
    `VaultfsError`, and then is told again. `offer`: told a header that only a wallet opens here. `refused`: by number,
    headers that are not the vault's, passed over.
    """

    def __init__(
        self,
        remote: Remote,
        keys: VaultKeys,
        identity: Callable[[], DeviceIdentity],
        header: Header,
        keep: Callable[[Header], Awaitable[None]],
        offer: Callable[[Header], Awaitable[None]],
    ) -> None:
        self.header = header
        self.refused: dict[int, VaultfsError] = {}
        self._remote = remote
        self._keys = keys
        self._identity = identity
        self._keep = keep
        self._offer = offer
        self._damaged: dict[int, int] = {}
        self._passed: list[Found] = []  # by this check, since this device cannot open them
        self._number: int | None = None  # of the last header that was looked at on this remote

    @property
    def members(self) -> Members:
        """Whose heads count."""
        return members(self.header)

    async def check(self) -> VaultKeys | None:
        """Take over what newer headers there are; the keys, if they grew. One request when nothing is new, first two.

        Raises:
            DeviceRemovedError: the newest header says that this device was removed.
            NewerKeysError: there are new keys, and this device was not given them: a wallet opens them.
            HeaderDamagedError: somebody else put it there; after `PATIENCE` checks it is in `refused` instead.
            NewerFormatError, what the remote raises, what `keep` raises.
        """
        before, known = self._keys.epoch, self.header
        if self._number is None:
            # A vault that was moved to another remote begins there with number 1 again.
            there = await self._get(known.number)
            same = there == encode_header(known) and known.epoch == before
            self._number = known.number if same else 0
        number = self._number
        problem: VaultfsError | None = None
        self._passed = []
        for _ in range(_AT_ONCE):
            number += 1
            if number in self.refused:
                continue
            data = await self._get(number)
            if data is None:
                break
            try:
                await self._take(data, number)
            except (NewerFormatError, DeviceRemovedError) as error:
                problem = error  # a later header may know this device
            except HeaderDamagedError as error:
                # What somebody put behind a header that this device cannot open does not hide that there is one.
                doubt = self._doubt(number, error)
                problem = problem if isinstance(problem, NewerKeysError | DeviceRemovedError) else doubt
            else:
                self._number, problem = number, None
        if problem is not None and self.header is known:
            raise problem  # else it comes with the next check, and what was taken is used now
        return self._keys if self._keys.epoch > before else None

    async def _get(self, number: int) -> bytes | None:
        try:
            return await self._remote.get(header_name(number), 0, MAX_BYTES + 1)
        except RemoteObjectMissingError:
            return None

    async def _take(self, data: bytes, number: int) -> None:
        path = f"{header_name(number)} on {self._remote.label}"
        header = decode_header(data, path=path)
        if header.number != number:
            raise HeaderDamagedError(path=path, detail=f"it is number {header.number}, stored under another name")
        if (header.epoch, number) <= (self._keys.epoch, self.header.number):
            return  # older than what is here; whoever it is from, it changes nothing
        try:
            newer = renew(header, self._identity(), self._keys, path=path)
        except (NewerKeysError, DeviceRemovedError) as error:
            self._passed.append(Found(number, header, path))
            if isinstance(error, NewerKeysError):
                await self._offer(header)
            raise
        for one in self._passed if newer.epoch > self._keys.epoch else ():
            if vouched(one.header, newer, path=one.path) is None:
                detail = f"its keys are not those of {header_name(one.number)} before it"
                raise HeaderDamagedError(path=path, detail=detail)
        await self._keep(header)
        self._keys.extend(newer)
        self.header = header

    def _doubt(self, number: int, error: VaultfsError) -> VaultfsError:
        count = self._damaged[number] = self._damaged.get(number, 0) + 1
        if count >= PATIENCE:
            self.refused[number] = error
        return error
