"""How the vault is, and whether everything of this machine and of the others is where it should be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vaultfs.agents.doctor.finding import command, ok, problem, warning
from vaultfs.daemon.presence import drivers, lease_sentence, sentence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultfs.agents.doctor.finding import Finding
    from vaultfs.agents.doctor.scene import Scene

_SHOWN = 5


def mount(scene: Scene) -> Iterator[Finding]:
    """Whether the vault is here, and mounted."""
    status = scene.status
    if status is None:
        yield problem("mount", "There is no vault on this machine.", "vaultfs mount ~/agent-vault --remote REMOTE")
        return
    where = status.mountpoint or "~/agent-vault"
    again = f"vaultfs mount {where if where.startswith('~') else command(where)} --vault {scene.name}"
    if status.state == "dead":
        yield problem("mount", f"The daemon of the mount at {where} has died.", again)
    elif status.state == "busy":
        yield problem("mount", f"Another command uses the vault '{scene.name}' just now; wait for it.")
    elif status.state != "mounted":
        text = f"The vault '{scene.name}' is not mounted. What is in it was not looked at."
        yield problem("mount", text, again)
    elif status.read_only:
        text = f"The vault is mounted read-only at {where}: agents cannot go on here."
        yield problem("mount", text, command("vaultfs", "umount", where) + " && " + again)
    else:
        yield ok("mount", f"The vault '{scene.name}' is mounted at {where}.")
    for text in status.health.problems if status.state == "mounted" else []:
        yield problem("health", text + ("" if text.endswith(".") else "."), "vaultfs check")


def pending(scene: Scene) -> Iterator[Finding]:
    """What waits here for the remote, or from it."""
    sync = scene.status.sync if scene.status is not None else None
    if sync is None or scene.status is None or scene.status.state != "mounted":
        return
    if sync.trouble is not None:
        text = f"{sync.trouble.text} This machine may have an older state than the others."
        yield problem("remote", text, f"vaultfs remote test --vault {scene.name}")
    if sync.all_published or scene.status.read_only:
        yield ok("pending", "Everything that was written here is on the remote.")
    else:
        count = sync.pending.files + sync.pending.commits
        text = (
            f"{count} changes ({sync.pending.bytes} bytes) are not on the remote: other machines do not see them yet."
        )
        yield warning("pending", text, f"vaultfs handoff --vault {scene.name}")
    waiting = [one.label for one in sync.devices if one.waiting and not one.this]
    if waiting:
        text = f"What {', '.join(waiting)} published is not merged here yet."
        yield warning("pending", text, f"vaultfs sync --wait --vault {scene.name}")
    for hold in sync.holds[:_SHOWN]:
        pids = ", ".join(map(str, hold.pids)) or "a program"
        text = f"{hold.path}: a newer version waits until process {pids} closes it; until then this is the older one."
        yield warning(
            "holds", text, f"kill {' '.join(map(str, hold.pids))}" if hold.pids else None, _agent(scene, hold.path)
        )


def conflicts(scene: Scene) -> Iterator[Finding]:
    """What a person has to decide."""
    sync = scene.status.sync if scene.status is not None else None
    if sync is None:
        return
    if sync.conflicts:
        text = f"{sync.conflicts} conflicts wait for a decision: the newer version is in place, the others are kept."
        yield warning("conflicts", text, f"vaultfs conflicts list --vault {scene.name}")
    else:
        yield ok("conflicts", "There are no conflicts.")
    for alarm in sync.alarms:
        yield problem("alarms", alarm.text + ("" if alarm.text.endswith(".") else "."), "vaultfs heads")


def driving(scene: Scene) -> Iterator[Finding]:
    """Whether another device works with the same agent, or has leased it."""
    status = scene.status
    if status is None or status.state != "mounted":
        return
    now = time.time()
    for name, profile in scene.agents.items():
        here = [item.path for item in status.open_for_writing if item.path.startswith(name + "/")]
        busy = [one for one in drivers(status.driving, name) if one.recent(now)]
        for one in busy:
            said = sentence(one, name, now)
            if here and one.open:
                text = f"{said} {profile.title} is open here, too: what both change becomes a conflict."
                yield problem("driving", text, f"vaultfs lease take {command(scene.directory(profile))}", name)
            else:
                yield warning("driving", said, None, name)
        if not busy:
            yield ok("driving", f"No other machine works with {profile.title} now.", name)
    for lease in status.leases:
        names = [name for name in scene.agents if not lease.path or lease.path.split("/")[0] == name]
        if not lease.this and names:
            yield warning("leases", lease_sentence(lease), f"vaultfs lease show {lease.path}".rstrip(), names[0])


def _agent(scene: Scene, path: str) -> str | None:
    name = path.split("/", maxsplit=1)[0]
    return name if name in scene.agents else None
