"""The one rclone beside us: private, without secrets in sight, started again when it dies, gone when we are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from vaultfs.errors import RcloneMissingError, RemoteUnavailableError
from vaultfs.remote import Limits, open_remote, program
from vaultfs.remote import supervisor as supervisor_module
from vaultfs.remote.rclone import RcloneBackend
from vaultfs.remote.supervisor import SOCKET, Supervisor
from vaultfs.remote.with_parent import NICE, TURN_NS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.remote.conftest import Place, ServerOf
    from vaultfs.remote import Remote

pytestmark = pytest.mark.trio
PACK = "packs/ab/cd"


def supervisor_of(remote: Remote) -> Supervisor:
    backend = remote._backend
    assert isinstance(backend, RcloneBackend)
    return backend._supervisor


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Looks again and again, where there is nothing to await, for ten seconds."""
    with trio.fail_after(10):
        while not await holds():  # noqa: ASYNC110 - another process tells nobody
            await trio.sleep(0.01)


def state_of(pid: int) -> str:
    """As the kernel has it: R, S, T, Z ...; empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def ended(pid: int) -> bool:
    """Whether the process is gone, or waits only for its parent to notice."""
    return state_of(pid) in {"", "Z"}


async def gone(pid: int) -> None:
    async def has_ended() -> bool:
        return ended(pid)

    await until(has_ended)


def command_line(pid: int | None) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def environment_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/environ").read_text().split("\0")


def nice_of_group(pid: int) -> int | None:
    """As a kernel has it that lets sessions share the processors; None: it does not, or takes ten a second at most."""
    path = Path(f"/proc/{pid}/autogroup")
    if os.geteuid():
        return None
    named = path.read_text().split() if path.exists() else []
    return int(named[2]) if named and named[0] != "/autogroup-0" else None


def turn_of(pid: int) -> int | None:
    """How long it may stay on a processor, in ns; None: the kernel does not say, or has the same for all."""
    path = Path(f"/proc/{pid}/sched")
    if tuple(map(int, os.uname().release.split(".")[:2])) < (6, 12) or not path.exists():
        return None
    return next((int(line.split()[-1]) for line in path.read_text().splitlines() if line.startswith("se.slice")), None)


def tcp_ports_of(pid: int | None) -> list[str]:
    """Local addresses of its TCP sockets, that listen, as the kernel writes them."""
    links = (os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd"))
    mine = {link[8:-1] for link in links if link.startswith("socket:[")}
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return [line[1] for line in lines if line[9] in mine and line[3] == "0A"]


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def test_it_gives_way_to_what_people_wait_for(server_of: ServerOf, rclone: Path, runtime: Path) -> None:
    async with open_remote(server_of("webdav").spec("polite"), runtime, program=rclone) as remote:
        await remote.create()
        pid = supervisor_of(remote).pid
        assert pid
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(os.getpriority(os.PRIO_PROCESS, 0) + NICE, 19)
        assert nice_of_group(pid) in {None, NICE}, "else the kernel would compare it with its own threads only"
        assert turn_of(pid) in {None, TURN_NS}
        assert f"GOMAXPROCS={max(len(os.sched_getaffinity(0)) // 2, 1)}" in environment_of(pid)


async def test_its_socket_is_ours_alone_and_its_command_line_has_no_secret(
    server_of: ServerOf, rclone: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RCLONE_RC_USER", "somebody")
    monkeypatch.setenv("RCLONE_RC_PASS", "would lock us out")
    spec = server_of("webdav").spec("private")
    async with open_remote(spec, runtime, program=rclone) as remote:
        await remote.create()
        supervisor = supervisor_of(remote)
        directory = runtime / next(name for name in names_in(runtime) if name.startswith("remote-"))
        assert directory.stat().st_mode & 0o777 == 0o700
        assert (directory / SOCKET).stat().st_mode & 0o777 == 0o600
        command = command_line(supervisor.pid)
        assert b"unix://" in command
        assert b"pass=" not in command
        assert b"127.0.0.1" not in command
        assert tcp_ports_of(supervisor.pid) == [], "it listens nowhere else"
        assert remote.facts() == {"program": str(rclone), "version": supervisor.version, "restarts": "0"}
        assert supervisor.version.startswith("v1.")
    assert names_in(runtime) == []


async def test_it_is_started_again_when_it_dies(place_of: Callable[[str], Place]) -> None:
    async with place_of("rclone-local").open() as remote:
        await remote.put("heads/aa/1", b"head")
        supervisor = supervisor_of(remote)
        for restart in (1, 2):
            pid = supervisor.pid
            assert pid
            os.kill(pid, signal.SIGKILL)
            await gone(pid)
            assert await remote.get("heads/aa/1") == b"head"
            assert supervisor.restarts == restart
        assert remote.trouble is None


async def test_one_that_hangs_is_ended_and_started_again(
    place_of: Callable[[str], Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "HEARTBEAT_SECONDS", 0.8)
    async with place_of("rclone-local").open(limits=Limits(call=20, attempt=15)) as remote:
        await remote.list()
        supervisor = supervisor_of(remote)
        assert supervisor.pid
        pid = supervisor.pid
        os.kill(pid, signal.SIGSTOP)

        async def stopped() -> bool:
            return state_of(pid) == "T"

        await until(stopped)
        await remote.put("heads/aa/1", b"head")
        assert supervisor.restarts >= 1


async def test_killed_in_mid_transfer(place_of: Callable[[str], Place], tmp_path: Path) -> None:
    place = place_of("rclone-local")
    pack = tmp_path / "pack"
    pack.write_bytes(os.urandom(16 << 20))
    async with place.open(limits=Limits(call=30), bandwidth=2 << 20) as remote:
        supervisor = supervisor_of(remote)

        async def lifted() -> bool:
            try:
                await remote.limit_bandwidth(None)
            except RemoteUnavailableError:
                return False
            return True

        async def kill_in_the_middle() -> None:
            async def in_the_middle() -> bool:
                return 0 < (await remote.progress()).done < 16 << 20

            await until(in_the_middle)
            assert (await remote.progress()).total == 16 << 20
            assert place.backing
            assert await remote.list() == [], "part of it is under no name of ours"
            assert supervisor.pid
            os.kill(supervisor.pid, signal.SIGKILL)
            await until(lifted)  # not before: what is left would be done in no time

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill_in_the_middle)
            await remote.put(PACK, pack)
        assert await remote.get(PACK) == pack.read_bytes()
        assert remote.requests.puts >= 2
        assert [name for name, _ in await remote.list()] == [PACK]


async def test_a_cancelled_transfer_stops(place_of: Callable[[str], Place]) -> None:
    async with place_of("rclone-local").open(bandwidth=1 << 20) as remote:
        with trio.move_on_after(0.5) as scope:
            await remote.put(PACK, bytes(16 << 20))
        assert scope.cancelled_caught

        async def nothing_runs() -> bool:
            return (await remote.progress()).total == 0

        await until(nothing_runs)
        assert await remote.list() == []


async def test_the_bandwidth_limit_holds_and_outlives_a_restart(place_of: Callable[[str], Place]) -> None:
    async with place_of("rclone-local").open() as remote:
        await remote.limit_bandwidth(2 << 20)
        supervisor = supervisor_of(remote)
        assert supervisor.pid
        os.kill(supervisor.pid, signal.SIGKILL)
        await gone(supervisor.pid)
        assert await remote.list() == [], "the next one runs"
        start = trio.current_time()
        await remote.put(PACK, bytes(3 << 20))
        assert trio.current_time() - start > 1, "3 MiB at 2 MiB a second"


async def test_it_dies_with_us_even_by_sigkill(rclone: Path, runtime: Path, tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import sys, trio
        from pathlib import Path
        from vaultfs.remote import open_remote
        async def main():
            runtime, program = map(Path, {[str(runtime), str(rclone)]!r})
            async with open_remote(":local:{tmp_path}", runtime, program=program) as remote:
                await remote.list()
                print(remote._backend._supervisor.pid, flush=True)
                await trio.sleep_forever()
        trio.run(main)
        """
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220
        assert process.stdout
        pid = int(process.stdout.readline())
        assert not ended(pid)
        process.kill()
    await gone(pid)
    assert len(names_in(runtime)) == 1, "nobody could clear up"
    async with open_remote(":local:/", runtime, program=rclone):
        assert [name.split("-")[1] for name in names_in(runtime)] == [str(os.getpid())]


async def test_one_that_cannot_run_is_an_error_with_its_last_words(runtime: Path, tmp_path: Path) -> None:
    broken = tmp_path / "rclone"
    broken.write_text("#!/bin/sh\nprintf 'Failed to rc: \\033[2Jno config today\\n' >&2\nexit 3\n")
    broken.chmod(0o755)
    async with open_remote("x:y", runtime, program=broken, limits=Limits(call=1)) as remote:
        with pytest.raises(RemoteUnavailableError, match=r"ended with 3: Failed to rc: \\x1b\[2Jno config today"):
            await remote.list()


async def test_an_error_in_the_block_comes_out_as_it_is(place_of: Callable[[str], Place]) -> None:
    with pytest.raises(ZeroDivisionError):
        async with place_of("rclone-local").open(create=False):
            raise ZeroDivisionError


async def test_the_one_on_the_path_is_taken_if_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path = tmp_path / "rclone"
    monkeypatch.setenv("PATH", str(tmp_path))

    def install(version: str) -> None:
        on_path.write_text(f"#!/bin/sh\necho 'rclone {version}'\n")
        on_path.chmod(0o755)

    install("v1.61.0")
    assert await program.find_rclone() == on_path
    install("v1.60.1-DEV")
    wheel = await program.find_rclone()
    assert wheel.name == "rclone"
    assert wheel != on_path
    monkeypatch.setattr(program.metadata, "files", lambda _: [])
    with pytest.raises(RcloneMissingError, match=r"no rclone 1\.61 or newer here \(.*rclone: 1\.60\)"):
        await program.find_rclone()
    on_path.unlink()
    with pytest.raises(RcloneMissingError, match="none was found"):
        await program.find_rclone()
