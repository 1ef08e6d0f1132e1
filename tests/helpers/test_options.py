"""What stands in an fstab line, as a command line of vaultfs."""

from __future__ import annotations

import pytest

from vaultfs.cli.helper_options import Translated, switches, translate
from vaultfs.errors import UsageError


def line(source: str, options: str, *more: str) -> Translated:
    return translate(switches([source, "/mnt", *more, "-o", options, "-t", "fuse.vaultfs"]))


def test_what_is_for_mount_alone_is_dropped() -> None:
    words = (
        "rw,defaults,auto,noauto,nofail,_netdev,user,users,owner,suid,dev,x-systemd.automount,X-mount.mkdir,comment=a"
    )
    assert line("work", words).arguments == ["mount", "--vault", "work", "-o", "fsname=work", "--", "/mnt"]


def test_what_is_ours_becomes_options() -> None:
    found = line(
        "vaultfs", 'ro,live,user=alice,vault=work,wallet="command:sign a,b",remote=drive:x,noatime,allow_other'
    )
    assert found.user == "alice"
    assert found.arguments == [
        "mount", "--read-only", "--live", "--vault", "work", "--wallet", "command:sign a,b", "--remote", "drive:x",
        "-o", "noatime,allow_other,fsname=vaultfs", "--", "/mnt",
    ]  # fmt: skip
    assert line("work", "uid=1000").user == "1000"
    assert line("work", "fsname=other").arguments[-3:] == ["fsname=other", "--", "/mnt"]
    assert line("work", "", "-r").arguments[1] == "--read-only"


def test_the_first_field_names_a_vault_or_its_remote() -> None:
    assert line("drive:a/b", "").values == {"remote": "drive:a/b"}
    assert line("none", "").values == {}
    assert line("/somewhere/work", "vault=work").values == {"vault": "work"}
    with pytest.raises(UsageError, match="vault=NAME"):
        line("/somewhere/work", "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("colour=blue", "colour=blue"),
        ("user=a,uid=b", "two users"),
        ("remount,ro", "remounted"),
        ("fsname=a b", "fsname"),
    ],
)
def test_what_nobody_knows_is_an_error(options: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        line("work", options)


def test_sloppy_passes_over_what_nobody_knows() -> None:
    found = line("work", "colour=blue,noatime", "-s")
    assert found.ignored == ["colour=blue"]
    assert "noatime,fsname=work" in found.arguments


@pytest.mark.parametrize("arguments", [["work"], ["work", "/mnt", "-z"], ["work", "/mnt", "-N", "1"], ["a", "b", "c"]])
def test_a_wrong_command_line(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        translate(switches(arguments))
