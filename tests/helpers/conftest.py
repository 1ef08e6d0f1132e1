"""What is installed, and where it can be tried."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import anybody, base, person
from tests.helpers.room import Room, installation, python

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["anybody", "base", "person"]


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    """A namespace in which `vaultfs install-helpers` was run by root."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("needs root and /dev/fuse")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this container allows no mount namespaces")
    if python() is None:
        pytest.skip("no Python here that every user can run")
    mark = os.environ["VAULTFS_TEST_RUN"][:8]
    place = Path(tempfile.mkdtemp(prefix=f"vaultfs-test-{mark}-", dir="/var/tmp"))
    place.chmod(0o755)
    made = Room(place, installation(place))
    try:
        made.run(made.program, "install-helpers", environment={"HOME": "/root"})
        yield made
    finally:
        made.leave()
        shutil.rmtree(place, ignore_errors=True)
