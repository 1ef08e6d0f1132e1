"""What a new user does: make, mount, write, look, unmount, mount again. As root and as an ordinary user."""

from __future__ import annotations

import json
import os
import re
import stat
from typing import TYPE_CHECKING

import pytest

from tests.cli.person import Person
from tests.support.driver import is_mounted, make_key_file

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.fuse

WORDS = re.compile(r"^ {3}(?: *\d+ [a-z]+)+$", re.MULTILINE)


def recovery_words(text: str) -> str:
    return " ".join(re.findall(r"\d+ ([a-z]+)", " ".join(WORDS.findall(text))))


def test_mount_makes_the_vault_the_first_time_and_just_mounts_later(anybody: Person) -> None:
    first = anybody.mount()
    assert str(anybody.key_file) in first
    assert "Keep a copy" in first
    assert len(recovery_words(first).split()) >= 12
    anybody.write("note", "hello")
    assert anybody.read("note") == "hello"

    shown = anybody.ok("status")
    assert "mounted" in shown
    assert "~/agent-vault" in shown
    facts = anybody.json("status")
    assert (facts["state"], facts["files"], facts["bytes"]) == ("mounted", 1, 5)
    assert json.loads(anybody.read(".vaultfs/status"))["vault_id"] == facts["vault_id"]
    assert anybody.json("who", "agent-vault/note")[0]["device"] == facts["device"]["label"]
    assert facts["device"]["label"] in anybody.ok("who", "agent-vault/note")
    assert anybody.json("devices")[0]["id"] == facts["device"]["id"]
    assert anybody.json("check", "--read-data")["ok"] is True

    assert "everything is saved" in anybody.ok("umount", "agent-vault")
    assert not is_mounted(anybody.mountpoint)
    assert anybody.json("status")["state"] == "unmounted"
    assert anybody.json("check", "--read-data")["ok"] is True

    again = anybody.mount()
    assert not WORDS.search(again), "the words are shown once"
    assert anybody.read("note") == "hello"
    anybody.ok("umount")


def test_what_init_makes_is_for_its_owner_alone(anybody: Person) -> None:
    made = anybody.json("init", "--yes")
    assert made["new_key_file"] == str(anybody.key_file)
    for path in (anybody.vault, *anybody.vault.rglob("*"), anybody.key_file):
        found = path.lstat()
        assert found.st_uid == anybody.uid, path
        inside_private = anybody.vault in path.parents
        assert inside_private or not stat.S_IMODE(found.st_mode) & 0o077, path
    assert not [path for path in anybody.vault.parent.iterdir() if path.name.startswith(".")]


def test_init_takes_the_solana_key_where_there_is_one(person: Person) -> None:
    solana = person.home / ".config/solana/id.json"
    solana.parent.mkdir(parents=True)
    make_key_file(solana)
    made = person.json("init", "--yes")
    assert made["new_key_file"] is None
    assert made["signer"] == f"keyfile:{solana}"
    assert person.json("key", "list")[0]["address"] == made["wallet"]


def test_the_recovery_words_open_the_vault_without_the_wallet(person: Person) -> None:
    words = person.json("init", "--yes")["recovery_words"]
    person.key_file.unlink()
    person.fails(15, "check")
    code, screen = person.at_terminal("check", "--wallet", "words", answers=[("Recovery words", words + "\n")])
    assert code == 0, screen
    assert words not in screen, "they must not be echoed"
    wrong = " ".join(reversed(words.split()))
    code, screen = person.at_terminal("check", "--wallet", "words", answers=[("Recovery words", wrong + "\n")])
    assert code == 17, screen


def test_a_lost_wallet_is_replaced_with_the_words(person: Person) -> None:
    made = person.json("init", "--yes")
    person.key_file.unlink()
    make_key_file(person.home / "new.json", bytes(32))
    code, screen = person.at_terminal(
        "key", "add", "new.json", "--label", "spare", "--wallet", "words",
        answers=[("Recovery words", made["recovery_words"] + "\n")],
    )  # fmt: skip
    assert code == 0, screen
    person.ok("key", "remove", made["wallet"], "--wallet", "new.json", "--yes")
    person.ok("config", "set", "wallet", f"keyfile:{person.home}/new.json", "--vault", "default")
    person.mount()
    assert person.json("status")["wallet"] == person.json("key", "list")[-1]["address"]
    person.ok("umount")


def test_other_words_any_time(person: Person) -> None:
    first = person.json("init", "--yes")["recovery_words"]
    second = person.json("key", "words", "--yes", "--label", "safe")
    assert second["recovery_words"] != first
    assert [slot["kind"] for slot in person.json("key", "list")] == ["wallet", "words", "words"]
    person.ok("key", "remove", "safe", "--yes")
    code, screen = person.at_terminal(
        "check", "--wallet", "words", answers=[("Recovery words", second["recovery_words"] + "\n")]
    )
    assert code == 17, screen


def test_a_person_at_a_terminal_is_asked_and_shown_the_words(person: Person) -> None:
    code, screen = person.at_terminal("mount", "agent-vault", answers=[("Make it in", "y\n"), ("Press Enter", "\n")])
    assert code == 0, screen
    assert len(recovery_words(screen.replace("\r", "")).split()) >= 12
    person.ok("umount")


def test_a_person_who_says_no_gets_nothing(person: Person) -> None:
    code, screen = person.at_terminal("mount", "agent-vault", answers=[("Make it in", "n\n")])
    assert code == 130, screen
    assert not person.vault.exists()
    assert not person.mountpoint.exists(), "the directory it made for the mount goes again"


def test_without_a_terminal_nothing_is_made_unless_yes(person: Person) -> None:
    assert "--yes" in person.fails(2, "init")
    assert "--yes" in person.fails(2, "mount", "agent-vault")
    assert not person.vault.exists()
    assert not person.key_file.exists()


def test_two_homes_are_two_machines(person: Person, base: Path) -> None:
    other = Person(base / "other", environment={"XDG_RUNTIME_DIR": str(base / "run")})
    person.environment = other.environment
    (base / "run").mkdir(mode=0o700)
    try:
        person.mount()
        other.mount()
        person.write("a", "mine")
        assert other.json("status")["files"] == 0
        assert person.json("status")["vault_id"] != other.json("status")["vault_id"]
        other.ok("umount")
        assert person.json("status")["state"] == "mounted"
        person.ok("umount")
    finally:
        other.leave()


def test_several_vaults(person: Person) -> None:
    for name in ("work", "home"):
        person.ok("init", name, "--yes")
        person.ok("mount", name, "--vault", name)
    assert "work" in person.ok("status", "--vault", "home")
    assert "say which" in person.fails(2, "umount")
    person.fails(10, "status")
    person.ok("umount", "work")
    assert person.json("status", "--vault", "work")["state"] == "unmounted"
    person.ok("umount", "--vault", "home")


def test_after_a_crash_mount_says_what_it_did_and_nothing_is_lost(anybody: Person) -> None:
    anybody.mount()
    path = anybody.write("note", "before the crash")
    fd = os.open(path, os.O_RDONLY) if anybody.uid == os.geteuid() else -1
    if fd >= 0:
        os.fsync(fd)
        os.close(fd)
    else:
        anybody.ok("status")
    anybody.kill()
    assert anybody.json("status")["state"] == "dead"
    assert "dead" in anybody.fails(38, "who", "agent-vault/note")
    done = anybody.run("mount", "agent-vault")
    assert done.returncode == 0, done.stderr
    assert "dead mount" in done.stderr
    assert re.search(r"replayed \d+ records? in [\d.]+ s; nothing was lost", done.stdout)
    assert anybody.read("note") == "before the crash"
    start = anybody.json("status")["startup"]
    assert start["clean"] is False
    anybody.ok("umount")


def test_a_dead_mount_can_also_just_be_taken_away(anybody: Person) -> None:
    anybody.mount()
    anybody.kill()
    assert "dead mount" in anybody.ok("umount", "agent-vault")
    assert not is_mounted(anybody.mountpoint)
    anybody.mount()
    anybody.ok("umount")


def test_read_only(person: Person) -> None:
    person.mount()
    person.write("note", "x")
    person.ok("umount")
    person.mount("--read-only")
    assert person.json("status")["read_only"] is True
    with pytest.raises(OSError, match="Read-only"):
        (person.mountpoint / "other").touch()
    assert person.read("note") == "x"
    person.ok("umount")
