"""What the engine tells of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultfs import clock
from vaultfs.errors import (
    RemoteError,
    RemoteFullError,
    RemoteGoneError,
    RemotePermissionError,
    RemoteSignInError,
    RemoteUnavailableError,
    VaultfsError,
)
from vaultfs.sync.facts import Alarm, Commit, DeviceFacts, Hold, Kind, OpenThere, Pending, SyncFacts, Transfers, Trouble
from vaultfs.tree.inode import PAGE

if TYPE_CHECKING:
    from vaultfs.format.head import Head
    from vaultfs.sync.checkout import Checkout
    from vaultfs.sync.heads import Heads
    from vaultfs.sync.ports import Ports
    from vaultfs.sync.publish import Publisher

_KINDS = (
    (RemoteUnavailableError, Kind.UNREACHABLE),
    (RemoteSignInError, Kind.SIGN_IN),
    (RemotePermissionError, Kind.PERMISSION),
    (RemoteFullError, Kind.FULL),
    (RemoteGoneError, Kind.GONE),
)


def kind_of(error: RemoteError) -> Kind:
    """What a person calls it."""
    return next((kind for known, kind in _KINDS if isinstance(error, known)), Kind.REFUSED)


def _text(error: Exception) -> str:
    if isinstance(error, VaultfsError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return f"This machine's disk: {error.strerror}."
    return f"Something unexpected happened ({type(error).__name__}); the log says more. It is tried again."


class Report:
    """Keeps what happened last, and puts it together with how things stand."""

    def __init__(self, ports: Ports, heads: Heads, publisher: Publisher, checkout: Checkout) -> None:
        self._ports = ports
        self._heads = heads
        self._publisher = publisher
        self._checkout = checkout
        self._published: Commit | None = None
        self._troubles: dict[str, Trouble] = {}
        self.lacking: Trouble | None = None  # newer keys of the vault, that this machine was not given
        self._seen = 0
        self._trying = 0  # since when the remote is asked in vain
        self._since = clock.now()  # what was made before is no news
        self.conflicts = 0
        self._damaged: dict[str, Alarm] = {}

    def published(self, number: int, moment: int) -> None:
        """A commit of ours is on the remote."""
        self._published = Commit(number, moment)

    def worked(self, now: int) -> None:
        """The remote was looked at."""
        self._seen = now

    def damaged(self, name: str, detail: str) -> None:
        """The remote gave wrong bytes for an object. They were not used."""
        text = f"{name} is not what was stored: {detail}. It was not used; vaultfs check --remote looks for more"
        self._damaged.setdefault(name, Alarm("damaged", text, object=name, since=clock.now()))

    def failed(self, what: str, error: Exception) -> None:
        """Something did not work; it will be tried again. What else works says nothing about it."""
        kind = kind_of(error) if isinstance(error, RemoteError) else Kind.REFUSED
        before = self._troubles.get(what)
        since = before.since if before is not None and before.kind == kind else clock.now()
        self._troubles[what] = Trouble(kind, _text(error), since)

    def mended(self, what: str) -> None:
        """It works, now."""
        self._troubles.pop(what, None)

    @property
    def _trouble(self) -> Trouble | None:
        """What failed for good; else what the remote is being asked for again and again, which can take minutes."""
        told = min(self._troubles.values(), key=lambda trouble: trouble.since, default=None)
        error = self._ports.remote.trouble
        if error is None:
            self._trying = 0
            return told
        self._trying = self._trying or clock.now()
        return told or Trouble(kind_of(error), _text(error), self._trying)

    def keys(self, error: VaultfsError | None) -> None:
        """Newer keys of the vault could not be had; None: there is nothing to say."""
        if error is None or self.lacking is None or self.lacking.text != error.message:
            self.lacking = None if error is None else Trouble(Kind.REFUSED, error.message, clock.now())

    @staticmethod
    def lasting(error: RemoteError) -> bool:
        """Whether waiting does not mend it."""
        return not isinstance(error, RemoteUnavailableError)

    def facts(self) -> SyncFacts:
        """How things stand."""
        ports, tree = self._ports, self._ports.tree
        base = tree.ledger.base
        about = [*self._heads.alarms, *self._heads.unread.alarms]
        alarms = [*about, *self._damaged.values()]
        distrusted = {alarm.device for alarm in about}
        vector = {} if base is None else base.vector
        devices = [self._device(head, vector, distrusted) for head in self._heads.seen]
        outbox = tree.ledger.outbox()
        return SyncFacts(
            remote=ports.remote.label,
            reachable=None if not self._seen and self._trouble is None else self._trouble is None,
            trouble=self._trouble or self.lacking,
            root=b"" if base is None else base.root,
            published=self._published,
            committed=Commit(vector[ports.identity.id], 0) if ports.identity.id in vector else None,
            seen=self._seen,
            devices=devices,
            pending=self._pending(len(outbox), outbox[0].time if outbox else 0),
            holds=self._holds(),
            lag=len(tree.ledger.lag()),
            conflicts=self.conflicts,
            alarms=alarms,
            transfers=Transfers(),
            requests={name: value for name, value in vars(ports.remote.requests).items() if isinstance(value, int)},
            read_only=ports.follow_only,
        )

    def _pending(self, commits: int, oldest: int) -> Pending:
        tree = self._ports.tree
        changes = tree.changes
        dirty = sum(len(pages) for pages in tree.state.pages.values()) * PAGE
        times = [moment for moment in (oldest, changes.oldest_ns) if moment]
        waiting = self._publisher.pending_bytes()
        return Pending(commits, changes.count, waiting + (dirty if changes.count else 0), min(times, default=0))

    def _device(self, head: Head, vector: dict[bytes, int], distrusted: set[bytes]) -> DeviceFacts:
        seen = self._ports.tree.ledger.seen().get(head.device)
        return DeviceFacts(
            id=head.device,
            label=head.label,
            this=head.device == self._ports.identity.id,
            last=Commit(head.number, head.time),
            lag=None if seen is None or head.time < self._since else max(seen.time - head.time, 0) / 1e9,
            waiting=vector.get(head.device, 0) < head.number,
            accepted=head.device not in distrusted,
            open=[OpenThere(item.path, item.since) for item in head.open],
            held=[OpenThere(item.path, item.since) for item in head.held],
        )

    def _holds(self) -> list[Hold]:
        tree = self._ports.tree
        out = []
        for name in self._checkout.held():
            entry = tree.state.entry(name.parent, name.name)
            ino = 0 if entry is None else entry.ino
            pids = tuple(handle.pid for handle in tree.handles.writers() if handle.ino == ino)
            pids = pids or tuple(tree.arrivals.obstacles.servers(ino))
            out.append(Hold(b"/".join(name.path), pids, staying=self._checkout.staying(name)))
        return out
