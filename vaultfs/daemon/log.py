"""The daemon's log: bounded in size, for its owner alone, and without names or contents.

Exceptions often carry file names in their text, so below the level debug the log shows their kind and the
places in the program they came through, not their words.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from vaultfs.daemon.paths import private_directory

if TYPE_CHECKING:
    from io import TextIOWrapper
    from types import TracebackType

FORMAT = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"


class DiscreetFormatter(logging.Formatter):
    """Formats exceptions without their text unless `outspoken`."""

    def __init__(self, *, outspoken: bool) -> None:
        super().__init__(FORMAT)
        self._outspoken = outspoken

    def formatException(  # noqa: N802 - the standard library's name
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """The traceback; discreetly: one line for each place, and the kinds of exception."""
        if self._outspoken or ei[1] is None:
            return super().formatException(ei)
        return "\n".join(_places(ei[1]))


class BoundedHandler(logging.handlers.RotatingFileHandler):
    """Keeps one old file; made 0600; with `adopt` also catches what is written to stdout and stderr."""

    def __init__(self, path: Path, size: int, *, adopt: bool) -> None:
        self._adopt = adopt
        super().__init__(path, maxBytes=size, backupCount=1, encoding="utf-8", errors="backslashreplace")

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if self._adopt:
            for standard in (1, 2):
                os.dup2(descriptor, standard)
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")


def start(path: Path, *, level: str, size: int, adopt: bool) -> None:
    """Send all logging to `path`, at `level`, at most twice `size` bytes. `adopt`: see BoundedHandler."""
    private_directory(path.parent)
    logging.raiseExceptions = False  # a full disk must not turn every line into a traceback on stderr
    handler = BoundedHandler(path, size, adopt=adopt)
    handler.setFormatter(DiscreetFormatter(outspoken=level == "debug"))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())


def _places(error: BaseException) -> list[str]:
    lines = []
    seen: BaseException | None = error
    while seen is not None:
        number = f" errno {seen.errno}" if isinstance(seen, OSError) and seen.errno else ""
        lines.append(f"  {type(seen).__module__}.{type(seen).__qualname__}{number}")
        lines += [
            f"    {'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(seen.__traceback__)
        ]
        if isinstance(seen, BaseExceptionGroup):
            for part in seen.exceptions:
                lines += ["  " + line for line in _places(part)]
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return lines
