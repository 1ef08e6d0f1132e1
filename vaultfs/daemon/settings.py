"""Every setting: its name, type, default, and what it does. One table for file, environment and flags."""

from __future__ import annotations

from dataclasses import dataclass

from vaultfs.fuse.options import BOTH, LANES

Value = str | bool | int | float


@dataclass(frozen=True)
class Setting:
    """One setting; `per_vault` ones may also stand under [vaults.NAME] in the file."""

    name: str
    default: Value
    help: str
    per_vault: bool = True
    choices: tuple[str, ...] = ()
    least: float = 0

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"VAULTFS_{self.name.upper()}"

    def convert(self, value: object) -> Value:
        """`value` (from the file, or text) in the setting's own type; ValueError says what is expected."""
        result = _convert(value, type(self.default))
        if self.choices and result not in self.choices:
            raise ValueError("one of " + ", ".join(self.choices))
        if isinstance(result, int | float) and not isinstance(result, bool) and result < self.least:
            raise ValueError(f"a number not below {int(self.least) if self.least >= 1 else self.least}")
        return result


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("vault", "default", "The vault that is meant when none is named.", per_vault=False),
        Setting("wallet", "", "The signer: keyfile:PATH, command:CMD, paste, ssh-agent[:FINGERPRINT]."),
        Setting("remote", "", "Where the vault is published: an rclone remote (drive:vault), or a directory."),
        Setting("device_label", "", "This machine's name in a new vault; empty: the host name."),
        Setting("read_only", default=False, help="Mount read-only."),
        Setting("mount_options", "", "Further mount options, as after -o."),
        Setting(
            "lane",
            BOTH,
            "What answers the kernel: our own loop and pyfuse3 for the rest (both), or pyfuse3 alone.",
            choices=LANES,
        ),
        Setting("quick_wakes", default=True, help="Keep processors awake while requests come quickly (root's mounts)."),
        Setting("mount_timeout", 600.0, "Seconds `mount` waits for the mount to answer.", least=1),
        Setting("umount_timeout", 60.0, "Seconds `umount` waits for open files and for saving."),
        Setting(
            "log_level",
            "info",
            "What the log holds; debug may hold names.",
            choices=("error", "warning", "info", "debug"),
        ),
        Setting("log_bytes", 1 << 20, "Size at which the log begins anew (one old one is kept).", least=4096),
        # How far and how fast other machines follow. The defaults are those of `vaultfs.sync.ports.Pace`.
        Setting("commit_after", 1.0, "Seconds after the last write until it is committed and published.", least=0.05),
        Setting("commit_every", 5.0, "Seconds between two commits while writing goes on.", least=0.05),
        Setting("poll", 1.0, "Seconds between two looks for what other machines published.", least=0.05),
        Setting("idle_poll", 3.0, "To this many seconds that grows while nothing happens.", least=0.05),
        Setting("live", default=False, help="Much shorter intervals: others follow within a second."),
        Setting("cache_bytes", 10 << 30, "How much of what was fetched is kept on this disk, in bytes.", least=1 << 20),
        Setting("fetch_ahead", 64 << 20, "New work of other machines up to so many bytes is fetched at once."),
        Setting("bandwidth", 0, "Bytes a second to the remote and from it; 0: no limit."),
        Setting("fetch_timeout", 60.0, "Seconds a read waits for what is on the remote, before it fails.", least=1),
        Setting("sync_timeout", 600.0, "Seconds `sync --wait`, `handoff` and `umount` wait for the remote."),
        Setting("respect_leases", default=False, help="Open nothing for writing that another machine has leased."),
        Setting("notifications", default=True, help="Say on the desktop when an agent is in use elsewhere, too."),
        Setting("retention_days", 30.0, "Days that older commits, and what only they need, are kept.", least=1),
        Setting("gc_grace_days", 30.0, "Days that gc waits: longer than any machine stays away."),
    )
}


def _convert(value: object, kind: type) -> Value:
    if kind is bool:
        return _boolean(value)
    if kind is str:
        if not isinstance(value, str):
            raise ValueError("a text in quotes")
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("a number")  # noqa: TRY004 - one kind of error for all that is wrong
    try:
        return int(value) if kind is int else float(value)
    except ValueError:
        raise ValueError("a whole number" if kind is int else "a number") from None


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off"}:
        return False
    raise ValueError("true or false")
