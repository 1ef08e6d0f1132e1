"""Signers: bytes in, signature out. Nothing else in the program knows how a wallet signs.

signer = open_signer("keyfile:~/.config/solana/id.json")    # or a path, command:CMD, paste, ssh-agent
signer.address, signer.public_key, signer.kind, signer.warnings
signature = verified_signature(signer, message)
spec, created = default_signer(home, config_dir)            # when the person names none
"""

from vaultfs.wallet.registry import KINDS, default_signer, find_default_signer, open_signer
from vaultfs.wallet.signer import Signer, verified_signature
from vaultfs.wallet.surroundings import StandardTerminal, Surroundings, Terminal

__all__ = [
    "KINDS",
    "Signer",
    "StandardTerminal",
    "Surroundings",
    "Terminal",
    "default_signer",
    "find_default_signer",
    "open_signer",
    "verified_signature",
]
