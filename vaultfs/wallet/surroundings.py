"""What a signer may need from around it, handed in so that two "machines" can live on one host."""

from __future__ import annotations

import getpass
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from vaultfs.errors import SignerError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Terminal(Protocol):
    """Somewhere a person can read and answer."""

    def show(self, text: str) -> None:
        """Print `text` and a newline."""

    def ask(self, question: str, *, hidden: bool = False) -> str:
        """One line from the person; `hidden` does not show what is typed. Raises `SignerError`."""


class StandardTerminal:
    """Asks on the terminal this program was started from; standard output stays free for results."""

    def show(self, text: str) -> None:
        """Print on standard error."""
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def ask(self, question: str, *, hidden: bool = False) -> str:
        """One line from standard input, which must be a terminal."""
        if not sys.stdin.isatty():
            raise SignerError(detail="it has to be asked for, and there is no terminal to ask on")
        try:
            if hidden:
                return getpass.getpass(question)
            sys.stderr.write(question)
            sys.stderr.flush()
            return input()
        except EOFError:
            raise SignerError(detail="nothing was entered") from None


@dataclass(frozen=True)
class Surroundings:
    """Home directory, environment and terminal of the person who unlocks."""

    home: Path = field(default_factory=Path.home)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    terminal: Terminal = field(default_factory=StandardTerminal)

    def path(self, text: str) -> Path:
        """`text` as a path, with `~` for the home directory."""
        if text == "~" or text.startswith("~/"):
            return self.home / text[2:]
        return Path(text)
