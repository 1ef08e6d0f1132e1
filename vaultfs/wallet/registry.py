"""Which kinds of signer there are, and the one to take when the person names none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultfs.errors import UsageError
from vaultfs.wallet.command import CommandSigner
from vaultfs.wallet.keyfile import OWN_NAME, KeyFileSigner, make_key_file
from vaultfs.wallet.paste import PasteSigner
from vaultfs.wallet.ssh_agent import SshAgentSigner
from vaultfs.wallet.surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vaultfs.wallet.signer import Signer

# One line per kind: what stands before the colon, and what makes a signer of what stands after it.
KINDS: dict[str, Callable[[str, Surroundings], Signer]] = {
    "keyfile": KeyFileSigner.from_spec,
    "command": CommandSigner.from_spec,
    "paste": PasteSigner.from_spec,
    "ssh-agent": SshAgentSigner.from_spec,
}


def open_signer(spec: str, around: Surroundings | None = None) -> Signer:
    """The signer that `spec` describes: `KIND:ARGUMENT`, `KIND`, or the path of a key file.

    Raises:
        UsageError: no such kind of signer.
        KeyFileError: the key file cannot be used.
        SignerError: the wallet cannot be reached.
    """
    around = around or Surroundings()
    kind, colon, argument = spec.partition(":")
    if kind in KINDS:
        return KINDS[kind](argument, around)
    if colon and "/" not in kind and not _exists(around.path(spec)):
        raise UsageError(detail=f"There is no signer of kind '{kind}'. There are: {', '.join(KINDS)}")
    return KeyFileSigner(around.path(spec))


def find_default_signer(home: Path, config_dir: Path) -> str | None:
    """The spec of the signer to take when none is named, or None when there is no such key on this machine.

    Solana's own key file under `home` where there is one, else the one vaultfs made in `config_dir`.
    """
    for path in (home / ".config" / "solana" / "id.json", config_dir / OWN_NAME):
        if _exists(path):
            return f"keyfile:{path}"
    return None


def default_signer(home: Path, config_dir: Path) -> tuple[str, bool]:
    """As `find_default_signer`, but a key is made where there is none: `(spec, whether it was made just now)`.

    For `init` only: a vault that exists is not opened by a new key. The new file lies in `config_dir`, mode 0600,
    and the person must be told to keep a copy. Raises `KeyFileError`.
    """
    found = find_default_signer(home, config_dir)
    if found is not None:
        return found, False
    own = config_dir / OWN_NAME
    make_key_file(own)
    return f"keyfile:{own}", True


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a directory on the way may not be entered
        return False
