"""Write the helpers and remove them again: only what is ours, and all of it or nothing."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from vaultfs.cli.helper_files import MARK, is_ours
from vaultfs.errors import ForeignFileError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vaultfs.cli.helper_files import Place, Where


class Fact(msgspec.Struct, frozen=True):
    """What was done with a file: installed, updated, unchanged, removed, or foreign (left alone)."""

    path: str
    done: str


class Manifest(msgspec.Struct):
    """What was written where, and the directories that were made for it: they go when they are empty."""

    note: str = MARK
    files: list[str] = []
    directories: list[str] = []


def install(where: Where, wanted: list[Place], *, dry_run: bool) -> list[Fact]:
    """Write what differs. ForeignFileError, before anything is written, if something else is in the way."""
    for path in (*(place.path for place in wanted), where.manifest):
        if os.path.lexists(path) and not is_ours(path):
            raise ForeignFileError(path=path)
    before = _read(where)
    stale = [Path(name) for name in before.files if Path(name) not in {place.path for place in wanted}]
    facts = [Fact(str(place.path), _state(place)) for place in wanted]
    facts += [Fact(str(path), "removed") for path in stale if is_ours(path)]
    if dry_run:
        return facts
    manifest = Manifest(files=[str(place.path) for place in wanted], directories=before.directories)
    for path in (*(place.path for place in wanted), where.manifest):
        manifest.directories += [made for made in _make(path.parent) if made not in manifest.directories]
    _write(where.manifest, msgspec.json.format(msgspec.json.encode(manifest)), 0o644)
    for place in wanted:
        if _state(place) != "unchanged":
            _put(place)
    for path in stale:
        _unlink(path)
    return facts


def remove(where: Where, *, dry_run: bool) -> list[Fact]:
    """Remove what `install` wrote and nobody replaced since, and the directories it made that are empty now."""
    manifest = _read(where)
    there = [Path(name) for name in manifest.files if os.path.lexists(name)]
    facts = [Fact(str(path), "removed" if is_ours(path) else "foreign") for path in there]
    if dry_run:
        return facts
    for path in (*there, where.manifest):
        _unlink(path)
    for name in sorted(manifest.directories, key=len, reverse=True):
        with suppress(OSError):  # somebody else's files are in it now
            Path(name).rmdir()
    return facts


def _state(place: Place) -> str:
    path = place.path
    if not os.path.lexists(path):
        return "installed"
    if place.link:
        return "unchanged" if path.is_symlink() and str(path.readlink()) == place.link else "updated"
    same = not path.is_symlink() and path.read_bytes() == place.content and path.stat().st_mode & 0o777 == place.mode
    return "unchanged" if same else "updated"


def _put(place: Place) -> None:
    if place.link:
        place.path.unlink(missing_ok=True)
        place.path.symlink_to(place.link)
    else:
        _write(place.path, place.content, place.mode)


def _write(path: Path, content: bytes, mode: int) -> None:
    """By a rename: a helper that runs, or a shell that reads, never meets half a file."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    beside.write_bytes(content)
    beside.chmod(mode)
    beside.replace(path)


def _unlink(path: Path) -> None:
    if is_ours(path):
        path.unlink()


def _make(directory: Path) -> Iterable[str]:
    """Make it and what is missing above it, readable for all; returns what was made."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir()
        path.chmod(0o755)
    return [str(path) for path in reversed(missing)]


def _read(where: Where) -> Manifest:
    """What was installed before; nothing where that is not known."""
    try:
        return msgspec.json.decode(where.manifest.read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        return Manifest()
