"""`vaultfs install-helpers`: into a prefix and a home, again, and away again."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vaultfs.cli.helper_files import MARK
from vaultfs.cli.main import VERBS

if TYPE_CHECKING:
    from tests.cli.person import Person


def listing(top: Path) -> list[tuple[str, int, bytes]]:
    """All that is below `top`: path, kind and permissions, content."""
    found = []
    for directory, names, files in os.walk(top):
        for name in [*names, *files]:
            path = Path(directory, name)
            mode = path.lstat().st_mode
            content = b""
            if stat.S_ISLNK(mode):
                content = os.fsencode(path.readlink())
            elif stat.S_ISREG(mode):
                content = path.read_bytes()
            found.append((str(path), mode, content))
    return sorted(found)


@pytest.fixture
def where(person: Person) -> list[str]:
    """The options for a prefix that has something in it already."""
    (person.home / "prefix/share/man").mkdir(parents=True)
    (person.home / "prefix/share/man/theirs.1").write_text("theirs")
    return ["--prefix", str(person.home / "prefix")]


def test_into_a_prefix_and_away_again(person: Person, where: list[str]) -> None:
    person.ok("version")
    before = listing(person.home)
    planned = person.json("install-helpers", *where, "--dry-run")
    assert listing(person.home) == before, "--dry-run changes nothing"
    done = person.json("install-helpers", *where)
    assert planned["files"] == done["files"]
    files = [Path(fact["path"]) for fact in done["files"]]
    assert {fact["done"] for fact in done["files"]} == {"installed"}
    for path in files:
        assert path.is_symlink() or MARK in path.read_text()[:600], path
        assert not re.search("@[A-Z_]+@", path.read_text()), f"{path}: something is not filled in"
    scripts = [path for path in files if path.parent.name == "sbin" and not path.is_symlink()]
    assert len(scripts) == 2
    assert all(os.access(path, os.X_OK) and sys.executable in path.read_text() for path in scripts)
    installed = listing(person.home)
    again = person.json("install-helpers", *where)
    assert {fact["done"] for fact in again["files"]} == {"unchanged"}
    assert listing(person.home) == installed
    scripts[0].write_text(scripts[0].read_text() + "# edited\n")
    assert "updated: " in person.ok("install-helpers", *where)
    assert listing(person.home) == installed
    assert "would be removed" in person.ok("install-helpers", *where, "--remove", "--dry-run")
    assert listing(person.home) == installed
    person.ok("install-helpers", *where, "--remove")
    assert listing(person.home) == before
    assert "nothing of ours" in person.ok("install-helpers", *where, "--remove")


def test_what_is_not_ours_is_left_alone(person: Person, where: list[str]) -> None:
    theirs = person.home / "prefix/share/bash-completion/completions/vaultfs"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("# of a distribution\n")
    before = listing(person.home / "prefix")
    assert str(theirs) in person.fails(61, "install-helpers", *where)
    assert listing(person.home / "prefix") == before
    theirs.unlink()
    person.ok("install-helpers", *where)
    theirs.write_text("# replaced by a distribution\n")
    done = person.run("install-helpers", *where, "--remove")
    assert f"left alone, not ours: {theirs}" in done.stderr
    assert theirs.read_text() == "# replaced by a distribution\n"


@pytest.mark.root
def test_root_is_warned_of_a_program_that_others_can_change(person: Person) -> None:
    from vaultfs.cli.install_helpers import _loose  # noqa: PLC0415

    program = person.home / "vaultfs"
    program.write_text("")
    assert _loose(Path("/bin/mount")) == ""
    assert _loose(program) == ""
    program.chmod(0o775)
    assert _loose(program) == str(program)
    program.chmod(0o755)
    os.chown(person.home, 60001, 60001)
    assert _loose(program) == str(person.home)
    os.chown(person.home, 0, 0)


def test_for_one_user(person: Person) -> None:
    person.ok("version")
    before = listing(person.home)
    said = person.ok("install-helpers", "--user")
    assert "systemctl --user enable --now vaultfs@default" in said
    unit = person.home / ".config/systemd/user/vaultfs@.service"
    start = next(row for row in unit.read_text().splitlines() if row.startswith("ExecStart="))
    program = start.removeprefix("ExecStart=").split(" ")[0]
    assert program == str(Path(sys.executable).parent / "vaultfs")
    assert (person.home / ".local/share/man/man1/vaultfs.1").exists()
    assert not list(person.home.rglob("mount.vaultfs")), "mount(8) would not look in a home"
    person.ok("install-helpers", "--user", "--remove")
    assert listing(person.home) == before
    person.fails(2, "install-helpers", "--user", "--prefix", "/nowhere")


@pytest.mark.root
def test_only_root_installs_for_everybody(anybody: Person) -> None:
    if anybody.uid:
        assert "--user" in anybody.fails(2, "install-helpers")


@pytest.mark.parametrize("page", ["man1/vaultfs.1", "man8/mount.vaultfs.8"])
def test_the_pages_are_good_roff(person: Person, where: list[str], page: str) -> None:
    person.ok("install-helpers", *where)
    path = person.home / "prefix/share/man" / page
    for command in (["mandoc", "-T", "lint", "-W", "warning"], ["man", "--warnings", "-l"]):
        try:
            done = subprocess.run([*command, path], capture_output=True, text=True, check=False, timeout=60)
        except FileNotFoundError:
            pytest.skip(f"no {command[0]} here")
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "vaultfs" in done.stdout


def test_every_verb_and_option_stands_in_the_page() -> None:
    import click  # noqa: PLC0415

    from vaultfs.cli.main import cli  # noqa: PLC0415
    from vaultfs.cli.manual import page  # noqa: PLC0415

    text = page().replace("\\-", "-")
    for verb in VERBS:
        assert f".SS vaultfs {verb}\n" in text
        section = text.split(f".SS vaultfs {verb}\n")[1].split("\n.SS")[0]
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None
        for option in command.params:
            if isinstance(option, click.Option):
                assert all(name in section for name in option.opts), (verb, option.opts)
