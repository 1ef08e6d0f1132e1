"""The test's side of `tests.support.beside`: start it, talk with it line by line, end it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.users import User, as_user
from vaultfs.fuse import mount

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]


class Served:
    """A mounted vault with a function of the test's beside it."""

    def __init__(self, base: Path, which: str, *words: str, user: User | None = None) -> None:
        self.mountpoint = base / "m"
        self.mountpoint.mkdir()
        self.user = user
        if user is not None:
            for path in (base, self.mountpoint):
                os.chown(path, user.uid, user.gid)
            words = (*words, f"-u{user.uid}:{user.gid}")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.beside", str(base / "store"), str(self.mountpoint), which, *words],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.hear() == {"ready": True}

    def hear(self) -> dict[str, Any]:
        """The next line it says."""
        line = self.process.stdout.readline()
        assert line, "the server ended without a word"
        return json.loads(line)

    def ask(self, **question: object) -> dict[str, Any]:
        """Say something, and hear what it answers."""
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return self.hear()

    def end(self) -> None:
        """Unmount; all must be in order."""
        if self.user is not None:
            as_user(self.user, lambda: mount.detach(str(self.mountpoint)))
        else:
            mount.detach(str(self.mountpoint))
        assert self.hear() == {"ended": True}
        assert self.process.wait(90) == 0

    def remove(self) -> None:
        """Whatever is left."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        if mount.is_mounted(self.mountpoint):
            mount.detach(str(self.mountpoint), lazy=True)


@contextlib.contextmanager
def served(which: str, *words: str, user: User | None = None) -> Iterator[Served]:
    """Serve `which` ("module:function") for as long as the block; ends in order unless the test failed."""
    base = Path(tempfile.mkdtemp(prefix=f"vaultfs-test-{os.environ['VAULTFS_TEST_RUN'][:8]}-", dir="/var/tmp"))
    base.chmod(0o755)
    running = None
    try:
        running = Served(base, which, *words, user=user)
        yield running
        running.end()
    finally:
        if running is not None:
            running.remove()
        shutil.rmtree(base, ignore_errors=True)
