"""What a person calls something in a mounted vault, as a path from the top of the vault."""

from __future__ import annotations

import os

from vaultfs.daemon.card import in_vault
from vaultfs.daemon.text import printable
from vaultfs.errors import NotInVaultError, UsageError


def vault_path(mountpoint: str, text: str) -> str:
    """`text` is a path (links are followed) in the mount, or one from the top of the vault; "": the vault itself.

    NotInVaultError: it is somewhere else. UsageError: its name is no text, or cannot be one in a vault.
    """
    full = os.path.realpath(text)
    if full == mountpoint or full.startswith(mountpoint + "/"):
        path = full[len(mountpoint) + 1 :]
    elif text.startswith("/"):
        raise NotInVaultError(path=printable(text))
    else:
        path = text.removesuffix("/")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UsageError(detail=f"'{printable(path)}' is not written in UTF-8, as a lease has to be") from None
    if not in_vault(path):
        raise UsageError(detail=f"'{printable(text)}' is no path in the vault")
    return path
