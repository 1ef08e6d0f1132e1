"""What uploads can be stopped for a moment, and nothing that anybody waits for is held up by that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from tests.remote.test_rclone import gone, state_of, supervisor_of, until
from vaultfs.remote import brake as brakes
from vaultfs.remote import with_parent
from vaultfs.remote.brake import Brake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.remote.conftest import Place

pytestmark = pytest.mark.trio
COMPUTES, SLEEPS = "while True: pass", "import time; print(flush=True); time.sleep(600)"


@contextmanager
def child(program: str, *, said: bool = False) -> Iterator[int]:
    """A process of ours with a program in Python; `said`: its start is over, which takes processor time too."""
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            if said:
                process.stdout.readline()
            yield process.pid
        finally:
            process.kill()  # whether it is stopped or not


async def pressed(brake: Brake) -> None:
    """Stop it, as soon as it has computed for long enough to be felt."""

    async def holds() -> bool:
        return brake.press()

    await until(holds)


async def in_state(pid: int, *states: str) -> None:
    async def holds() -> bool:
        return state_of(pid) in states

    await until(holds)


async def test_a_process_stops_and_goes_on() -> None:
    with child(COMPUTES) as pid:
        brake = Brake()
        brake.attach(pid)
        for _ in range(3):
            await pressed(brake)
            await in_state(pid, "T")
            brake.release()
            brake.release()
            await in_state(pid, "R")
            with trio.fail_after(1):
                await brake.released()


async def test_what_is_not_felt_goes_on() -> None:
    with child(SLEEPS, said=True) as pid:
        brake = Brake()
        brake.attach(pid)
        for _ in range(3):
            await trio.sleep(0.05)  # it is a share of the time that counts
            brake.press()
        assert not brake.press()
        assert state_of(pid) == "S"


async def test_who_waits_for_it_is_not_held_up() -> None:
    with child(COMPUTES) as pid:
        brake = Brake()
        brake.attach(pid)
        await pressed(brake)
        with brake.urgent():
            await in_state(pid, "R")
            with trio.fail_after(1):
                await brake.released()
            with brake.urgent():
                pass
            await trio.sleep(0.05)
            assert not brake.press()
        await pressed(brake)
        brake.detach()
        await in_state(pid, "R")
        assert not brake.press()


async def test_without_a_process_there_is_nothing_to_stop() -> None:
    brake = Brake()
    assert not brake.press()
    brake.release()
    with brake.urgent():
        assert not brake.press()
    brake.detach()


async def test_one_that_ended_meanwhile() -> None:
    with child(COMPUTES) as pid:
        brake = Brake()
        brake.attach(pid)
        await pressed(brake)
        os.kill(pid, signal.SIGKILL)
        await in_state(pid, "Z")
        brake.release()
        assert not brake.press()
        brake.detach()


async def test_stopped_it_still_dies_with_its_parent(tmp_path: Path) -> None:
    """SIGKILL takes who cannot let it go on any more: what is left must not stand there stopped for ever."""
    script = textwrap.dedent(f"""
        import os, subprocess, sys
        child = [sys.executable, "-I", "-S", "-c", {COMPUTES!r}]
        helper = [sys.executable, "-I", "-S", {with_parent.__file__!r}, str(os.getpid()), *child]
        print(subprocess.Popen(helper).pid, flush=True)
        sys.stdin.read()
    """)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, cwd=tmp_path) as parent:  # noqa: ASYNC220 - started at once
        try:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())

            async def runs() -> bool:
                return COMPUTES.encode() in (await trio.Path(f"/proc/{pid}/cmdline").read_bytes()).split(b"\0")[4:5]

            await until(runs)
            os.kill(pid, signal.SIGSTOP)
            await in_state(pid, "T")
        finally:
            parent.kill()
        await gone(pid)


async def test_rclone_is_stopped_in_the_middle_of_an_upload_and_ends_it(
    place_of: Callable[[str], Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brakes, "FELT", 0.0)  # on a slow line, which is what makes it last
    content = os.urandom(4 << 20)
    file = tmp_path / "pack"
    file.write_bytes(content)
    async with place_of("s3").open(bandwidth=2 << 20) as remote:
        assert remote.brake is not None
        pid = supervisor_of(remote).pid
        assert pid is not None
        done = trio.Event()

        async def put() -> None:
            await remote.put("packs/ab/cd", file)
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(put)
            for _ in range(3):
                await trio.sleep(0.1)  # of its two seconds
                await pressed(remote.brake)
                await in_state(pid, "T")
                assert not done.is_set()
                # Whoever asks for anything else gets it, and lets it go on.
                assert await remote.list("heads") == []
                assert state_of(pid) != "T"
        assert await remote.get("packs/ab/cd") == content
        with remote.urgent():
            assert not remote.brake.press()
