"""`vaultfs doctor` on a machine that joined another's vault."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.machines_mounted.desk import Desk

CARD = """
import sys, msgspec
from vaultfs.daemon.cards import write_card
def change(card):
    return msgspec.structs.replace(card, mountpoint=sys.argv[1], agents={"hermes": "hermes"}, projects=["/no/such"])
write_card(sys.argv[1], bytes.fromhex(sys.argv[2]), change)
"""


def examined(desk: Desk, *arguments: str) -> tuple[int, dict[str, Any], set[tuple[str, str]]]:
    """Exit code, the JSON, and what is not well."""
    done = desk.run("doctor", *arguments, "--vault", "vault", "--json", check=False)
    facts = json.loads(done.stdout)
    bad = {(one["check"], one["severity"]) for one in facts["findings"]} - {
        (one["check"], severity) for one in facts["findings"] for severity in ("ok", "note")
    }
    return done.returncode, facts, bad


def database(desk: Desk, name: str) -> None:
    with sqlite3.connect(desk.path(name)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t(x)")
        connection.executemany("INSERT INTO t VALUES(?)", [(os.urandom(200).hex(),) for _ in range(100)])
    connection.close()


def test_what_stops_an_agent_is_found_and_the_rest_is_well(pair: tuple[Desk, Desk]) -> None:
    a, b = pair
    a.path("hermes").mkdir()
    database(a, "hermes/state.db")
    subprocess.run([sys.executable, "-c", CARD, a.mountpoint, a.now()["device"]["id"]], check=True, env=a.environ())
    a.sync()
    b.until(lambda: b.path("hermes/state.db").exists() and b.path(".vaultfs-devices").is_dir())
    state = b.home / ".hermes"
    state.symlink_to(b.path("hermes"))
    code, facts, bad = examined(b)
    assert (code, facts["agents"], facts["ok"]) == (0, ["hermes"], True), facts
    # The two machines of this test have their mounts at two paths, else all is well.
    assert bad <= {("paths", "warning"), ("projects", "warning"), ("driving", "warning"), ("pending", "warning")}
    assert bad >= {("paths", "warning"), ("projects", "warning")}
    well = {one["check"] for one in facts["findings"] if one["severity"] == "ok"}
    assert well >= {"fuse", "rclone", "space", "mount", "clock", "remote", "conflicts", "state", "locks", "databases"}

    # Now with a damaged database, another machine's pid file, and state beside the vault.
    database(a, "hermes/broken.db")
    with a.path("hermes/broken.db").open("r+b") as file:
        file.seek(2 * 4096)
        file.write(os.urandom(4096))
    a.path("hermes/gateway.pid").write_text("4711")
    os.setxattr(a.path("hermes/gateway.pid"), "user.vaultfs.scope", b"vault")
    a.sync()
    b.until(lambda: b.path("hermes/broken.db").exists() and b.path("hermes/gateway.pid").exists())
    state.unlink()
    state.mkdir()
    (state / "state.db").write_text("old")
    code, facts, bad = examined(b, "hermes", "--local")
    assert (code, facts["ok"]) == (91, False)
    assert bad >= {("state", "problem"), ("locks", "warning")}
    told = {one["check"]: one for one in facts["findings"] if one["severity"] in {"problem", "warning"}}
    assert "hermes/broken.db is damaged" in told["databases"]["text"]
    assert told["databases"]["mend"].startswith("vaultfs restore hermes/broken.db --at")
    assert "4711 of a" in told["locks"]["text"]
    assert told["state"]["mend"] == "vaultfs adopt hermes"
    said = b.run("doctor", "--local", "--vault", "vault", check=False)
    assert said.returncode == 91
    assert "vaultfs adopt hermes" in said.stdout
    assert "would stop an agent" in said.stderr

    b.umount()
    code, facts, bad = examined(b, "--local")
    assert code == 91
    assert ("mount", "problem") in bad
    assert facts["agents"] == []
