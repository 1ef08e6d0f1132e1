"""Where things are on this machine: the XDG directories, and the files of one vault below them.

Everything hangs on the environment of the process, so two HOMEs on one host are two machines.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vaultfs.errors import ConfigError, NoVaultError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PRIVATE = 0o700
TEMPORARY = ".at-"
RUN = "run"  # below the state directory, where there is no runtime directory


@dataclass(frozen=True)
class Places:
    """The home, and the four directories of vaultfs on this machine."""

    home: Path
    config: Path
    data: Path
    state: Path
    runtime: Path

    @property
    def config_file(self) -> Path:
        """The settings a person writes."""
        return self.config / "config.toml"

    @property
    def client_log(self) -> Path:
        """Where commands note what they did not expect."""
        return self.state / "vaultfs.log"

    def vault(self, name: str) -> VaultPlaces:
        """The files of the vault `name`; UsageError if that cannot be a name."""
        if not NAME.fullmatch(name):
            raise UsageError(
                detail=f"'{name}' cannot be a vault's name: letters, digits, dot, dash and underscore, "
                "at most 64, beginning with a letter or digit"
            )
        return VaultPlaces(name, self.data / name, self.state / f"{name}.log", self.runtime)

    def existing(self, name: str) -> VaultPlaces:
        """As `vault`; NoVaultError if it has not been made here."""
        vault = self.vault(name)
        if not vault.exists():
            raise NoVaultError(name=name)
        return vault

    def temporary(self, name: str, mark: str) -> VaultPlaces:
        """A store for one mount of an older commit of the vault `name`; `names` does not list it."""
        log = self.state / f"{name}-at.log"
        return VaultPlaces(name, self.data / f"{TEMPORARY}{name}-{mark}", log, self.runtime)

    def temporaries(self) -> list[VaultPlaces]:
        """All such stores."""
        found = [path.name.removeprefix(TEMPORARY).rpartition("-") for path in self.data.glob(f"{TEMPORARY}*-*")]
        return [self.temporary(name, mark) for name, _, mark in found if NAME.fullmatch(name)]

    def names(self) -> list[str]:
        """The vaults on this machine, sorted."""
        try:
            entries = sorted(os.listdir(self.data))  # noqa: PTH208 - names, not paths
        except FileNotFoundError:
            return []
        return [name for name in entries if NAME.fullmatch(name) and self.vault(name).exists()]


@dataclass(frozen=True)
class VaultPlaces:
    """The files of one vault on this machine."""

    name: str
    root: Path
    log: Path
    runtime: Path

    @property
    def header(self) -> Path:
        """The public slots that wrap the master key."""
        return self.root / "header"

    @property
    def offered(self) -> Path:
        """A newer header, whose keys this machine was not given: the next time that there is a wallet, it opens it."""
        return self.root / "header.offered"

    @property
    def device(self) -> Path:
        """Who this machine is in the vault."""
        return self.root / "device"

    @property
    def store(self) -> Path:
        """The encrypted working tree."""
        return self.root / "store"

    @property
    def lock(self) -> Path:
        """Locked while the vault is in use here; its text says by whom."""
        return self.root / "lock"

    @property
    def socket(self) -> Path:
        """The daemon's control socket: where it is, else where it would be."""
        return next((path for path in self.sockets if path.exists()), self.sockets[0])

    @property
    def sockets(self) -> list[Path]:
        """Where the socket of this vault can be, first where a daemon with our environment listens.

        A daemon that fstab started, or a service that asks one, may have another XDG_RUNTIME_DIR than we: none, before
        anybody has logged in. The digest keeps two HOMEs with one runtime directory apart.
        """
        digest = hashlib.sha256(os.fsencode(os.path.realpath(self.root))).hexdigest()[:16]
        places = (self.runtime, self.log.parent / RUN, Path(f"/run/user/{os.geteuid()}/vaultfs"))
        return [place / f"{self.name[:24]}-{digest}.sock" for place in dict.fromkeys(places)]

    def exists(self) -> bool:
        """Whether the vault has been made here."""
        return self.header.exists() or self.store.exists()


def places(environment: Mapping[str, str] | None = None) -> Places:
    """The directories that `environment` (by default this process's) asks for."""
    env = os.environ if environment is None else environment
    state = _directory(env, "STATE", "XDG_STATE_HOME", ".local/state")
    return Places(
        home=_home(env),
        config=_directory(env, "CONFIG", "XDG_CONFIG_HOME", ".config"),
        data=_directory(env, "DATA", "XDG_DATA_HOME", ".local/share"),
        state=state,
        runtime=_runtime(env, state),
    )


def private_directory(path: Path) -> Path:
    """`path`, made if needed, for its owner alone; ConfigError if somebody else owns it."""
    path.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    found = path.stat()
    if found.st_uid != os.geteuid():
        raise ConfigError(path=path, detail="the directory belongs to another user")
    if stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(PRIVATE)
    return path


def home_relative(path: str | Path) -> str:
    """`path` as a person writes it, with ~ for the home directory."""
    text = str(path)
    home = os.path.expanduser("~")  # noqa: PTH111 - the text is compared, no path is built
    if home not in {"/", "~"} and (text == home or text.startswith(home + "/")):
        return "~" + text[len(home) :]
    return text


def _directory(env: Mapping[str, str], kind: str, xdg: str, default: str) -> Path:
    own = env.get(f"VAULTFS_{kind}_DIR", "")
    if own:
        return Path(os.path.abspath(Path(own).expanduser()))  # noqa: PTH100 - must not follow links
    base = env.get(xdg, "")
    # The XDG specification: a relative path is invalid and to be ignored.
    return (Path(base) if base.startswith("/") else _home(env) / default) / "vaultfs"


def _runtime(env: Mapping[str, str], state: Path) -> Path:
    own = env.get("VAULTFS_RUNTIME_DIR", "")
    if own:
        return Path(os.path.abspath(Path(own).expanduser()))  # noqa: PTH100 - must not follow links
    base = env.get("XDG_RUNTIME_DIR", "")
    # After `su` the variable often still names the other user's directory.
    if base.startswith("/") and Path(base).is_dir() and Path(base).stat().st_uid == os.geteuid():
        return Path(base) / "vaultfs"
    return state / RUN


def _home(env: Mapping[str, str]) -> Path:
    home = env.get("HOME", "")
    if home.startswith("/"):
        return Path(home)
    try:
        return Path.home()
    except RuntimeError as error:
        raise ConfigError(path="~", detail="there is no home directory; set HOME") from error
