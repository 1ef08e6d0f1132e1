"""A progress bar for what takes more than a second, on a terminal only."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

PATIENCE = 1.0  # seconds before anything is shown
STEP = 0.1  # between two updates


class Bar:
    """Bytes done of a total (None: not known), their rate, and the time left; gone when the block ends.

    Silent where standard error is no terminal, and with `quiet`. `update` may be called as often as one likes, and
    from any one thread.
    """

    def __init__(self, text: str, *, quiet: bool = False) -> None:
        self._text = text
        self.live = sys.stderr.isatty() and not quiet
        self._started = self._last = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        """Begin to count the time."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, total: int | None = None, text: str | None = None) -> None:
        """So much is done; `text` replaces what the bar says."""
        now = time.monotonic()
        if not self.live or now - self._started < PATIENCE or now - self._last < STEP:
            return
        self._last = now
        if self._bar is None:
            self._start()
        self._bar.update(self._task, completed=done, total=total, description=text or self._text)

    def _start(self) -> None:
        from rich import progress  # noqa: PLC0415 - only where a person waits

        from vaultfs.cli.output import console  # noqa: PLC0415

        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn(binary_units=True),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(compact=True),
            console=console(err=True),
            transient=True,
        )
        self._task = self._bar.add_task(self._text, total=None)
        self._bar.start()
