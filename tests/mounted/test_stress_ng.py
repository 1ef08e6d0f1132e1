"""stress-ng's file stressors with --verify."""

from __future__ import annotations

import functools
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# What needs another kernel interface than files (binderfs, ramfs), block devices, or whole disks is left out; and "io",
# which syncs every file system of the machine, also those of other tests that are being killed.
STRESSORS = [
    "access",
    "chdir",
    "chmod",
    "chown",
    "copy-file",
    "dentry",
    "dir",
    "dirdeep",
    "dirmany",
    "dnotify",
    "dup",
    "fcntl",
    "fiemap",
    "file-ioctl",
    "filename",
    "flock",
    "fstat",
    "fpunch",
    "getdent",
    "hdd",
    "inotify",
    "iomix",
    "link",
    "lockf",
    "lockofd",
    "mknod",
    "mmap",
    "msync",
    "open",
    "pipe",
    "readahead",
    "rename",
    "seek",
    "sendfile",
    "splice",
    "symlink",
    "sync-file",
    "touch",
    "unlink",
    "utime",
    "verity",
    "xattr",
]


@functools.cache
def known() -> str:
    """The stressors of this stress-ng."""
    return subprocess.run(["stress-ng", "--stressors"], capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.timeout(100)
@pytest.mark.skipif(shutil.which("stress-ng") is None, reason="no stress-ng here (Debian package stress-ng)")
@pytest.mark.parametrize("name", STRESSORS)
def test_stressor(work: Path, name: str) -> None:
    if name not in known().split():
        pytest.skip("this stress-ng has no such stressor")
    sizes = {
        "hdd": ["--hdd-bytes", "16m"],
        "iomix": ["--iomix-bytes", "16m"],
        "copy-file": ["--copy-file-bytes", "128m"],
    }
    sizes |= {"seek": ["--seek-size", "8m"], "readahead": ["--readahead-bytes", "8m"]}
    sizes |= {"sync-file": ["--sync-file-bytes", "8m"], "mmap": ["--mmap-bytes", "8m", "--mmap-file"]}
    command = ["stress-ng", f"--{name}", "2", "--verify", "-t", "1", "--temp-path", str(work), "--oom-avoid"]
    done = subprocess.run(
        [*command, *sizes.get(name, [])], capture_output=True, text=True, check=False, timeout=60, cwd=work
    )
    # 4: nothing of it is implemented here (it says so), as on any file system without that
    assert done.returncode in (0, 4), done.stdout + done.stderr
    assert " fail: " not in done.stderr + done.stdout, done.stdout + done.stderr
