"""Say what takes so long."""

from __future__ import annotations

import shutil
import sys

PATIENCE = 1.0  # seconds before anything is said


class Waiting:
    """Tells a person at a terminal, after a while, what is waited for. Elsewhere it is silent."""

    def __init__(self, text: str, *, quiet: bool = False) -> None:
        self._text = text
        self._live = sys.stderr.isatty() and not quiet
        self._shown = False

    def __call__(self, seconds: float) -> None:
        """To be called often while waiting, with the seconds waited so far."""
        self.because("", seconds)

    def because(self, why: str, seconds: float) -> None:
        """As calling it, with the reason."""
        if seconds < PATIENCE or not self._live:
            return
        self._shown = True
        line = f"{self._text} ... {seconds:.0f} s{': ' if why else ''}{why}"
        sys.stderr.write("\r\033[K" + line[: shutil.get_terminal_size().columns - 1])
        sys.stderr.flush()

    def done(self) -> None:
        """Clear the line."""
        if self._shown:
            self._shown = False
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
