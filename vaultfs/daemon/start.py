"""Start the daemon of one mount, in the background or right here."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import TYPE_CHECKING

from vaultfs.daemon import log, main
from vaultfs.daemon.detach import UMASK, NotReadyError, detach, harden
from vaultfs.errors import MountFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultfs.daemon.job import Opened


def in_background(opened: Opened, waiting: Callable[[float], None]) -> dict[str, object]:
    """Fork the daemon; returns its facts once the mount answers. Errors of the daemon are raised here.

    The lock then belongs to the daemon.
    """
    job = opened.job
    try:
        return detach(
            partial(main.run, opened),
            prepare=partial(_start_log, opened, adopt=True),
            timeout=job.timeout,
            waiting=waiting,
        )
    except NotReadyError as error:
        detail = "the daemon ended unexpectedly"
        if error.pid:
            os.kill(error.pid, signal.SIGTERM)
            detail = f"it did not answer within {job.timeout:g} s"
        raise MountFailedError(path=job.mountpoint, detail=detail, log=job.vault.log) from None
    finally:
        opened.lock.forget()


def in_foreground(opened: Opened, ready: Callable[[dict[str, object]], None]) -> None:
    """Be the daemon in this very process until unmounted."""
    _start_log(opened, adopt=False)
    os.umask(UMASK)
    harden()
    main.run(opened, ready)


def _start_log(opened: Opened, *, adopt: bool) -> None:
    job = opened.job
    log.start(job.vault.log, level=job.log_level, size=job.log_bytes, adopt=adopt)
