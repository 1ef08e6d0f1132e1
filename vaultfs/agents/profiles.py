"""What is known of each agent: data, one TOML file for each. Users add their own in the configuration directory."""

from __future__ import annotations

import os
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from vaultfs.errors import ConfigError, NoSuchAgentError, UsageError

if TYPE_CHECKING:
    from vaultfs.daemon.paths import Places

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
RESERVED = frozenset({"skills", "memory", "character"})  # directories of the vault that agents share
SUFFIX = ".toml"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MOST = 1 << 16


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stays on a machine: a pattern (gitignore syntax, seen from the agent's directory), and why."""

    pattern: str
    why: str


class Running(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to tell that the agent runs: names of its programs, and files below its directory that hold a process id."""

    processes: tuple[str, ...] = ()
    pid_files: tuple[str, ...] = ()


class Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`vault` (from the top of the vault) and `at` (from the agent's directory) are one thing.

    `kind`: a `directory`, or a `file`, that stands in the vault and is a link at the agent's; `here`: a file that
    stands at the agent's, which takes no links there, and is a link in the vault.
    """

    vault: str
    at: str
    kind: Literal["directory", "file", "here"] = "directory"


class Beside(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"source": "from"}):
    """A file that the agent has outside of its directory, and inside (`at`) once its variable is set."""

    source: str
    at: str


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One agent. `name` is also its directory at the top of the vault.

    `env`: the variable that says where its state is, of which `env_at` is the part below the directory ("": itself).
    `directory`: where it is without that, `~` for the home. `local` always stays on a machine, `credentials` unless
    they are shared. `append_only` and `units` are facts for people: the vault sees such things by itself.
    """

    title: str
    env: str
    directory: str
    name: str = ""
    env_at: str = ""
    command: tuple[str, ...] = ()
    local: tuple[Rule, ...] = ()
    credentials: tuple[Rule, ...] = ()
    append_only: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    pitfalls: tuple[str, ...] = ()
    running: Running = Running()
    links: tuple[Link, ...] = ()
    beside: tuple[Beside, ...] = ()


def profiles(places: Places | None = None) -> dict[str, Profile]:
    """All profiles by name, sorted; a user's own goes before ours. ConfigError: one of the user's is wrong."""
    ours = resources.files(__package__).joinpath("profiles")
    found = {
        file.name.removesuffix(SUFFIX): _read(file.name, file.read_bytes())
        for file in ours.iterdir()
        if file.name.endswith(SUFFIX)
    }
    for path in sorted(own_directory(places).glob("*" + SUFFIX)):
        with path.open("rb") as file:
            found[path.stem] = _read(str(path), file.read(_MOST))
    return dict(sorted(found.items()))


def profile(name: str, places: Places | None = None) -> Profile:
    """The profile of that name. NoSuchAgentError names those that there are."""
    known = profiles(places)
    if name not in known:
        raise NoSuchAgentError(name=name, known=", ".join(known))
    return known[name]


def own_directory(places: Places | None = None) -> Path:
    """Where a user's own profiles are."""
    from vaultfs.daemon.paths import places as here  # noqa: PLC0415 - a cycle in tests that pass their own

    return (places or here()).config / "agents"


def write_own(places: Places, made: Profile) -> Path:
    """Keep a profile of the user's. UsageError: its name cannot be one. Returns the file."""
    import tomlkit  # noqa: PLC0415 - only to write

    check_name(made.name)
    path = own_directory(places) / f"{made.name}{SUFFIX}"
    path.parent.mkdir(parents=True, exist_ok=True)
    document = tomlkit.document()
    document.add(tomlkit.comment("Made by `vaultfs adopt --dir`. [[local]] and [[credentials]] stay here."))
    for key in ("title", "env", "directory"):
        document[key] = getattr(made, key)
    document["command"] = list(made.command)
    rules = tomlkit.aot()
    for rule in made.credentials:
        rules.append(tomlkit.item({"pattern": rule.pattern, "why": rule.why}))
    document["credentials"] = rules
    document["running"] = {"processes": list(made.running.processes)}
    path.write_text(tomlkit.dumps(document), encoding="utf-8")
    return path


def check_name(name: str) -> None:
    """UsageError if an agent cannot be called that."""
    if not NAME.fullmatch(name) or name in RESERVED:
        raise UsageError(
            detail=f"'{name}' cannot be an agent's name: small letters, digits, dash and underscore, at most 32, "
            f"and not {', '.join(sorted(RESERVED))}"
        )


def _read(where: str, data: bytes) -> Profile:
    name = Path(where).stem
    try:
        made = msgspec.convert({**tomllib.loads(data.decode()), "name": name}, Profile)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(path=where, detail=str(error)) from error
    if not NAME.fullmatch(name) or name in RESERVED:
        raise ConfigError(path=where, detail=f"'{name}' cannot be an agent's name")
    return made


def unknown(name: str, directory: str, variable: str) -> Profile:
    """A profile for an agent that we know nothing of: what is called like credentials stays here. UsageError."""
    check_name(name)
    if not _VARIABLE.fullmatch(variable):
        raise UsageError(detail=f"'{variable}' cannot be a variable of the environment")
    names = (".env", "auth.json", "credentials.json", ".credentials.json", "tokens.json", "*.pem", "*.key")
    return Profile(
        title=name,
        name=name,
        env=variable,
        directory=os.path.abspath(os.path.expanduser(directory)),
        command=(name,),
        credentials=tuple(Rule(pattern, "called like credentials") for pattern in names),
        running=Running(processes=(name,)),
    )
