"""A real `systemd --user` runs the real unit, in namespaces of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.driver import REPOSITORY
from tests.support.leftovers import ONLY_OWN_MOUNTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.person import Person

pytestmark = [pytest.mark.root, pytest.mark.fuse, pytest.mark.long]
MANAGER = Path("/lib/systemd/systemd")

# Arguments: cgroup, HOME, vaultfs. In a PID namespace of its own: when this ends, all that it started ends with it.
_INSIDE = """
for place in $(findmnt -rn -o TARGET -t fuse.vaultfs); do umount -l "$place"; done  # our views of other people's
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system
mount -t tmpfs tmpfs /sys/fs/cgroup && umount -l /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 77
export SYSTEMD_UNIT_PATH=$HOME/.config/systemd/user:$HOME/units XDG_RUNTIME_DIR=$HOME/run
control() { timeout -s KILL 30 systemctl --user --no-pager "$@"; }
until_is() {
  for _ in $(seq 300); do [ "$(control show -p "$1" --value vaultfs@default)" = "$2" ] && return; sleep 0.1; done
  control status vaultfs@default; cat "$HOME/manager.log"; exit 1
}
/lib/systemd/systemd --user --unit=basic.target >"$HOME/manager.log" 2>&1 &
for _ in $(seq 100); do [ -S "$XDG_RUNTIME_DIR/systemd/private" ] && break; sleep 0.1; done
[ -S "$XDG_RUNTIME_DIR/systemd/private" ] || { cat "$HOME/manager.log"; exit 77; }
set -e
control start vaultfs@default || { control status vaultfs@default; cat "$HOME/manager.log"; exit 1; }
place=$HOME/agent-vault
findmnt -no OPTIONS "$place" | grep -q noatime   # it answers at once, with the options of the environment file
echo one >"$place/one"
until_is StatusText "Mounted at $place; all is published."
kill -9 "$(control show -p MainPID --value vaultfs@default)"
until_is NRestarts 1
until_is ActiveState active
cat "$place/one"
echo two >"$place/two"
control stop vaultfs@default
until_is Result success
until_is ActiveState inactive
! findmnt "$place" || exit 1
"$1" cat two                                     # from the remote
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A cgroup of our own, gone again afterwards."""
    mounts = [line.split(" ") for line in Path("/proc/self/mounts").read_text().splitlines()]
    places = [Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"]
    ours = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    if not places or not ours or not MANAGER.exists():
        pytest.skip("no systemd, or no version 2 of cgroups here")
    made = Path(f"{places[0]}{ours[0]}") / f"vaultfs-test-{os.environ['VAULTFS_TEST_RUN'][:8]}"
    try:
        made.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error.strerror}")
    yield made
    for directory, _, _ in os.walk(made, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def test_start_kill_and_stop(person: Person, group: Path) -> None:
    person.ok("init", "--remote", str(person.home / "store"), "--yes")
    person.ok("install-helpers", "--user")
    (person.home / "run").mkdir(mode=0o700)
    (person.home / "units").mkdir()
    for name in ("basic", "shutdown", "default"):
        (person.home / f"units/{name}.target").write_text(f"[Unit]\nDescription={name}\n")
    settings = person.home / ".config/vaultfs/units/default.env"
    settings.parent.mkdir(parents=True)
    settings.write_text("OPTIONS=--live -o noatime\n")
    enter = f'echo $$ >"{group}/cgroup.procs"; exec timeout -s KILL 120 unshare --cgroup --mount --pid --fork '
    enter += '--mount-proc --kill-child --propagation private bash -c "$0" inside "$@"'
    done = subprocess.run(
        ["bash", "-c", enter, ONLY_OWN_MOUNTS + _INSIDE, person.command()[0]],
        capture_output=True, text=True, check=False, timeout=150, cwd=REPOSITORY,
        env={**person.how()["env"], "SYSTEMD_LOG_TARGET": "console"},
    )  # fmt: skip
    if done.returncode == 77:
        pytest.skip(f"systemd --user does not start in this container: {done.stdout[-300:]}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split("\n")[-3:] == ["one", "two", ""], done.stdout
