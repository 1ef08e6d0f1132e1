"""The second machine takes the agent over; what stays on a machine never gets to the remote."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.adopting.used import LOCAL, SECRET, turns
from tests.machines_mounted.desk import differences, picture
from vaultfs.daemon.cards import read_cards

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.adopting.used import Used
    from tests.machines_mounted.desk import Desk

NEVER = ("auth.json", "one.json", "gateway.pid", "agent.log", "state.db-shm", ".vaultfs-adopting-hermes")


def travelled(desk: Desk) -> dict[str, Any]:
    found = picture(desk.path("hermes"))
    return {name: what for name, what in found.items() if name.split("/")[0] not in {*LOCAL, "bin"}}


def commits(desk: Desk) -> list[str]:
    return [f"{one['label']}:{one['number']}" for one in desk.json("log", "--vault", "vault")]


@pytest.mark.slow
def test_what_stays_never_gets_to_the_remote_and_the_next_machine_goes_on(
    desk: Callable[..., Desk], used: Used, base: Path
) -> None:
    a = desk("a")  # commits a few times while it is copied
    os.rename(used.top, a.home / ".hermes")
    adopted = a.json("adopt", "hermes")
    a.run("handoff", "--vault", "vault")
    seen = commits(a)
    assert len(seen) >= 2
    for commit in seen:
        names = {os.path.basename(one["path"]) for one in a.json("ls", "-R", "--at", commit, "--vault", "vault")}
        assert not names & set(NEVER), commit
    whole = base / "whole"
    a.run("export", str(whole), "--vault", "vault")
    assert (whole / "hermes/sessions/large.bin").exists()
    assert not [path for path in whole.rglob("*") if path.is_file() and SECRET in path.read_bytes()]

    b = desk("b")
    adopted_there(a, b)
    assert adopted["credentials"] == "local"
    removed(a, b)


def adopted_there(a: Desk, b: Desk) -> None:
    """B has a directory of its own; the vault's goes on, B's is kept aside, B's credentials are brought."""
    own = b.home / ".hermes"
    (own / "mcp-tokens").mkdir(parents=True)
    (own / "auth.json").write_bytes(b"of b")
    (own / "mcp-tokens/two.json").write_bytes(b"of b, too")
    (own / "config.yaml").write_text("model: of b\n")
    (own / "only-here").write_text("x")
    before = picture(own)
    planned = b.json("adopt", "hermes", "--dry-run")
    assert planned["how"] == "joined"
    assert planned["brought"] == ["auth.json", "mcp-tokens/two.json"]
    text = " ".join(planned["notes"])
    assert "1 only in the directory of this machine" in text
    assert "only-here" in text
    assert "config.yaml" in text
    assert picture(own) == before
    done = b.json("adopt", "hermes")
    assert own.readlink() == b.path("hermes")
    assert differences(before, picture(b.home / os.path.basename(done["aside"]))) == []
    assert (own / "auth.json").read_bytes() == b"of b"
    assert (own / "mcp-tokens/two.json").read_bytes() == b"of b, too"
    assert (own / "config.yaml").read_text() == "model: fake\n"
    first, second = travelled(a), travelled(b)
    # a hard link's other name may be in a directory that b has not looked into (docs/sync.md)
    assert [line for line in differences(first, second) if "config." not in line] == []
    assert turns(own / "state.db") == 200
    assert (own / "skills").resolve() == b.path("skills")
    b.run("handoff", "--vault", "vault")
    a.sync()
    assert (a.path("hermes/auth.json")).read_bytes() == SECRET, "each machine keeps its own"
    assert not a.path("hermes/mcp-tokens/two.json").exists()
    assert {card.label for card in read_cards(a.mountpoint).values() if "hermes" in card.agents} == {"a", "b"}
    assert done["credentials"] == "local"


def removed(a: Desk, b: Desk) -> None:
    # with another machine at work its rules stay, or its credentials would begin to travel
    gone = a.json("unadopt", "hermes", "--remove")
    assert gone["removed"]
    assert not gone["rules_removed"]
    a.run("handoff", "--vault", "vault")
    b.sync()
    b.until(lambda: not b.path("hermes/state.db").exists(), say="removed there, too")
    assert b.path("hermes/auth.json").read_bytes() == b"of b", "what stays on a machine is not removed by another"
    b.run("handoff", "--vault", "vault")
    names = {one["path"] for one in b.json("ls", "-R", "--vault", "vault")}
    assert not [name for name in names if name.endswith("auth.json")]


def test_credentials_travel_where_that_is_asked_for(home: Desk, used: Used) -> None:
    os.rename(used.top, home.home / ".hermes")
    assert home.json("adopt", "hermes", "--share-credentials")["credentials"] == "shared"
    home.run("handoff", "--vault", "vault")
    names = {one["path"] for one in home.json("ls", "-R", "--vault", "vault")}
    assert {name for name in names if os.path.basename(name) in NEVER} == {
        "hermes/auth.json",
        "hermes/mcp-tokens/one.json",
    }
    assert home.json("adopt", "hermes")["credentials"] == "shared", "as was decided"
    assert home.json("adopt", "hermes", "--keep-credentials")["credentials"] == "local"
