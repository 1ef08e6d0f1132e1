"""Runs a command where the only network is loopback and the only thing on it is our model.

    python -m tests.agents.offline COMMAND [ARGUMENT...]

Mounts, files and processes are the caller's. Needs root.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.agents.model import Model

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """This process leaves the network for good; while the `with` lasts the model answers on `model.PORT`."""
    _unshare()
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP))
    with Model():
        yield


def _unshare() -> None:
    if sys.version_info >= (3, 12):
        os.unshare(_CLONE_NEWNET)
        return
    import ctypes  # noqa: PLC0415 - only where Python has no word for it

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")


def main() -> None:
    """Run what the command line says."""
    with offline():
        raise SystemExit(subprocess.run(sys.argv[1:], check=False).returncode)


if __name__ == "__main__":
    main()
