"""CPython's own tests with their temporary directory in the mount; what fails natively too is not ours."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.leftovers import scratch

if TYPE_CHECKING:
    from tests.mounted.conftest import Target

MODULES = [
    "test_os",
    "test_posix",
    "test_shutil",
    "test_mmap",
    "test_sqlite3",
    "test_tempfile",
    "test_zipfile",
    "test_pathlib",
    "test_fcntl",
    "test_largefile",
]
# FUSE as pyfuse3 offers it has no fallocate (docs/conformance.md)
BEYOND_PYFUSE3 = {"test_posix_fallocate"}


def has_tests() -> bool:
    """Debian's python3 comes without the test package; pyenv's and python.org's have it."""
    return (Path(sysconfig.get_path("stdlib")) / "test" / "test_os.py").exists()


def failures(module: str, directory: Path) -> set[str]:
    """The names of the tests that fail, or a word for a module that broke down as a whole."""
    place = directory / f"cpython-{module}"
    place.mkdir()
    place.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-m", "test", "-v", "--timeout", "100", "--tempdir", str(place), "-u", "largefile", module],
        cwd=place,
        env=os.environ | {"TMPDIR": str(place), "HOME": str(place)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=280,
        check=False,
    )
    shutil.rmtree(place, ignore_errors=True)
    found = set(re.findall(r"^(?:FAIL|ERROR): (\w+)", done.stdout, re.MULTILINE))
    ran = re.search(r"^Ran (\d+) tests?", done.stdout, re.MULTILINE)
    if done.returncode and not found:
        found.add(f"the whole module: {done.stdout[-1500:]}")
    assert ran, f"{module} ran no test: {done.stdout[-1500:]}"
    return found


@functools.cache
def native(module: str) -> frozenset[str]:
    """What fails on the machine's own file system."""
    directory = scratch()
    try:
        return frozenset(failures(module, directory))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not has_tests(), reason="this Python comes without its test package")
@pytest.mark.parametrize("module", MODULES)
def test_cpython(target: Target, module: str) -> None:
    if importlib.util.find_spec(f"test.{module}") is None:
        pytest.skip("Debian's package of CPython's tests comes without this module")
    found = failures(module, target.root)
    if found:  # only then is it worth running natively
        found -= native(module)
    assert not found - BEYOND_PYFUSE3, f"fails here and not natively: {sorted(found)}"
