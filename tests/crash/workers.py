"""The file workers of the crash load: save-and-rename, overwrite in place, append, close, mmap, directories."""

from __future__ import annotations

import mmap
import os
import shutil
from typing import TYPE_CHECKING, Any, ClassVar

from tests.crash.claims import Crash, Log, Worker, content, read_or_none, sync_directory
from tests.support.posix import hand_over

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_SIZE, LARGE = 150_000, 3_000_000


class Saver(Worker):
    """Write a temporary file, fsync, rename over: the old or the new version, whole, and never an older one."""

    name = "saver"

    def run(self, log: Log) -> None:
        version = 0
        while True:
            version += 1
            name = f"s{self.rng.randrange(6)}"
            size = self.rng.choice([0, 10, 4096, 70_000, MAX_SIZE] * 4 + [LARGE])
            temporary = self.directory / f"{name}.tmp"
            fd = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
            os.write(fd, content(name, version, size))
            os.fsync(fd)
            os.close(fd)
            log.say("begin", name=name, version=version, size=size)
            os.rename(temporary, self.directory / name)
            log.say("renamed", name=name, version=version)
            if self.rng.random() < 0.5:
                sync_directory(self.directory)
                log.say("synced", name=name, version=version)

    def verify(self, log: list[dict[str, Any]], crash: Crash) -> list[str]:
        wrong = []
        for name in sorted({entry["name"] for entry in log}):
            mine = [entry for entry in log if entry["name"] == name]
            begun = {entry["version"]: entry["size"] for entry in mine if entry["event"] == "begin"}
            least = max([0] + [e["version"] for e in mine if e["event"] == "synced"])
            if not crash.power:  # a name is the daemon's at once, and on its way to the disk within a second
                renamed = [e["version"] for e in mine if e["event"] == "renamed" and e["t"] < crash.at - 1]
                least = max([least, *renamed])
            data = read_or_none(self.directory / name)
            if data is None:
                if least:
                    wrong.append(f"{name}: version {least} was acknowledged, the file is gone")
                continue
            fits = [v for v, size in begun.items() if size == len(data) and data == content(name, v, size)]
            if not fits:
                wrong.append(f"{name}: {len(data)} bytes that are no version (acknowledged: {least})")
            elif max(fits) < least:
                wrong.append(f"{name}: version {max(fits)}, but {least} was acknowledged")
        return wrong


class Overwriter(Worker):
    """Overwrite ranges of a few files in place, fsync: each acknowledged range is there, the rest untouched."""

    name = "overwriter"
    mapped: ClassVar[bool] = False
    size = 200_000

    def run(self, log: Log) -> None:
        handles = {}
        for number in range(3):
            name = f"o{number}"
            fd = os.open(self.directory / name, os.O_CREAT | os.O_RDWR, 0o644)
            os.write(fd, content(name, 0, self.size))
            os.fsync(fd)
            log.say("made", name=name)
            handles[name] = fd
        version = 0
        while True:
            version += 1
            name = self.rng.choice(sorted(handles))
            length = self.rng.choice([1, 100, 4096, 5000, 65_536])
            offset = self.rng.randrange(self.size - length)
            data = content(name, version, length)
            log.say("begin", name=name, version=version, offset=offset, length=length)
            if self.mapped:
                with mmap.mmap(handles[name], self.size) as view:
                    view[offset : offset + length] = data
                    view.flush()
            else:
                os.pwrite(handles[name], data, offset)
                (os.fsync if self.rng.random() < 0.5 else os.fdatasync)(handles[name])
            log.say("synced", name=name, version=version)

    def verify(self, log: list[dict[str, Any]], crash: Crash) -> list[str]:
        del crash
        wrong = []
        for name in sorted({entry["name"] for entry in log if entry["event"] == "made"}):
            data = read_or_none(self.directory / name)
            if data is None or len(data) != self.size:
                wrong.append(f"{name}: {'gone' if data is None else f'{len(data)} bytes'}, {self.size} acknowledged")
                continue
            mine = [entry for entry in log if entry["name"] == name]
            synced = {entry["version"] for entry in mine if entry["event"] == "synced"}
            expected = bytearray(content(name, 0, self.size))
            begun = [entry for entry in mine if entry["event"] == "begin"]
            for entry in begun:  # only the last can be open: it may be there in part
                start, end = entry["offset"], entry["offset"] + entry["length"]
                new = content(name, entry["version"], entry["length"])
                if entry["version"] in synced:
                    expected[start:end] = new
                    continue
                for place in range(start, end):
                    if data[place] == new[place - start]:
                        expected[place] = data[place]
            if data != bytes(expected):
                first = next(i for i in range(self.size) if data[i] != expected[i])
                last = next(i for i in reversed(range(self.size)) if data[i] != expected[i])
                zeros = "zeros" if not any(data[first : last + 1]) else "other bytes"
                wrong.append(f"{name}: bytes {first}..{last} differ from what was acknowledged ({zeros})")
        return wrong


class Mapper(Overwriter):
    """The same through a shared mapping and msync."""

    name = "mapper"
    mapped = True


class Appender(Worker):
    """Append lines, fsync every few: all acknowledged lines, then at most a prefix of what followed."""

    name = "appender"

    def lines(self) -> Iterator[bytes]:
        """The lines in their order, the same in every call."""
        number = 0
        while True:
            yield b"%d:%s\n" % (number, content("line", number, number % 300).hex().encode())
            number += 1

    def run(self, log: Log) -> None:
        fd = os.open(self.directory / "log.jsonl", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        total = 0
        for number, line in enumerate(self.lines()):
            total += os.write(fd, line)
            if number % 7 == 6:
                os.fsync(fd)
                log.say("synced", lines=number + 1, total=total)

    def verify(self, log: list[dict[str, Any]], crash: Crash) -> list[str]:
        del crash
        data = read_or_none(self.directory / "log.jsonl")
        acknowledged = max([0] + [entry["total"] for entry in log if entry["event"] == "synced"])
        if data is None:
            return [f"log.jsonl is gone, {acknowledged} bytes were acknowledged"] if acknowledged else []
        if len(data) < acknowledged:
            return [f"log.jsonl has {len(data)} bytes, {acknowledged} were acknowledged"]
        expected = bytearray()
        for line in self.lines():
            if len(expected) >= len(data):
                break
            expected += line
        whole = bytes(expected[: len(data)])
        if data[:acknowledged] != whole[:acknowledged]:
            return [f"log.jsonl differs within the {acknowledged} acknowledged bytes"]
        # past the acknowledged part a page may have reached the daemon and the one before it not: zeros then
        tail = zip(data[acknowledged:], whole[acknowledged:], strict=True)
        if any(found not in (0, right) for found, right in tail):
            return ["log.jsonl has bytes nobody wrote behind the acknowledged ones"]
        return []


class Closer(Worker):
    """Write and close, no fsync: a closed file survives the death of the daemon (not of the machine)."""

    name = "closer"

    def run(self, log: Log) -> None:
        for number in range(1_000_000):
            name, size = f"c{number:06}", self.rng.choice([0, 1, 500, 4097, 66_000, MAX_SIZE] * 4 + [LARGE])
            log.say("begin", name=name, size=size)
            fd = os.open(self.directory / name, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o644)
            data = content(name, 1, size)
            for start in range(0, size, 40_000):
                os.write(fd, data[start : start + 40_000])
            os.close(fd)
            log.say("closed", name=name, size=size)
            if number > 100:
                log.say("removing", name=f"c{number - 100:06}")
                os.unlink(self.directory / f"c{number - 100:06}")

    def verify(self, log: list[dict[str, Any]], crash: Crash) -> list[str]:
        removing = {entry["name"] for entry in log if entry["event"] == "removing"}
        wrong = []
        for entry in log:
            if entry["event"] != "closed" or entry["name"] in removing or crash.power:
                continue
            data = read_or_none(self.directory / entry["name"])
            if data != content(entry["name"], 1, entry["size"]):
                got = "gone" if data is None else f"{len(data)} bytes"
                ago = crash.at - entry["t"]
                wrong.append(f"{entry['name']}: closed {ago:.3f} s before, {entry['size']} bytes, now {got}")
        return wrong


class Holder(Worker):
    """A file kept open: what the kernel handed over more than a second ago survives the daemon's death."""

    name = "holder"
    piece = 3000

    def run(self, log: Log) -> None:
        fd = os.open(self.directory / "held", os.O_CREAT | os.O_WRONLY, 0o644)
        for number in range(1_000_000):
            os.write(fd, content("held", number, self.piece))
            hand_over(fd)
            log.say("handed", number=number)

    def verify(self, log: list[dict[str, Any]], crash: Crash) -> list[str]:
        if crash.power:
            return []
        old = [e["number"] for e in log if e["event"] == "handed" and e["t"] < crash.at - 1]
        data = read_or_none(self.directory / "held") or b""
        for number in old:
            if data[number * self.piece : (number + 1) * self.piece] != content("held", number, self.piece):
                return [f"held: piece {number} of {len(old)} handed over more than 1 s before is not there"]
        return []


class Builder(Worker):
    """Make, rename and remove small trees, with fsync of the directory: each is in its last state or the next."""

    name = "builder"

    def run(self, log: Log) -> None:
        for number in range(1_000_000):
            one, two = self.directory / f"d{number}", self.directory / f"e{number}"
            log.say("making", number=number)
            one.mkdir()
            (one / "sub").mkdir()
            fd = os.open(one / "sub" / "file", os.O_CREAT | os.O_WRONLY, 0o640)
            os.write(fd, content("tree", number, 5000))
            os.setxattr(fd, "user.number", b"%d" % number)
            os.ftruncate(fd, 4000)
            os.fsync(fd)
            os.close(fd)
            os.link(one / "sub" / "file", one / "link")
            os.symlink("sub/file", one / "symlink")
            for directory in (one / "sub", one, self.directory):
                sync_directory(directory)
            log.say("made", number=number)
            os.rename(one, two)
            sync_directory(self.directory)
            log.say("moved", number=number)
            if number % 2:
                log.say("removing", number=number)
                shutil.rmtree(two)
                sync_directory(self.directory)
                log.say("removed", number=number)

    def verify(self, log: list[dict[str, Any]], crash: Crash) -> list[str]:
        del crash
        last = {entry["number"]: entry["event"] for entry in log}
        wrong = []
        for number, event in last.items():
            one, two = self.directory / f"d{number}", self.directory / f"e{number}"
            places = [place for place in (one, two) if place.exists()]
            if len(places) == 2:
                wrong.append(f"tree {number}: under both names after '{event}'")
            if event == "removed" and places:
                wrong.append(f"tree {number}: removed, and back")
            if event == "moved" and places != [two]:
                wrong.append(f"tree {number}: moved, but found {places}")
            if event == "made" and not places:
                wrong.append(f"tree {number}: made, but gone")
            if event in ("made", "moved") and len(places) == 1:
                wrong += self.whole(places[0], number)
        return wrong

    def whole(self, place: Path, number: int) -> list[str]:
        """What is wrong in one tree that must be complete."""
        file = place / "sub" / "file"
        try:
            found = os.stat(place / "symlink")
            checks = {
                "content": file.read_bytes() == content("tree", number, 5000)[:4000],
                "mode": found.st_mode & 0o7777 == 0o640,
                "links": found.st_nlink == 2 and os.path.samefile(place / "link", file),
                "xattr": os.getxattr(file, "user.number") == b"%d" % number,
            }
        except OSError as error:
            return [f"tree {number} at {place.name}: {error}"]
        return [f"tree {number} at {place.name}: wrong {name}" for name, good in checks.items() if not good]
