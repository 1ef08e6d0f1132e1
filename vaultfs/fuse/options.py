"""What a mount may be asked for: the `-o` words we know, and nothing else."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vaultfs.errors import UsageError
from vaultfs.fuse import kernel

if TYPE_CHECKING:
    from collections.abc import Iterable

# Word: (bits set, bits cleared) of the mount(2) flags.
_FLAG_WORDS = {
    "nosuid": (kernel.MS_NOSUID, 0),
    "suid": (0, kernel.MS_NOSUID),
    "nodev": (kernel.MS_NODEV, 0),
    "dev": (0, kernel.MS_NODEV),
    "noexec": (kernel.MS_NOEXEC, 0),
    "exec": (0, kernel.MS_NOEXEC),
    "noatime": (kernel.MS_NOATIME, 0),
    "atime": (0, kernel.MS_NOATIME),
    "nodiratime": (kernel.MS_NODIRATIME, 0),
    "diratime": (0, kernel.MS_NODIRATIME),
    "relatime": (kernel.MS_RELATIME, 0),
    "strictatime": (kernel.MS_STRICTATIME, 0),
    "sync": (kernel.MS_SYNCHRONOUS, 0),
    "async": (0, kernel.MS_SYNCHRONOUS),
    "dirsync": (kernel.MS_DIRSYNC, 0),
}

SOURCE = "vaultfs"
BOTH, PYFUSE3 = LANES = ("both", "pyfuse3")
_SOURCE = re.compile(r"[^\s,\\\x00-\x1f]{1,200}")  # no way out of a list of options

# What fstab lines and mount(8) pass along and we need not act on.
_IGNORED_WORDS = frozenset(
    (
        "defaults",
        "default_permissions",
        "auto",
        "noauto",
        "user",
        "nouser",
        "users",
        "owner",
        "group",
        "_netdev",
        "nofail",
    ),
)
_IGNORED_PREFIXES = ("x-", "X-", "comment=")

# fusermount3 lets only root lift these two.
_ROOT_WORDS = frozenset(("suid", "dev"))

# fusermount3 knows these under the same names; the others are mount(2) only.
_FUSERMOUNT_WORDS = (
    ("noexec", kernel.MS_NOEXEC),
    ("noatime", kernel.MS_NOATIME),
    ("nodiratime", kernel.MS_NODIRATIME),
    ("sync", kernel.MS_SYNCHRONOUS),
    ("dirsync", kernel.MS_DIRSYNC),
)


@dataclass(frozen=True, slots=True)
class MountOptions:
    """How to mount. `flags` are those of mount(2); `handshake=False` leaves the INIT talk to libfuse alone.

    `lane`: whether frequent requests are answered by our own loop and the rest by pyfuse3, or all by that.
    `quick_wakes`: whether that loop keeps the processors awake while requests come one upon the other.
    `source` is what `findmnt` shows as such: `mount -a` knows by it that an fstab line is mounted already.
    """

    read_only: bool = False
    allow_other: bool = False
    flags: int = kernel.MS_NOSUID | kernel.MS_NODEV
    handshake: bool = True
    source: str = SOURCE
    lane: str = BOTH
    quick_wakes: bool = True

    @classmethod
    def parse(cls, words: Iterable[str], *, read_only: bool = False) -> MountOptions:
        """From the arguments of `-o`, each a comma-separated list; raises UsageError for an unknown word."""
        options = cls(read_only=read_only)
        for argument in words:
            for word in filter(None, (part.strip() for part in argument.split(","))):
                options = options.with_word(word)
        return options

    def with_word(self, word: str) -> MountOptions:
        """These options and one more `-o` word; raises UsageError."""
        if word in {"ro", "rw"}:
            return replace(self, read_only=word == "ro")
        if word in {"allow_other", "noallow_other"}:
            return replace(self, allow_other=word == "allow_other")
        if word.startswith("fsname=") and _SOURCE.fullmatch(word.removeprefix("fsname=")):
            return replace(self, source=word.removeprefix("fsname="))
        if word in _ROOT_WORDS and os.geteuid() != 0:
            raise UsageError(detail=f"The mount option '{word}' is for root only")
        if word in _FLAG_WORDS:
            bits, cleared = _FLAG_WORDS[word]
            return replace(self, flags=(self.flags | bits) & ~cleared)
        if word in _IGNORED_WORDS or word.startswith(_IGNORED_PREFIXES):
            return self
        raise UsageError(detail=f"The mount option '{word}' is not known")

    @property
    def permissions(self) -> bool:
        """Whether the kernel is to look at modes and access control lists.

        Root may do everything; to look all the same, the kernel asks for a directory's mode after each change in it.
        """
        return self.allow_other or os.geteuid() != 0

    def kernel_flags(self) -> int:
        """The flags argument of mount(2)."""
        return self.flags | (kernel.MS_RDONLY if self.read_only else 0)

    def fusermount_words(self) -> list[str]:
        """The same for `fusermount3 -o`."""
        words = ["ro" if self.read_only else "rw", "nosuid", "nodev"]
        words += ["default_permissions"] if self.permissions else []
        words += [word for word, bit in _FUSERMOUNT_WORDS if self.flags & bit]
        return [*words, "allow_other"] if self.allow_other else words
