"""`vaultfs prefetch`: have files on this machine before they are needed."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

import click

from vaultfs.cli.options import any_path, json_option, verb
from vaultfs.cli.output import emit, plural, printable, say, size, warn
from vaultfs.cli.progress import Bar
from vaultfs.errors import NotInVaultError, ProblemsFoundError, UsageError
from vaultfs.fuse.mountinfo import vault_at

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 1 << 20
SHOWN = 10


class Wanted(NamedTuple):
    """A file to be read."""

    path: str
    size: int


@verb("prefetch", examples=["prefetch ~/agent-vault/hermes", "prefetch ~/agent-vault/models/small.gguf --json"])
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=any_path)
@json_option
def command(paths: tuple[str, ...], as_json: bool) -> None:
    """Fetch what is at and below PATH in a mounted vault, so that it can be read offline.

    What is fetched stays up to the limit `cache_bytes`; what was used longest ago goes first.
    """
    for path in paths:
        _check(path)
    wanted = [found for path in paths for found in _files(path)]
    total = sum(found.size for found in wanted)
    failed: list[tuple[str, str]] = []
    done = files = 0
    with Bar("Fetching", quiet=as_json) as bar:
        for found in wanted:
            try:
                for count in _read(found.path):
                    done += count
                    bar.update(done, total)
            except OSError as error:
                failed.append((found.path, error.strerror or "it cannot be read"))
            else:
                files += 1
    if as_json:
        failures = [{"path": printable(path), "detail": detail} for path, detail in failed]
        emit({"files": files, "bytes": done, "failures": failures})
    else:
        say(f"{plural(files, 'file is', 'files are')} here now, {size(done)}.")
        for path, detail in failed[:SHOWN]:
            warn(f"Not fetched: {printable(path)}: {detail}")
    if failed:
        raise ProblemsFoundError(count=len(failed))


def _check(path: str) -> None:
    full = os.path.realpath(path)
    if not os.path.lexists(full):
        raise UsageError(detail=f"{printable(path)}: there is no such file")
    while vault_at(full) is None:
        if full == "/":
            raise NotInVaultError(path=printable(path))
        full = os.path.dirname(full)  # noqa: PTH120 - plain text, never touched


def _files(path: str) -> Iterator[Wanted]:
    found = os.lstat(path)
    if stat.S_ISREG(found.st_mode):
        yield Wanted(path, found.st_size)
    for directory, _, names in os.walk(path):
        for name in names:
            full = os.path.join(directory, name)  # noqa: PTH118 - many files
            try:
                found = os.lstat(full)
            except OSError:
                continue  # gone meanwhile
            if stat.S_ISREG(found.st_mode):
                yield Wanted(full, found.st_size)


def _read(path: str) -> Iterator[int]:
    """Read it all; the kernel need not keep it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while data := os.read(descriptor, PIECE):
            yield len(data)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
