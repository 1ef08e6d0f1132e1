"""`vaultfs mount`: show a vault as a directory."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from vaultfs.cli.options import (
    any_path,
    complete_commit,
    json_option,
    pass_app,
    vault_option,
    verb,
    wallet_option,
    yes_option,
)
from vaultfs.cli.output import confirm, emit, say, warn
from vaultfs.cli.waiting import Waiting
from vaultfs.daemon.paths import home_relative
from vaultfs.errors import UsageError
from vaultfs.fuse.options import LANES

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.daemon.job import Job
    from vaultfs.daemon.lock import VaultLock


@verb(
    "mount",
    examples=[
        "mount ~/agent-vault",
        "mount ~/agent-vault --remote drive:agent-vault --wallet keyfile:id.json",
        "mount ~/work --vault work --wallet ssh-agent",
        "mount /mnt/v --read-only",
        'mount /mnt/yesterday --at "1 day ago"',
    ],
)
@click.argument("mountpoint", metavar="MOUNTPOINT", type=any_path)
@vault_option
@wallet_option
@click.option("--remote", metavar="R", help="Join the vault that is published there, the first time.")
@click.option("--live", is_flag=True, default=None, help="Follow other machines within a second.")
@click.option(
    "--respect-leases", is_flag=True, default=None, help="Open nothing for writing that another machine has leased."
)
@click.option(
    "--at",
    metavar="COMMIT|TIME",
    help="Show this commit, read-only; beside the vault's own mount.",
    shell_complete=complete_commit,
)
@click.option("--read-only", "-r", is_flag=True, default=None, help="Allow no changes.")
@click.option("--lane", type=click.Choice(LANES), help="What answers the kernel: for tests, and in trouble.")
@click.option("--foreground", "-f", is_flag=True, help="Stay in the terminal until unmounted.")
@click.option(
    "-o", "mount_options", metavar="OPTS", multiple=True, help="Mount options; allow_other lets other users in."
)
@yes_option
@json_option
@pass_app
def command(
    app: App,
    *,
    mountpoint: str,
    vault: str | None,
    wallet: str | None,
    remote: str | None,
    live: bool | None,
    respect_leases: bool | None,
    at: str | None,
    read_only: bool | None,
    lane: str | None,
    foreground: bool,
    mount_options: tuple[str, ...],
    yes: bool,
    as_json: bool,
) -> None:
    """Show the vault as the directory MOUNTPOINT. The first time, make the vault, or join one with --remote.

    A vault that has a remote is published while it is mounted, and follows what other machines publish.
    Returns when the mount answers; it goes on in the background until `vaultfs umount`.
    """
    from vaultfs.daemon import job as jobs  # noqa: PLC0415 - not for --help

    place = app.named(vault)
    job = jobs.prepare(
        place,
        mountpoint,
        app.config,
        read_only=True if at is not None else read_only,
        words=mount_options,
        live=live,
        respect_leases=respect_leases,
        lane=lane,
    )
    recorded = job.remote = app.remote(place.name)
    wanted = app.remote(place.name, remote)
    if place.exists() and wanted != recorded:
        raise UsageError(detail=f"The vault '{place.name}' is here already; change its remote with: vaultfs remote set")
    run = Run(app, job, foreground=foreground, as_json=as_json)
    try:
        if at is not None:
            run.older(wallet, at)
        elif place.exists():
            run.existing(wallet)
        elif wanted:
            run.joining(wallet, wanted)
        else:
            run.first_time(wallet, yes=yes)
    except BaseException:
        job.undo_directory()
        raise


class Run:
    """One mount, step by step."""

    def __init__(self, app: App, job: Job, *, foreground: bool, as_json: bool) -> None:
        self._app = app
        self._job = job
        self._foreground = foreground
        self._as_json = as_json
        self._made: dict[str, object] | None = None

    def existing(self, wallet: str | None) -> None:
        """Mount a vault that is here already. Its lock comes first: it tells where it is mounted now."""
        lock = self._job.take_lock()
        try:
            self._check_place()
            opened = self._app.unlock(self._job.vault, wallet)
            self._start(lock, opened.keys, opened.address)
        finally:
            lock.release()

    def first_time(self, wallet: str | None, *, yes: bool) -> None:
        """Make the vault and mount it, if the place is good and the person agrees."""
        from vaultfs.cli.init import make, show  # noqa: PLC0415 - only the first time

        vault = self._job.vault
        self._check_place()
        confirm(f"There is no vault '{vault.name}' here yet. Make it in {vault.root}?", yes=yes)
        keys, self._made = make(self._app, vault, wallet=wallet)
        if not self._as_json:
            show(self._made, pause=not yes)
        lock = self._job.take_lock()
        try:
            self._start(lock, keys, str(self._made["wallet"]))
        finally:
            lock.release()

    def joining(self, wallet: str | None, remote: str) -> None:
        """Make this machine a device of the vault on `remote`, and mount it."""
        from vaultfs.cli.joining import join  # noqa: PLC0415 - only the first time

        vault = self._job.vault
        self._check_place()
        keys, self._made = join(self._app, vault, wallet=wallet, remote=remote)
        self._job.remote = remote
        lock = self._job.take_lock()
        try:
            self._start(lock, keys, str(self._made["wallet"] or ""))
        finally:
            lock.release()

    def older(self, wallet: str | None, at: str) -> None:
        """Mount a commit of a vault that is here."""
        from vaultfs.cli.mount_at import pin, unpin  # noqa: PLC0415 - rarely

        self._check_place()
        try:
            keys, address, commit = pin(self._app, self._job, at, wallet)
            say(f"This is the commit {commit}.") if not self._as_json else None
            lock = self._job.take_lock()
            try:
                self._start(lock, keys, address)
            finally:
                lock.release()
        except BaseException:
            unpin(self._job)
            raise

    def _check_place(self) -> None:
        for note in self._job.prepare_directory():
            warn(note)

    def _start(self, lock: VaultLock, keys: VaultKeys, address: str) -> None:
        from vaultfs.daemon import start  # noqa: PLC0415 - loads the store
        from vaultfs.daemon.job import Opened  # noqa: PLC0415
        from vaultfs.daemon.vault import read_device  # noqa: PLC0415

        opened = Opened(self._job, lock, keys, read_device(self._job.vault, keys), address)
        if self._foreground:
            start.in_foreground(opened, self._ready)
            return
        waiting = Waiting(f"Opening the vault '{self._job.vault.name}'", quiet=self._as_json)
        try:
            facts = start.in_background(opened, waiting)
        finally:
            waiting.done()
        self._ready(facts)

    def _ready(self, facts: dict[str, object]) -> None:
        if self._as_json:
            emit(facts if self._made is None else {**facts, "created": self._made})
            sys.stdout.flush()
            return
        from vaultfs.cli.status_view import startup_lines  # noqa: PLC0415 - only for people
        from vaultfs.daemon.status import of_facts  # noqa: PLC0415

        found = of_facts(facts)
        for line in startup_lines(found):
            say(line)
        for problem in found.health.problems:
            warn(f"Problem: {problem}")
        if self._made is not None and self._made.get("joined"):
            say(f"This machine is now '{found.device.label if found.device else '?'}' in the vault on {found.remote}.")
        how = " (read-only)" if found.read_only else ""
        if found.sync is not None and found.sync.trouble is not None:
            warn(f"{found.sync.trouble.text} What is on this machine can be used.")
        say(f"The vault '{found.vault}' is at {home_relative(self._job.mountpoint)}{how}.")
        if self._foreground:
            warn("Ctrl-C unmounts it.")
