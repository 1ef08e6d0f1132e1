"""Settings from flags, the environment and `config.toml`, in that order of precedence."""

from __future__ import annotations

import difflib
import os
import tempfile
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaultfs.daemon.paths import NAME
from vaultfs.daemon.settings import SETTINGS, Setting, Value
from vaultfs.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True)
class Found:
    """A setting's value, and where it came from: flag, environment, file or default."""

    value: Value
    source: str


class Config:
    """What `path` and the environment say. Reading checks everything, so a wrong file is told at once."""

    def __init__(self, path: Path, environment: Mapping[str, str] | None = None) -> None:
        self.path = path
        self._env = dict(os.environ if environment is None else environment)
        self._file = _load(path)

    def find(self, name: str, *, flag: object = None, vault: str | None = None) -> Found:
        """The setting `name` for `vault`; `flag` is what the command line says, None if nothing."""
        setting = self._setting(name)
        if flag is not None:
            return Found(self._convert(setting, flag, f"--{name.replace('_', '-')}"), "flag")
        if setting.variable in self._env:
            return Found(self._convert(setting, self._env[setting.variable], setting.variable), "environment")
        own = self._file.get("vaults", {}).get(vault, {})
        for table in (own, self._file):
            if name in table:
                return Found(self._convert(setting, table[name], name), "file")
        return Found(setting.default, "default")

    def text(self, name: str, *, flag: str | None = None, vault: str | None = None) -> str:
        """A text setting."""
        return str(self.find(name, flag=flag, vault=vault).value)

    def number(self, name: str, *, flag: float | None = None, vault: str | None = None) -> float:
        """A number."""
        return float(self.find(name, flag=flag, vault=vault).value)

    def truth(self, name: str, *, flag: bool | None = None, vault: str | None = None) -> bool:
        """A yes or no. A flag that was not given is None, not False."""
        return bool(self.find(name, flag=flag, vault=vault).value)

    def unknown_variables(self) -> dict[str, str]:
        """Variables that look like settings of ours but are none, with the nearest that is."""
        ours = {setting.variable for setting in SETTINGS.values()}
        near = {name: difflib.get_close_matches(name, ours, 1, 0.8) for name in self._env if name not in ours}
        return {name: match[0] for name, match in near.items() if match}

    def check(self) -> None:
        """ConfigError at the first thing in the file that is not right."""
        for where, table, per_vault in self._tables():
            for key, value in table.items():
                if where or key != "vaults":
                    self._convert(self._setting(key, where, per_vault=per_vault), value, where + key)

    def write(self, name: str, text: str, *, vault: str | None = None) -> Value:
        """Put a setting into the file, keeping the person's comments and order. Atomic and durable."""
        # Only `config set` and `init` need the writer; every other command starts without it.
        import tomlkit  # noqa: PLC0415

        value = self._convert(self._setting(name, per_vault=vault is not None), text, name)
        source = _read(self.path)
        document = tomlkit.parse(source)
        table: Any = document
        if vault is not None:
            vaults = document.setdefault("vaults", tomlkit.table(is_super_table=True))
            table = vaults.setdefault(vault, tomlkit.table())
        table[name] = value
        _replace(self.path, tomlkit.dumps(document))
        self._file = _load(self.path)
        return value

    def _tables(self) -> list[tuple[str, dict[str, Any], bool]]:
        vaults = self._file.get("vaults", {})
        if not isinstance(vaults, dict):
            raise ConfigError(path=self.path, detail="[vaults] must be a table")
        tables: list[tuple[str, dict[str, Any], bool]] = [("", self._file, False)]
        for name, table in vaults.items():
            if not NAME.fullmatch(name) or not isinstance(table, dict):
                raise ConfigError(path=self.path, detail=f"[vaults.{name}] is not the table of a vault")
            tables.append((f"vaults.{name}.", table, True))
        return tables

    def _setting(self, name: str, where: str = "", *, per_vault: bool = False) -> Setting:
        setting = SETTINGS.get(name)
        if setting is not None and (setting.per_vault or not per_vault):
            return setting
        known = [key for key, value in SETTINGS.items() if value.per_vault or not per_vault]
        near = difflib.get_close_matches(name, known, 1, 0.5)
        hint = f"did you mean '{near[0]}'?" if near else "known are: " + ", ".join(known)
        raise ConfigError(path=self.path, detail=f"there is no setting '{where}{name}'; {hint}")

    def _convert(self, setting: Setting, value: object, where: str) -> Value:
        try:
            return setting.convert(value)
        except ValueError as error:
            raise ConfigError(path=self.path, detail=f"'{where}' must be {error}, not {value!r}") from None


def load(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """The checked configuration; a file that is not there is an empty one."""
    config = Config(path, environment)
    config.check()
    return config


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ConfigError(path=path, detail=error.strerror or str(error)) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(path=path, detail=f"it is larger than {MAX_FILE_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(path=path, detail=f"it is not UTF-8 text (byte {error.start})") from error


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(path=path, detail=f"it is not TOML: {error}") from error


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A person may keep config.toml as a link into a repository of dotfiles: write where it points.
    path = path.resolve()
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".config-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - a plain name from mkstemp
    except BaseException:
        os.unlink(temporary)  # noqa: PTH108 - as above
        raise
