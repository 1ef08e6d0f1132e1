"""The workloads: what agents do to their files, each a function of one empty directory.

A workload returns the number of operations (or megabytes) it did; the harness takes the time. One that has
to prepare something first yields once, when the clock should start. They run in the order of `WORKLOADS`
and later ones use what earlier ones left (`tree`, `big`, `rand`).
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

MEGABYTE = 1 << 20
PAGE = 4096
BIG_MEGABYTES = 256
RANDOM_PAGES = 64 * MEGABYTE // PAGE
BLOB = random.Random(1).randbytes(MEGABYTE)  # incompressible
POOL_MEGABYTES = 64
_runs = itertools.count()
LINE = json.dumps({"role": "assistant", "ts": 1700000000, "content": "lorem ipsum dolor sit amet " * 9}) + "\n"
ROW = LINE.encode()

Steps = Generator[None, None, int]


@cache
def corpus(limit: int = 1500, largest: int = 200_000) -> list[tuple[str, bytes]]:
    """Real small files: (relative path, content) of the standard library's modules."""
    source = Path(os.__file__).parent
    skipped = {"site-packages", "__pycache__", "test"}
    found: list[tuple[str, bytes]] = []
    for base, directories, files in os.walk(source):
        directories[:] = sorted(set(directories) - skipped)
        for path in (Path(base, name) for name in sorted(files)):
            if path.stat().st_size < largest:
                found.append((str(path.relative_to(source)), path.read_bytes()))
            if len(found) == limit:
                return found
    return found


@cache
def _pool() -> memoryview:
    return memoryview(random.Random(11).randbytes(POOL_MEGABYTES * MEGABYTE))


def pieces(megabytes: int, seed: int) -> Iterator[memoryview]:
    """So many pieces of 1 MiB, incompressible, no two alike; much quicker than asking for new random bytes."""
    dice, pool = random.Random(seed), _pool()
    for _ in range(megabytes):
        start = dice.randrange(len(pool) - MEGABYTE)
        yield pool[start : start + MEGABYTE]


def fresh(megabytes: int) -> Iterator[memoryview]:
    """The same, others each time: a file system that keeps equal blocks once finds none of them."""
    return pieces(megabytes, 1000 + next(_runs))


@cache
def text() -> str:
    return b"".join(data for _, data in corpus()).decode(errors="ignore")


def transcript(lines: int = 5000) -> list[bytes]:
    """Lines as agents write them, some 300 bytes each, of real text; others each time."""
    step = len(text()) // lines
    first = next(_runs) % step
    said = (text()[start : start + 170] for start in range(first, lines * step, step))
    return [json.dumps({"role": "assistant", "ts": 1700000000, "content": part}).encode() + b"\n" for part in said]


def _write_tree(root: str, files: list[tuple[str, bytes]]) -> int:
    for relative, data in files:
        path = os.path.join(root, relative)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
    return len(files)


def tree_create(d: str) -> int:
    return _write_tree(os.path.join(d, "tree"), corpus())


def walk(d: str) -> int:
    count = 0
    for base, _, files in os.walk(os.path.join(d, "tree")):
        for name in files:
            os.stat(os.path.join(base, name))
            count += 1
    return count


def walk_warm(d: str) -> Steps:
    walk(d)
    yield
    return walk(d)


def read_all(d: str) -> int:
    for relative, _ in corpus():
        with open(os.path.join(d, "tree", relative), "rb") as file:
            file.read()
    return len(corpus())


def save_fsync_rename(d: str) -> int:
    """How agents save their JSON: a temporary file, fsync, rename over the old one."""
    target = os.path.join(d, "config.json")
    files = corpus()[:150]
    for _, data in files:
        with open(target + ".tmp", "wb") as file:
            file.write(data[:8192])
            file.flush()
            os.fsync(file.fileno())
        os.rename(target + ".tmp", target)
    return len(files)


def seq_write(d: str) -> Steps:
    data = list(fresh(BIG_MEGABYTES))
    yield
    fd = os.open(os.path.join(d, "big"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    for piece in data:
        os.write(fd, piece)
    os.fsync(fd)
    os.close(fd)
    return BIG_MEGABYTES


def seq_read(d: str) -> int:
    fd = os.open(os.path.join(d, "big"), os.O_RDONLY)
    while os.read(fd, MEGABYTE):
        pass
    os.close(fd)
    return BIG_MEGABYTES


def append(d: str) -> Steps:
    lines = transcript()
    yield
    fd = os.open(os.path.join(d, "session.jsonl"), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    for line in lines:
        os.write(fd, line)
    os.close(fd)
    return len(lines)


def append_fsync(d: str) -> int:
    fd = os.open(os.path.join(d, "audit.jsonl"), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    for _ in range(200):
        os.write(fd, ROW)
        os.fsync(fd)
    os.close(fd)
    return 200


def sqlite_inserts(name: str, journal: str, synchronous: str, rows: int) -> Callable[[str], Steps]:
    """A workload of `rows` one-row transactions."""

    def run(d: str) -> Steps:
        database = sqlite3.connect(os.path.join(d, name), isolation_level=None)
        database.execute(f"pragma journal_mode={journal}")
        database.execute(f"pragma synchronous={synchronous}")
        database.execute("create table m(id integer primary key, role text, content text)")
        yield
        for _ in range(rows):
            database.execute("insert into m(role, content) values('user', ?)", (LINE,))
        database.close()
        return rows

    return run


def rand_write(d: str) -> Steps:
    path = os.path.join(d, "rand")
    with open(path, "wb") as file:
        file.writelines(fresh(RANDOM_PAGES * PAGE // MEGABYTE))
        file.flush()
        os.fsync(file.fileno())
    places = random.Random(5)
    fd = os.open(path, os.O_WRONLY)
    yield
    for number in range(3000):
        os.pwrite(fd, BLOB[number : number + PAGE], places.randrange(RANDOM_PAGES) * PAGE)
    os.fsync(fd)
    os.close(fd)
    return 3000


def rand_read(d: str) -> int:
    places = random.Random(6)
    fd = os.open(os.path.join(d, "rand"), os.O_RDONLY)
    for _ in range(2000):
        os.pread(fd, PAGE, places.randrange(RANDOM_PAGES) * PAGE)
    os.close(fd)
    return 2000


def git(d: str) -> int:
    """One life of a small repository: init, add 400 files, commit, status, branch, gc."""
    repository = os.path.join(d, "repo")
    os.makedirs(repository)
    who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in _PERSON.items()}
    env = {**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}

    def run(*arguments: str) -> None:
        subprocess.run(["git", "-C", repository, *arguments], check=True, env=env, capture_output=True)

    run("init")
    _write_tree(repository, corpus()[:400])
    for arguments in (["add", "."], ["commit", "-m", "x"], ["status"], ["checkout", "-b", "y"], ["gc", "-q"]):
        run(*arguments)
    return 1


_PERSON = {"NAME": "bench", "EMAIL": "bench@localhost"}


def parallel(d: str) -> int:
    """Four threads, each creating, reading and renaming small files in its own directory."""

    def worker(number: int) -> int:
        own = os.path.join(d, f"par{number}")
        os.makedirs(own)
        files = corpus()[:150]
        for index, (_, data) in enumerate(files):
            path = os.path.join(own, f"f{index}")
            with open(path, "wb") as file:
                file.write(data[:4000])
            os.stat(path)
            with open(path, "rb") as file:
                file.read()
            os.rename(path, path + ".x")
        return len(files)

    with ThreadPoolExecutor(4) as pool:
        return sum(pool.map(worker, range(4)))


def rm_tree(d: str) -> int:
    shutil.rmtree(os.path.join(d, "tree"))
    return len(corpus())


@dataclass(frozen=True)
class Workload:
    """One row of the table. `cold`: the kernel's caches are dropped before the clock starts."""

    name: str
    unit: str
    run: Callable[[str], Any]
    cold: bool = False


WORKLOADS = [
    Workload("tree-create", "files/s", tree_create),
    Workload("walk-warm", "files/s", walk_warm),
    Workload("walk-cold", "files/s", walk, cold=True),
    Workload("readall-cold", "files/s", read_all, cold=True),
    Workload("readall-warm", "files/s", read_all),
    Workload("save-fsync-rename", "saves/s", save_fsync_rename),
    Workload("seq-write", "MB/s", seq_write),
    Workload("seq-read-cold", "MB/s", seq_read, cold=True),
    Workload("append", "lines/s", append),
    Workload("append-fsync", "lines/s", append_fsync),
    Workload("sqlite-wal-normal", "txn/s", sqlite_inserts("wal.db", "wal", "normal", 3000)),
    Workload("sqlite-wal-full", "txn/s", sqlite_inserts("full.db", "wal", "full", 200)),
    Workload("sqlite-delete", "txn/s", sqlite_inserts("del.db", "delete", "full", 80)),
    Workload("rand-write-4k", "IO/s", rand_write),
    Workload("rand-read-4k-cold", "IO/s", rand_read, cold=True),
    Workload("git", "cycles/s", git),
    Workload("parallel-4", "files/s", parallel),
    Workload("rm-tree", "files/s", rm_tree),
]
