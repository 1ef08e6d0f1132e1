"""What is asked of a daemon about the remote, and its errors on the way back."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, TypeVar

import msgspec

from vaultfs import errors
from vaultfs.daemon.client import NoAnswerError, call
from vaultfs.daemon.lock import MOUNT, holder_of
from vaultfs.errors import DaemonGoneError, NotMountedError, VaultfsError

if TYPE_CHECKING:
    from vaultfs.daemon.paths import VaultPlaces

Result = TypeVar("Result")

SLACK = 30.0  # seconds beyond what the daemon itself was given


class PublishRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Commit and look; `wait` until it is on the remote, `timeout` seconds at most."""

    wait: bool = False
    timeout: float = 600.0


class HandoffRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Publish everything; give up after `timeout` seconds."""

    timeout: float = 600.0


class AcceptRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Take what is there now of the device (hex)."""

    device: str


class BandwidthRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Bytes a second; 0: no limit."""

    rate: int = 0


class DecisionRequest(msgspec.Struct, forbid_unknown_fields=True):
    """End the conflict of that name: keep it, or drop it."""

    name: str
    keep: bool


class ConflictFact(msgspec.Struct, frozen=True):
    """One conflict: how it is called, where it would be, what it is, whose it is, when it was made.

    `aside`: somebody has edited what was in place since.
    """

    name: str
    path: str
    kind: str
    bytes: int
    device: str
    label: str | None
    time: str
    aside: bool


class HeadFact(msgspec.Struct, frozen=True):
    """The newest commit of a device that was seen here. `accepted`: False while an alarm stands."""

    device: str
    label: str
    number: int
    time: str
    root: str
    accepted: bool = True


class HeadsFact(msgspec.Struct, frozen=True):
    """All of them, and one line that is the same on machines that have seen the same."""

    fingerprint: str
    heads: list[HeadFact]


class Told(msgspec.Struct, omit_defaults=True):
    """An error on its way: its class, and the fields of its sentence."""

    error: str = ""
    fields: dict[str, str] = msgspec.field(default_factory=dict)


def encode_error(error: VaultfsError) -> bytes:
    """For the answer, or for a pipe."""
    fields = {key: str(value) for key, value in error.fields.items()}
    return msgspec.json.encode(Told(type(error).__name__, fields))


def error_of(told: Told) -> VaultfsError:
    """The error again."""
    kind = getattr(errors, told.error, None)
    fields: dict[str, object] = dict(told.fields)
    return kind(**fields) if inspect.isclass(kind) and issubclass(kind, VaultfsError) else VaultfsError(**fields)


def is_mounted(vault: VaultPlaces) -> bool:
    """Whether a daemon has the vault mounted."""
    holder = holder_of(vault)
    return holder is not None and holder.purpose == MOUNT


def ask(vault: VaultPlaces, target: str, wish: msgspec.Struct, *, timeout: float = 60.0) -> None:
    """Have the daemon of `vault` do something, and wait for it. Raises what the daemon says went wrong.

    NotMountedError, DaemonGoneError.
    """
    _ask(vault, "POST", target, msgspec.json.encode(wish), timeout)


def query(vault: VaultPlaces, target: str, kind: type[Result], *, timeout: float = 60.0) -> Result:
    """What the daemon of `vault` says. Raises as `ask`."""
    answer = _ask(vault, "GET", target, b"", timeout)
    try:
        return msgspec.json.decode(answer, type=kind)
    except msgspec.DecodeError as error:
        raise DaemonGoneError(name=vault.name, path=vault.socket) from error


def _ask(vault: VaultPlaces, method: str, target: str, body: bytes, timeout: float) -> bytes:
    holder = holder_of(vault)
    if holder is None or holder.purpose != MOUNT:
        raise NotMountedError(what=f"The vault '{vault.name}'")
    try:
        answer = call(vault.socket, method, target, body=body, timeout=timeout + SLACK)
        told = msgspec.json.decode(answer, type=Told) if answer.startswith(b"{") else Told()
    except (NoAnswerError, msgspec.DecodeError) as error:
        raise DaemonGoneError(name=vault.name, path=holder.mountpoint) from error
    if told.error:
        raise error_of(told)
    return answer
