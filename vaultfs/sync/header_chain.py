"""Which of a vault's headers are right: those whose keys go on from the keys of the ones before, from the first one on.

Whoever ever had the vault's keys can make a header that authenticates, with a new key of his own and, from a signature
he has kept, a slot that a wallet opens. What he cannot have is the newer key of a header that lies there before his.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vaultfs.crypto.earlier import with_earlier
from vaultfs.crypto.records import TriesSpentError, check_mac
from vaultfs.errors import HeaderDamagedError, SignerError, SignerNotDeterministicError, VaultfsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.crypto.records import Header

    Opener = Callable[[Header, str], VaultKeys]


class Found(NamedTuple):
    """A header of the remote that is whole; only its MAC tells whether it is right. `path`: as a person knows it."""

    number: int
    header: Header
    path: str


def vouched(header: Header, keys: VaultKeys, *, path: str) -> VaultKeys | None:
    """The keys of an earlier header, if `keys` go on from them; None else. Takes no wallet."""
    if header.vault_id != keys.vault_id or header.epoch > keys.epoch:
        return None
    try:
        found = with_earlier(header, keys.masters()[header.epoch - 1], path=path)
    except HeaderDamagedError:
        return None
    return found if keys.continues(found) else None


class Chain:
    """Opens headers, with as few signatures as will do: what a header that is open vouches for needs none.

    `errors`: by its place in `found`, why a header does not count; `branches`: of those that do open.
    """

    def __init__(self, open_it: Opener, found: Sequence[Found], known: VaultKeys | None) -> None:
        self.errors: dict[int, VaultfsError] = {}
        self.branches: list[HeaderDamagedError] = []
        self._open_it = open_it
        self._found = found
        self._known = known
        self._opened: dict[int, VaultKeys] = {}

    def open(self, here: Found | None) -> None:
        """Open all that can be opened; `here` is what this machine has, and has to open. Call before `best`.

        Raises:
            SignerError: the wallet gave no signature: then nobody knows which header is right.
            HeaderDamagedError: more was to be tried than right headers ever take.
        """
        try:
            self._open(here)
        except TriesSpentError:
            raise self._crowded() from None

    def _open(self, here: Found | None) -> None:
        for place, one in enumerate(self._found):  # the newest first, which vouches for the others
            try:
                self._opened[place] = self._keys(one)
            except (SignerError, SignerNotDeterministicError):
                raise
            except VaultfsError as error:
                self.errors[place] = error
        if here is not None:
            self._known = self._keys(here)

    def _keys(self, one: Found) -> VaultKeys:
        for keys in (self._known, *self._opened.values()):
            mine = None if keys is None else vouched(one.header, keys, path=one.path)
            if mine is not None:
                return mine
        mine = self._open_it(one.header, one.path)
        check_mac(one.header, mine.header(), path=one.path)
        return mine

    def best(self) -> tuple[Found, VaultKeys] | None:
        """The newest that goes on from all before it, and its keys; if all are older than what is known, of those."""
        best = older = None
        keys = self._known
        unknown: list[Found] = []
        for place, one in reversed([*enumerate(self._found)]):
            mine = self._opened.get(place)
            if mine is None:
                unknown.append(one)
            elif keys is not None and not mine.continues(keys):
                if best is None and keys.continues(mine):
                    older = one, mine
                else:
                    self._refuse(place, "its keys are not those of the headers before it, continued")
            elif keys is not None and mine.epoch > keys.epoch and not _vouches(mine, unknown):
                self._refuse(place, f"its keys are not those of vault.{unknown[-1].number} before it")
            else:
                best, keys = (one, mine), mine
        return best or older

    def _refuse(self, place: int, detail: str) -> None:
        error = self.errors[place] = HeaderDamagedError(path=self._found[place].path, detail=detail)
        self.branches.append(error)

    def _crowded(self) -> HeaderDamagedError:
        what = f"it is the newest of {len(self._found)}, and opening them takes more tries than a vault's own ever do"
        return HeaderDamagedError(path=self._found[0].path, detail=f"{what}; take away those that are not the vault's")


def _vouches(keys: VaultKeys, unknown: Sequence[Found]) -> bool:
    """Whether the headers that did not open are of these keys: a new key is made on top of all that lie there."""
    return all(vouched(one.header, keys, path=one.path) is not None for one in unknown)
