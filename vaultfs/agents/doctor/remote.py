"""The remote: whether it can be reached, what this machine may do there, how much room there is."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import trio

from vaultfs.agents.doctor.finding import note, ok, problem, warning
from vaultfs.daemon.paths import private_directory
from vaultfs.errors import RemoteError, RemotePermissionError, VaultfsError
from vaultfs.remote import Limits, open_remote

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from vaultfs.agents.doctor.finding import Finding
    from vaultfs.agents.doctor.scene import Scene
    from vaultfs.remote import Remote, Room

PATIENCE = 15.0  #: seconds for one request; a person waits
LITTLE = 1 << 30
_SIZE = 4096


def remote(scene: Scene) -> Iterator[Finding]:
    """Write, list, read and remove a small object, as `vaultfs remote test`; and what is known of room and quota."""
    if not scene.remote:
        if scene.vault is not None:
            text = "The vault has no remote: no other machine can follow."
            yield warning("remote", text, f"vaultfs remote set REMOTE --vault {scene.name}")
        return
    if scene.local:
        yield note("remote", "The remote was not asked.")
        return
    yield from trio.run(_ask, scene)


async def _ask(scene: Scene) -> list[Finding]:
    found: list[Finding] = []
    test = f"vaultfs remote test --vault {scene.name}"
    try:
        limits = Limits(call=PATIENCE, attempt=PATIENCE)
        async with open_remote(scene.remote, private_directory(scene.places.runtime), limits=limits) as place:
            refused = await _rights(place)
            for what, error in refused.items():
                make = warning if what == "remove" and isinstance(error, RemotePermissionError) else problem
                found.append(make("remote", f"{_CANNOT[what]} {error.message}", test))
            if not refused:
                found.append(ok("remote", f"{place.label} takes, lists, gives back and removes objects."))
            found += await _room(place)
    except RemoteError as error:
        found.append(problem("remote", error.message, test))
    except VaultfsError as error:
        found.append(problem("remote", error.message, "vaultfs remote show"))
    return found


_CANNOT = {
    "write": "Nothing can be published.",
    "list": "Nothing of other machines can be found.",
    "read": "Nothing of other machines can be read.",
    "remove": "Old heads and garbage stay on the remote.",
}


async def _rights(place: Remote) -> dict[str, RemoteError]:
    """What does not work, each tried by itself, as far as the one before allows to tell."""
    name, data = f"test/{secrets.token_hex(16)}", secrets.token_bytes(_SIZE)
    refused: dict[str, RemoteError] = {}

    async def attempt(what: str, call: Callable[[], Awaitable[object]]) -> bool:
        try:
            await call()
        except RemoteError as error:
            refused[what] = error
            return False
        return True

    if not await attempt("list", lambda: place.list("test")) and not isinstance(refused["list"], RemotePermissionError):
        return refused  # it is not there at all: to say so once is enough
    if await attempt("write", lambda: place.put(name, data)):
        await attempt("read", lambda: place.get(name, 0, _SIZE))
        await attempt("remove", lambda: place.delete(name))
    return refused


async def _room(place: Remote) -> list[Finding]:
    try:
        room: Room | None = await place.room()
    except RemoteError:
        return []
    if room is None or room.free is None:
        return [note("quota", "The remote does not tell how much room is left.")]
    text = f"{room.free / (1 << 30):.1f} GiB are free on the remote."
    if room.free < LITTLE:
        return [warning("quota", text, "vaultfs gc")]
    return [ok("quota", text)]
