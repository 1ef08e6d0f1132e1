"""Memory of the daemon, disk used, and time to mount, on vaults that grow.

Resident memory is read after the work; the peak is what the kernel saw since the work began.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.fsbench import drop_caches, interrupt
from benchmarks.report import put, where
from benchmarks.targets import Vaultfs
from benchmarks.workloads import MEGABYTE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FILES_PER_DIRECTORY = 200


class Measured:
    """One mounted vault and its daemon."""

    def __init__(self, target: Vaultfs) -> None:
        self.target = target

    @property
    def pid(self) -> int:
        """The daemon's process id, from its own status."""
        command = [self.target.command(), "status", "--json", "--vault", "bench"]
        shown = subprocess.run(
            command, env={**os.environ, **self.target.env()}, check=True, capture_output=True, text=True
        )
        return int(json.loads(shown.stdout)["pid"])

    def memory(self) -> tuple[float, float]:
        """(resident, peak) in MiB."""
        fields = dict(
            line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines() if ":" in line
        )
        return _mebibytes(fields["VmRSS"]), _mebibytes(fields["VmHWM"])

    def forget_peak(self) -> None:
        """Start the peak anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def remount(self) -> float:
        """Unmount and mount again; seconds until the mount answers and its root can be listed."""
        self.target.stop()
        start = time.perf_counter()
        self.target.remount()
        os.listdir(self.target.root)
        return time.perf_counter() - start

    def disk(self) -> int:
        """Bytes of disk that the vault's own files take."""
        data = self.target.home / "data"
        return sum(path.lstat().st_blocks * 512 for path in data.rglob("*"))


def _mebibytes(field: str) -> float:
    return int(field.split(maxsplit=1)[0]) / 1024


@contextmanager
def vault(home: Path) -> Iterator[Measured]:
    """A new vault, mounted; unmounted at the end, however it ends."""
    target = Vaultfs(home)
    try:
        target.start()
        yield Measured(target)
    finally:
        target.stop()


def fill(root: Path, start: int, stop: int) -> None:
    """Files number `start` to `stop` of a growing tree of small ones."""
    for number in range(start, stop):
        directory = os.path.join(root, f"d{number // FILES_PER_DIRECTORY // 100}", f"d{number // FILES_PER_DIRECTORY}")
        if number % FILES_PER_DIRECTORY == 0:
            os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, f"file-{number}"), "wb") as file:
            file.write(b"%d\n" % number)


def walk(root: Path) -> int:
    """Every file looked up and stat'ed; how many there are."""
    count = 0
    for base, _, names in os.walk(root):
        for name in names:
            os.stat(os.path.join(base, name))
            count += 1
    return count


def write_random(path: Path, megabytes: int) -> None:
    """Incompressible, and no two blocks alike."""
    with open(path, "wb") as file:
        file.writelines(os.urandom(MEGABYTE) for _ in range(megabytes))
        file.flush()
        os.fsync(file.fileno())


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def many_files(home: Path, files: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Time to mount with ever more files, and memory after walking them all."""
    mounts, memory = [], []
    with vault(home) as measured:
        root, done = measured.target.root, 0
        for count in [0, *(count for count in (1_000, 10_000, 50_000) if count < files), files]:
            took = seconds(lambda: fill(root, done, count))  # noqa: B023  (called at once)
            done = count
            mounts.append({"files": count, "mount_seconds": measured.remount(), "create_seconds": took})
        resident, peak = measured.memory()
        memory.append({"after": "mounting", "resident_mib": resident, "peak_mib": peak})
        if os.geteuid() == 0:
            drop_caches()
        measured.forget_peak()
        took = seconds(lambda: walk(root))
        resident, peak = measured.memory()
        memory.append(
            {"after": f"walking {files:,} files", "resident_mib": resident, "peak_mib": peak, "seconds": took}
        )
    return mounts, memory


def much_data(home: Path, megabytes: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Memory after writing one large file; disk used for the half of it."""
    disks, memory = [], []
    with vault(home) as measured:
        half = megabytes // 2
        measured.forget_peak()
        for step, name in ((half, "first half"), (megabytes - half, "second half")):
            took = seconds(lambda: write_random(measured.target.root / name, step))  # noqa: B023  (called at once)
            resident, peak = measured.memory()
            if name == "first half":
                disks.append({"when": f"after fsync of {half} MiB", "ratio": measured.disk() / (half * MEGABYTE)})
                measured.remount()
                disks.append({"when": "after unmounting", "ratio": measured.disk() / (half * MEGABYTE)})
                measured.forget_peak()
            what = f"writing {step:,} MiB ({name})"
            memory.append({"after": what, "resident_mib": resident, "peak_mib": peak, "seconds": took})
    return disks, memory


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks/memory", description=__doc__)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--megabytes", type=int, default=2048)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--update", type=Path, metavar="PAGE", help="also put the tables into docs/performance.md")
    parser.add_argument("--work", type=Path, required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupt)
    mounts, memory = many_files(args.work / "files", args.files)
    disks, more = much_data(args.work / "data", args.megabytes)
    memory += more
    mount_rows = [[f"{m['files']:,}", f"{m['mount_seconds']:.2f}", f"{m['create_seconds']:.1f}"] for m in mounts]
    memory_rows = [
        [m["after"], f"{m['resident_mib']:.0f}", f"{m['peak_mib']:.0f}", f"{m.get('seconds', 0):.1f}"] for m in memory
    ]
    text = "\n\n".join(
        (
            f"{where()}.",
            table(["files", "seconds to mount", "seconds to create the last of them"], mount_rows),
            table(["daemon's memory after", "resident MiB", "peak MiB", "seconds"], memory_rows),
            table(
                ["disk used by incompressible data", "of its size"], [[d["when"], f"{d['ratio']:.3f}"] for d in disks]
            ),
        )
    )
    print(text)
    if args.update:
        put(args.update, "memory", text)
    if args.json:
        args.json.write_text(json.dumps({"mount": mounts, "memory": memory, "disk": disks}, indent=1) + "\n")


if __name__ == "__main__":
    main()
