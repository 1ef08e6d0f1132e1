"""What `install-helpers` installs: which file, where, with which content."""

from __future__ import annotations

import os
import re
import shlex
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import vaultfs
from vaultfs.cli.manual import date, page
from vaultfs.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultfs.daemon.paths import Places

MARK = "Written by vaultfs install-helpers, which removes it again; changes are lost when it is run."
SYSTEM_HELPERS = Path("/sbin")  # the one place where mount(8) looks, whatever the prefix
SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True)
class Place:
    """A file to be installed; `link` instead of content is what a symbolic link says."""

    path: Path
    content: bytes = b""
    mode: int = 0o644
    link: str = ""


@dataclass(frozen=True)
class Where:
    """The directories of one kind of installation; None where it has none of these."""

    base: Path
    manifest: Path
    share: Path
    user_units: Path
    fish: Path
    helpers: Path | None = None
    system_units: Path | None = None

    @classmethod
    def system(cls, prefix: Path | None) -> Where:
        """For everybody on this machine."""
        base = Path("/usr/local") if prefix is None else prefix
        share = base / "share"
        return cls(
            base=base,
            manifest=share / "vaultfs/helpers.json",
            share=share,
            user_units=base / "lib/systemd/user",
            fish=share / "fish/vendor_completions.d",
            helpers=SYSTEM_HELPERS if prefix is None else base / "sbin",
            system_units=base / "lib/systemd/system",
        )

    @classmethod
    def user(cls, places: Places) -> Where:
        """For one user. mount(8) would not look there, so there are no mount helpers."""
        # The places of vaultfs carry its name behind the directory of the XDG specification, or are named outright.
        share = _xdg("XDG_DATA_HOME", places.home / ".local/share")
        config = _xdg("XDG_CONFIG_HOME", places.home / ".config")
        return cls(
            base=places.home,
            manifest=places.state / "helpers.json",
            share=share,
            user_units=config / "systemd/user",
            fish=config / "fish/completions",
        )

    @property
    def zsh(self) -> Path:
        """Where zsh's functions go."""
        return self.share / "zsh/site-functions"


def _xdg(name: str, default: Path) -> Path:
    value = os.environ.get(name, "")
    return Path(value) if value.startswith("/") else default


def program() -> Path:
    """The `vaultfs` of this very installation, with its full path. UsageError where there is none."""
    script = Path(sysconfig.get_path("scripts")) / "vaultfs"
    called = Path(sys.argv[0]).absolute()
    for candidate in (script, called):
        if candidate.name == "vaultfs" and os.access(candidate, os.X_OK):
            return candidate
    raise UsageError(detail=f"There is no vaultfs program in {script.parent}: install it with pip or pipx first")


def source(name: str) -> str:
    """A file of mount_helpers/: in an installed package, or beside it in a working copy."""
    package = Path(vaultfs.__file__).resolve().parent
    for directory in (package / "mount_helpers", package.parent / "mount_helpers"):
        if (directory / name).is_file():
            return (directory / name).read_text(encoding="utf-8")
    raise UsageError(detail=f"This installation of vaultfs is not complete: mount_helpers/{name} is missing")


def places_for(where: Where, completion: Callable[[str], str]) -> list[Place]:
    """Everything to be installed. `completion(shell)` is the script that `vaultfs completion` prints."""
    done = [
        Place(where.user_units / "vaultfs@.service", _unit("vaultfs@.service")),
        Place(where.user_units / "vaultfs@default.service.d/mountpoint.conf", _unit("vaultfs@default.conf")),
        Place(where.share / "doc/vaultfs/agent.conf", _unit("agent.conf")),
        Place(where.share / "man/man1/vaultfs.1", f'.\\" {MARK}\n{page()}'.encode()),
        Place(where.share / "bash-completion/completions/vaultfs", _completion(completion("bash"), "bash")),
        Place(where.zsh / "_vaultfs", _completion(completion("zsh"), "zsh")),
        Place(where.fish / "vaultfs.fish", _completion(completion("fish"), "fish")),
    ]
    if where.helpers is not None:
        done += [
            Place(where.helpers / "mount.vaultfs", _script("mount.vaultfs"), 0o755),
            Place(where.helpers / "mount.fuse.vaultfs", link="mount.vaultfs"),
            Place(where.helpers / "umount.fuse.vaultfs", _script("umount.fuse.vaultfs"), 0o755),
            Place(where.share / "man/man8/mount.vaultfs.8", _filled("mount.vaultfs.8", {})),
        ]
    if where.system_units is not None:
        done += [
            Place(where.system_units / "vaultfs-sleep@.service", _unit("vaultfs-sleep@.service")),
            Place(where.system_units / "user@.service.d/vaultfs.conf", _unit("user@.conf")),
        ]
    return done


def is_ours(path: Path) -> bool:
    """Whether this command wrote what is there."""
    if path.is_symlink():
        return os.readlink(path) == "mount.vaultfs"  # noqa: PTH115 - the text
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return MARK.encode() in file.read(4096)


def _filled(name: str, values: dict[str, str]) -> bytes:
    values = {"MARK": MARK, "DATE": date(), "VERSION": vaultfs.__version__, **values}
    return re.sub(r"@([A-Z_]+)@", lambda found: values[found[1]], source(name)).encode()


def _script(name: str) -> bytes:
    python = sys.executable
    inside = re.sub(r'([\\"$`])', r"\\\1", python)  # within double quotes
    return _filled(name, {"PYTHON": shlex.quote(python), "PYTHON_TEXT": inside})


def _unit(name: str) -> bytes:
    path = str(program()).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return _filled(name, {"PROGRAM": f'"{path}"' if re.search(r"[\s'\"\\;]", path) else path})


def _completion(script: str, shell: str) -> bytes:
    """Asks this very program, whatever PATH has; zsh wants its first line to stay first."""
    exact = shlex.quote(str(program()))
    if shell == "bash":
        script = script.replace("_complete $1)", f"_complete {exact})")
    elif shell == "zsh":
        script = script.replace("(( ! $+commands[vaultfs] ))", f"[[ ! -x {exact} ]]")
        script = script.replace("_complete vaultfs)", f"_complete {exact})")
    else:
        script = script.replace("(commandline -t) vaultfs)", f"(commandline -t) {exact})")
    lines = script.strip("\n").split("\n")
    lines.insert(1 if lines[0].startswith("#compdef") else 0, f"# {MARK}")
    return ("\n".join(lines) + "\n").encode()
