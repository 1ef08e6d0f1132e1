"""What mount(8) hands to a helper, as a command line of vaultfs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from vaultfs.daemon.paths import NAME
from vaultfs.errors import UsageError
from vaultfs.fuse.options import MountOptions

SYNTAX = "mount.vaultfs VAULT DIRECTORY [-sfnrvw] [-o OPTIONS] [-t TYPE]"
ANONYMOUS = {"none", "vaultfs"}  # as the source: the vault is named by the settings, or by vault=

# Option of vaultfs mount by the word of -o that gives it a value.
_VALUES = {"vault": "--vault", "wallet": "--wallet", "remote": "--remote", "at": "--at"}
_FLAGS = {"ro": "--read-only", "live": "--live", "respect-leases": "--respect-leases"}
_USERS = ("user", "uid", "setuid")

# For mount(8), systemd and libmount alone.
_DROPPED = {"rw", "defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev"}
_DROPPED |= {"suid", "dev", "silent", "loud", "nomand", "iversion", "noiversion", "nolazytime"}
_DROPPED_PREFIXES = ("x-", "X-", "comment=", "uhelper=", "helper=", "subtype=", "user_id=", "group_id=")


class Switches(NamedTuple):
    """What stands before and behind the two places on a helper's command line."""

    places: list[str]
    options: str
    fake: bool
    sloppy: bool
    verbose: bool


@dataclass
class Translated:
    """`arguments` for vaultfs; `user` is a name or number, "" for whoever calls; `values`: vault, remote, ..."""

    arguments: list[str] = field(default_factory=list)
    user: str = ""
    values: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)

    def name_user(self, name: str) -> None:
        """UsageError if another was named before."""
        if self.user not in {"", name}:
            raise UsageError(detail=f"The mount options name two users, '{self.user}' and '{name}'")
        self.user = name


def switches(arguments: list[str]) -> Switches:
    """Take a helper's command line apart. UsageError."""
    places: list[str] = []
    options: list[str] = []
    seen: set[str] = set()
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            places.append(word)
            continue
        for position, letter in enumerate(word[1:], 2):
            if letter in "oNt":
                value = word[position:] or (rest.pop(0) if rest else "")
                if letter == "N":
                    raise UsageError(detail="-N (another namespace) is not supported: use nsenter")
                options += [value] if letter == "o" else []
                break
            if letter not in "sfnrvwl":
                raise UsageError(detail=f"-{letter} is not known. Usage: {SYNTAX}")
            seen.add(letter)
    options += ["ro"] if "r" in seen else []
    return Switches(places, ",".join(filter(None, options)), "f" in seen, "s" in seen, "v" in seen)


def translate(given: Switches) -> Translated:
    """`vaultfs mount ...` for what an fstab line says. UsageError for an option that nobody knows (unless sloppy)."""
    if len(given.places) != 2:  # noqa: PLR2004 - what, and where
        raise UsageError(detail=f"Usage: {SYNTAX}")
    source, mountpoint = given.places
    found = Translated()
    words: list[str] = []
    values: dict[str, str] = {}
    for word in _split(given.options):
        name, equals, value = word.partition("=")
        if equals and name in _USERS:
            found.name_user(value)
        elif equals and name in _VALUES:
            values[name] = value
        elif word in _FLAGS:
            found.arguments.append(_FLAGS[word])
        elif word == "remount":
            raise UsageError(detail="A vault cannot be remounted: umount it, and mount it again")
        elif word in _DROPPED or word.startswith(_DROPPED_PREFIXES):
            continue
        else:
            _check(word, words, found.ignored, sloppy=given.sloppy)
    values = found.values = _source(source, values)
    if not any(word.startswith("fsname=") for word in words) and not set(source) & set(", \t\n\\"):
        words.append(f"fsname={source}")  # mount -a compares it with the line's first field
    for name, value in values.items():
        found.arguments += [_VALUES[name], value]
    found.arguments += ["-o", ",".join(words)] if words else []
    found.arguments = ["mount", *found.arguments, "--", mountpoint]
    return found


def _check(word: str, words: list[str], ignored: list[str], *, sloppy: bool) -> None:
    try:
        MountOptions().with_word(word)
    except UsageError:
        if not sloppy:
            known = ", ".join(f"{name}=" for name in (*_VALUES, "user"))
            raise UsageError(
                detail=f"The mount option '{word}' is not known. Those of vaultfs are {known}, {', '.join(_FLAGS)}; "
                "see mount.vaultfs(8)"
            ) from None
        ignored.append(word)
    else:
        words.append(word)


def _source(source: str, values: dict[str, str]) -> dict[str, str]:
    """What the first field of the line says: the vault's name, or its remote."""
    if source in ANONYMOUS or "vault" in values:
        return values
    if NAME.fullmatch(source):
        return {**values, "vault": source}
    if ":" in source and not source.startswith("/") and "remote" not in values:
        return {**values, "remote": source}
    raise UsageError(
        detail=f"'{source}' is no vault's name (mount makes a path of it where there is a file of that name): "
        "write vaultfs there, and the name in the options, vault=NAME"
    )


def _split(options: str) -> list[str]:
    """At commas, but for those in double quotes, as fstab(5) has it: wallet="command:sign --with a,b"."""
    parts, quoted, word = [], False, ""
    for letter in options:
        if letter == '"':
            quoted = not quoted
        elif letter == "," and not quoted:
            parts.append(word)
            word = ""
        else:
            word += letter
    return [part for part in (*parts, word) if part]
