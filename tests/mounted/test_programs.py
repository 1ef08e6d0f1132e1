"""Programs that people and agents run in the vault: git, npm, venv, rsync, tar, cp."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.driver import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD = 1_400_000_000_123_456_789


def run(*command: object, cwd: Path, **extra: str) -> str:
    """A program's output; its failure is the test's."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | {"LC_ALL": "C.UTF-8", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_PAGER": "cat"} | extra,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"no {program} here")


GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "safe.directory=*")


def test_git(work: Path) -> None:
    """Clone, commit, branch, merge, repack, gc, fsck; the work tree clean all along."""
    need("git")
    run(*GIT, "clone", "-q", "--no-local", REPOSITORY, "clone", cwd=work)
    clone = work / "clone"
    assert run(*GIT, "status", "--porcelain", cwd=clone) == ""
    run(*GIT, "switch", "-q", "-c", "side", cwd=clone)
    for number in range(30):
        (clone / f"new{number}.txt").write_text(f"{number}\n" * number)
    run(*GIT, "add", "-A", cwd=clone)
    run(*GIT, "commit", "-q", "-m", "thirty files", cwd=clone)
    run(*GIT, "switch", "-q", "-", cwd=clone)
    assert not (clone / "new7.txt").exists()
    run(*GIT, "commit", "-q", "--allow-empty", "-m", "other", cwd=clone)
    run(*GIT, "merge", "-q", "-m", "merge", "side", cwd=clone)
    run(*GIT, "gc", "-q", "--aggressive", "--prune=now", cwd=clone)
    run(*GIT, "fsck", "--full", "--strict", cwd=clone)
    assert run(*GIT, "status", "--porcelain", cwd=clone) == ""
    run(*GIT, "worktree", "add", "-q", "../tree", "side", cwd=clone)
    run(*GIT, "clone", "-q", "clone", "hardlinked", cwd=work)
    run(*GIT, "fsck", "--full", cwd=work / "hardlinked")
    run(*GIT, "stash", "list", cwd=work / "tree")


def test_npm_install(work: Path, outside: Path) -> None:
    """Offline, from local packages: node_modules with links and bin scripts, a lock file, and node finds it."""
    need("npm")
    need("node")
    for name in ("first-package", "second-package"):
        package = outside / name
        package.mkdir()
        facts = {"name": name, "version": "1.0.0", "main": "index.js", "bin": {name: "cli.js"}}
        (package / "package.json").write_text(json.dumps(facts))
        (package / "index.js").write_text(f"module.exports = '{name} works';\n")
        (package / "cli.js").write_text(f"#!/usr/bin/env node\nconsole.log('{name} cli');\n")
        for number in range(60):
            (package / f"file{number}.js").write_text("// filler\n" * number)
        run("npm", "pack", "--silent", "--pack-destination", outside, cwd=package, HOME=str(outside))
    project = work / "project"
    project.mkdir()
    (project / "package.json").write_text('{"name": "project", "version": "1.0.0"}')
    offline = ("npm", "install", "--offline", "--no-audit", "--no-fund", "--cache", work / "cache")
    tarballs = sorted(outside.glob("*.tgz"))
    assert len(tarballs) == 2
    run(*offline, *tarballs, cwd=project, HOME=str(outside))
    code = "console.log(require('first-package'), require('second-package'))"
    assert run("node", "-e", code, cwd=project) == "first-package works second-package works\n"
    assert run(project / "node_modules/.bin/first-package", cwd=project) == "first-package cli\n"
    shutil.rmtree(project / "node_modules")
    run("npm", "ci", "--offline", "--no-audit", "--no-fund", "--cache", work / "cache", cwd=project)
    assert run("node", "-e", code, cwd=project) == "first-package works second-package works\n"


def test_venv(work: Path) -> None:
    run(sys.executable, "-m", "venv", work / "venv", cwd=work)
    python = work / "venv/bin/python"
    package = work / "package"
    package.mkdir()
    (package / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "inside"\nversion = "1"\n'
    )
    (package / "backend.py").write_text(
        "import zipfile\n"
        "def build_wheel(directory, *_):\n"
        "    with zipfile.ZipFile(f'{directory}/inside-1-py3-none-any.whl', 'w') as wheel:\n"
        "        wheel.writestr('inside.py', 'answer = 42')\n"
        "        info = 'inside-1.dist-info/'\n"
        "        wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: inside\\nVersion: 1\\n')\n"
        "        wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n"
        "        wheel.writestr(info + 'RECORD', '')\n"
        "    return 'inside-1-py3-none-any.whl'\n"
    )
    install = ("-m", "pip", "install", "-q", "--no-index", "--disable-pip-version-check", "--no-cache-dir")
    run(python, *install, package, cwd=work, TMPDIR=str(work))
    assert run(python, "-c", "import inside; print(inside.answer)", cwd=work) == "42\n"
    assert run(python, "-c", "import sys; print(sys.prefix)", cwd=work).strip() == str(work / "venv")
    run(python, "-m", "compileall", "-q", work / "venv/lib", cwd=work)


@pytest.fixture
def tree(outside: Path) -> Iterator[Path]:
    """A small tree with everything a copy must carry."""
    root = outside / "tree"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "plain").write_bytes(os.urandom(100_000))
    (root / "empty").touch()
    (root / "sub" / "mode").write_text("x")
    os.chmod(root / "sub" / "mode", 0o4751)
    os.link(root / "plain", root / "sub" / "hard")
    os.symlink("../plain", root / "sub" / "soft")
    os.symlink("/dangling", root / "dangling")
    os.mkfifo(root / "fifo", 0o640)
    (root / "ünï \n code").write_text("name")
    with open(root / "sparse", "wb") as file:
        file.seek(5_000_000)
        file.write(b"end")
    os.setxattr(root / "plain", "user.mark", b"value")
    os.setxattr(root / "sub", "user.mark", b"on a directory")
    if os.geteuid() == 0:
        os.chown(root / "sub" / "deep", 1234, 4321)
        os.chown(root / "dangling", 1234, 4321, follow_symlinks=False)
    for base, directories, files in os.walk(root, topdown=False):
        for number, name in enumerate(directories + files):
            os.utime(os.path.join(base, name), ns=(OLD, OLD + number), follow_symlinks=False)
    return root


def describe(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything a faithful copy has in common with its original."""
    found = {}
    inodes: dict[int, str] = {}
    for base, directories, files in os.walk(root):
        directories.sort()
        for name in sorted(directories + files):
            path = os.path.join(base, name)
            key = os.path.relpath(path, root)
            status = os.lstat(path)
            xattrs: dict[str, bytes] = {}
            content: object = None
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                content = Path(path).read_bytes()
            if not os.path.islink(path):
                names = [n for n in os.listxattr(path) if not n.startswith("user.vaultfs.")]
                xattrs = {n: os.getxattr(path, n) for n in names}
            size = status.st_size if os.path.isfile(path) else 0
            same = inodes.setdefault(status.st_ino, key)
            owner = (status.st_uid, status.st_gid)
            found[key] = (oct(status.st_mode), owner, size, status.st_mtime_ns, same, content, xattrs)
    return found


def test_rsync(work: Path, tree: Path) -> None:
    """-aHAX in, and out again; a second run finds nothing to do."""
    need("rsync")
    run("rsync", "-aHAX", "--numeric-ids", f"{tree}/", work / "copy", cwd=work)
    assert describe(work / "copy") == describe(tree)
    filters = ("--filter=-x user.vaultfs.*",)  # what vaultfs shows on every file is not for the copy
    plain = run("rsync", "-aHAXn", "--numeric-ids", f"{tree}/", work / "copy", cwd=work)
    assert plain == ""
    again = run("rsync", "-aHAXni", "--numeric-ids", "--checksum", *filters, f"{tree}/", work / "copy", cwd=work)
    assert again == ""
    back = tree.parent / "back"
    run("rsync", "-aHAX", "--numeric-ids", *filters, f"{work}/copy/", back, cwd=work)
    assert describe(back) == describe(tree)


def test_tar(work: Path, tree: Path) -> None:
    need("tar")
    options = ("--xattrs", "--xattrs-include=user.*", "--numeric-owner", "--sparse")
    run("tar", *options, "-cf", work / "a.tar", "-C", tree, ".", cwd=work)
    (work / "out").mkdir()
    run("tar", *options, "-xpf", work / "a.tar", "-C", work / "out", cwd=work)
    assert describe(work / "out") == describe(tree)
    exclude = "--xattrs-exclude=user.vaultfs.*"
    run("tar", *options, exclude, "-cf", tree.parent / "b.tar", "-C", work / "out", ".", cwd=work)
    back = tree.parent / "back"
    back.mkdir()
    run("tar", *options, "-xpf", tree.parent / "b.tar", "-C", back, cwd=work)
    assert describe(back) == describe(tree)


def test_cp_and_mv(work: Path, tree: Path) -> None:
    run("cp", "-a", tree, work / "copy", cwd=work)
    assert describe(work / "copy") == describe(tree)
    run("mv", work / "copy", work / "moved", cwd=work)
    assert describe(work / "moved") == describe(tree)
    run("cp", "-a", "--reflink=auto", "--sparse=always", work / "moved", work / "second", cwd=work)
    assert describe(work / "second") == describe(tree)
    run("mv", work / "moved", tree.parent / "out", cwd=work)  # across file systems: copy and remove
    assert describe(tree.parent / "out") == describe(tree)
    run("rm", "-r", work / "second", cwd=work)
    assert os.listdir(work) == []


def test_shell_tools(work: Path) -> None:
    """find, sort in place, sed -i, dd, truncate, ln, install, patch-like rewrites."""
    script = """
    set -e
    for n in $(seq 50); do echo $n > f$n; done
    [ $(find . -type f -newermt 2001-01-01 | wc -l) = 50 ]
    cat f* > all && sort -n -o all all && [ "$(head -1 all)" = 1 ]
    sed -i s/50/fifty/ all && grep -q fifty all
    dd if=/dev/urandom of=r bs=7777 count=40 conv=fsync status=none && [ $(stat -c %s r) = 311080 ]
    truncate -s 3G r && [ $(du --apparent-size -m r | cut -f1) = 3072 ] && [ $(du -m r | cut -f1) -lt 10 ]
    ln -sfn f1 link && ln -sfn f2 link && [ "$(cat link)" = 2 ]
    install -m 751 f3 installed && [ $(stat -c %a installed) = 751 ]
    mkdir -p a/b/c && cp f1 a/b/c && rm -rf a && ! [ -e a ]
    ( exec 9>lock; flock -n 9; ! ( exec 8>lock; flock -n 8 ) )
    """
    run("bash", "-c", script, cwd=work)
