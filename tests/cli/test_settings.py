"""Settings: flag before environment before file before default; mistakes are named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vaultfs.daemon.config import Config, load
from vaultfs.daemon.paths import places
from vaultfs.daemon.settings import SETTINGS
from vaultfs.errors import ConfigError
from vaultfs.sync.ports import Pace

if TYPE_CHECKING:
    from tests.cli.person import Person


def config(tmp_path: Path, text: str = "", **environment: str) -> Config:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load(path, environment)


def test_precedence(tmp_path: Path) -> None:
    text = 'wallet = "paste"\n[vaults.work]\nwallet = "ssh-agent"\n'
    found = config(tmp_path, text)
    assert found.find("wallet").value == "paste"
    assert found.find("wallet", vault="work").value == "ssh-agent"
    assert found.find("wallet", vault="other").value == "paste"
    found = config(tmp_path, text, VAULTFS_WALLET="command:x")
    assert found.find("wallet", vault="work") == found.find("wallet")
    assert found.find("wallet").source == "environment"
    assert found.find("wallet", flag="keyfile:y").source == "flag"
    assert config(tmp_path).find("umount_timeout").source == "default"


def test_an_empty_variable_is_a_value(tmp_path: Path) -> None:
    assert config(tmp_path, 'remote = "r"', VAULTFS_REMOTE="").text("remote") == ""


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('walet = "x"', "did you mean 'wallet'"),
        ('[vaults.work]\nremot = "x"', "did you mean 'remote'"),
        ('[vaults.work]\nvault = "x"', "no setting 'vaults.work.vault'"),
        ('qqqq = "x"', "known are"),
        ('read_only = "maybe"', "'read_only' must be true or false"),
        ("umount_timeout = -1", "not below 0"),
        ('log_level = "loud"', "one of error, warning"),
        ("wallet = 5", "a text in quotes"),
        ("vaults = 5", "[vaults] must be a table"),
        ("[vaults]\nwork = 5", "vaults.work"),
        ('["vaults"."../up"]\nwallet = "x"', "../up"),
        ("wallet = ", "not TOML"),
        ("a = " + "[" * 5000, "not TOML"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path: Path, text: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, text)
    assert hint in caught.value.message
    assert str(tmp_path) in caught.value.message


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    for content in (b"\xff\xfe", b"a" * ((1 << 20) + 1)):
        path.write_bytes(content)
        with pytest.raises(ConfigError):
            load(path, {})
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError):
        load(path, {})


def test_writing_keeps_comments_and_links(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text('# mine\nwallet = "paste" # why\n')
    link = tmp_path / "config.toml"
    link.symlink_to(real)
    found = load(link, {})
    found.write("umount_timeout", "5")
    found.write("remote", "drive:x", vault="work")
    text = real.read_text()
    assert link.is_symlink()
    assert "# mine" in text
    assert "# why" in text
    assert load(link, {}).find("remote", vault="work").value == "drive:x"
    assert load(link, {}).number("umount_timeout") == 5
    with pytest.raises(ConfigError):
        found.write("vault", "x", vault="work")
    with pytest.raises(ConfigError):
        found.write("read_only", "perhaps")
    assert real.read_text() == text


def test_every_setting_goes_all_the_ways(tmp_path: Path) -> None:
    values = {str: "x", bool: "true", int: "5000000", float: "7.5"}
    for name, setting in SETTINGS.items():
        text = setting.choices[0] if setting.choices else values[type(setting.default)]
        found = config(tmp_path, "", **{setting.variable: text})
        assert found.find(name).source == "environment"
        found.write(name, text)
        assert load(found.path, {}).find(name).value == setting.convert(text)


def test_the_intervals_are_those_of_the_engine() -> None:
    names = {"after": "commit_after", "every": "commit_every", "poll": "poll", "idle_poll": "idle_poll"}
    assert {field: SETTINGS[name].default for field, name in names.items()} == vars(Pace())


def test_the_verb(person: Person) -> None:
    assert person.ok("config", "get", "umount_timeout") == "60\n"
    person.ok("config", "set", "umount_timeout", "5")
    assert person.json("config", "get", "umount_timeout") == {
        "setting": "umount_timeout",
        "value": 5.0,
        "source": "file",
    }
    person.environment = {"VAULTFS_UMOUNT_TIMEOUT": "7", "VAULTFS_WALET": "x"}
    assert person.json("config", "list")["umount_timeout"] == {"value": 7.0, "source": "environment"}
    done = person.run("config", "list")
    assert "did you mean VAULTFS_WALLET" in done.stderr
    assert "goes before" in person.run("config", "set", "umount_timeout", "6").stderr
    person.fails(60, "config", "set", "umount_timout", "6")
    person.fails(60, "config", "get", "nonsense")
    person.environment = {"VAULTFS_LOG_LEVEL": "loud"}
    person.fails(60, "config", "list")


def test_a_damaged_file_stops_every_verb_but_help(person: Person) -> None:
    person.ok("init", "--yes")
    (person.home / ".config/vaultfs/config.toml").write_text("wallet = [")
    for verb in (["status"], ["mount", "x"], ["umount"], ["check"], ["config", "list"], ["init", "b", "--yes"]):
        person.fails(60, *verb)
    person.ok("mount", "--help")
    person.ok("version")


def test_the_vaults_own_wallet_setting_is_what_init_was_told(person: Person) -> None:
    person.ok("init", "--yes")
    assert person.json("config", "get", "wallet")["value"] == f"keyfile:{person.key_file}"


def test_directories_follow_the_environment() -> None:
    assert places({"HOME": "/h"}).data == Path("/h/.local/share/vaultfs")
    assert places({"HOME": "/h", "XDG_DATA_HOME": "/d"}).data == Path("/d/vaultfs")
    assert places({"HOME": "/h", "XDG_DATA_HOME": "relative"}).data == Path("/h/.local/share/vaultfs")
    assert places({"HOME": "/h", "XDG_DATA_HOME": "/d", "VAULTFS_DATA_DIR": "/v"}).data == Path("/v")
    assert places({"HOME": "/h", "XDG_RUNTIME_DIR": "/nowhere"}).runtime == Path("/h/.local/state/vaultfs/run")
    one = places({"HOME": "/a", "VAULTFS_RUNTIME_DIR": "/r"}).vault("x").socket
    other = places({"HOME": "/b", "VAULTFS_RUNTIME_DIR": "/r"}).vault("x").socket
    assert one.parent == other.parent == Path("/r")
    assert one != other
