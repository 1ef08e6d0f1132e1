"""What every verb shares: where things are, what is configured, and which vault is meant."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vaultfs.daemon.config import Config, load
from vaultfs.daemon.paths import Places, VaultPlaces, places

if TYPE_CHECKING:
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.crypto.records import Header
    from vaultfs.wallet import Signer


class Unlocked(NamedTuple):
    """An open vault's header and keys, and the address of the wallet ("" for the recovery words)."""

    header: Header
    keys: VaultKeys
    address: str


class App:
    """One run of the program."""

    @cached_property
    def places(self) -> Places:
        """The directories of this machine."""
        return places()

    @cached_property
    def config(self) -> Config:
        """The settings; ConfigError if the file is wrong."""
        return load(self.places.config_file)

    def named(self, flag: str | None) -> VaultPlaces:
        """The vault that is named by flag, environment or file, else "default". It need not exist."""
        return self.places.vault(self.config.text("vault", flag=flag))

    def vault(self, flag: str | None) -> VaultPlaces:
        """The vault that is meant; where none is named and there is just one, that one. NoVaultError."""
        found = self.config.find("vault", flag=flag)
        names = self.places.names()
        if found.source == "default" and len(names) == 1:
            return self.places.vault(names[0])
        return self.places.existing(str(found.value))

    def signer(self, vault: VaultPlaces, flag: str | None) -> Signer | None:
        """The wallet to open `vault` with: by flag, environment, file, else the default of this machine.

        None stands for the recovery words.
        """
        from vaultfs.wallet import default_signer  # noqa: PLC0415 - 40 ms most verbs don't need

        spec = self.config.text("wallet", flag=flag, vault=vault.name)
        if spec == "words":
            return None
        return self.open_signer(spec or default_signer(self.places.home, self.places.config)[0])

    def open_signer(self, spec: str) -> Signer:
        """The signer that `spec` describes; its warnings are shown."""
        from vaultfs.cli.output import warn  # noqa: PLC0415 - only where there is something to say
        from vaultfs.wallet import open_signer  # noqa: PLC0415 - as above

        signer = open_signer(spec)
        for text in signer.warnings:
            warn(text)
        return signer

    def unlock(self, vault: VaultPlaces, flag: str | None) -> Unlocked:
        """Open `vault` with the wallet; may ask the person for a signature or the words."""
        from vaultfs.daemon.vault import opener, read_header, take_offer  # noqa: PLC0415 - as above

        header = read_header(vault)
        signer = self.signer(vault, flag)
        open_it = opener(signer, vault.name)
        keys = open_it(header, str(vault.header))
        if vault.offered.exists():
            header, keys = take_offer(vault, keys, open_it) or (header, keys)
        return Unlocked(header, keys, signer.address if signer else "")

    @staticmethod
    def absolute(spec: str) -> str:
        """`spec` as the settings keep it: a key file by its full path, whatever the directory was."""
        from vaultfs.wallet import KINDS  # noqa: PLC0415 - as above

        kind, _, path = spec.partition(":")
        if kind in KINDS and kind != "keyfile":
            return spec
        return "keyfile:" + str(Path(path if kind == "keyfile" else spec).expanduser().absolute())

    def remote(self, vault: str, flag: str | None = None) -> str:
        """The remote of that vault, by flag, environment or file; a directory by its full path. "": it has none."""
        from vaultfs.remote.opening import is_directory  # noqa: PLC0415 - as above

        spec = self.config.text("remote", flag=flag, vault=vault)
        return str(Path(spec).expanduser().absolute()) if is_directory(spec) else spec
