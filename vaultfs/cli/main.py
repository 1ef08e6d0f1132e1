"""The program: finds the verb, runs it, and turns whatever goes wrong into a sentence and an exit code."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
from typing import Any

import click
import msgspec

import vaultfs
from vaultfs.cli.app import App
from vaultfs.errors import StoreFullError, VaultfsError

INTERRUPTED = 130  # as the shell says it: 128 + SIGINT
PIPE_CLOSED = 141  # 128 + SIGPIPE

# The order of the help text: first what one needs first.
VERBS = (
    "init",
    "mount",
    "umount",
    "status",
    "handoff",
    "adopt",
    "run",
    "unadopt",
    "sync",
    "who",
    "lease",
    "doctor",
    "log",
    "diff",
    "ls",
    "cat",
    "restore",
    "export",
    "conflicts",
    "prefetch",
    "remote",
    "devices",
    "heads",
    "key",
    "check",
    "gc",
    "repair",
    "config",
    "completion",
    "install-helpers",
    "version",
)


class PipeClosedError(Exception):
    """Whoever read our output has stopped; `| head` does."""


class Verbs(click.Group):
    """Loads a verb's module when it is used: `vaultfs status` in a prompt should not import a cipher."""

    def invoke(self, ctx: click.Context) -> Any:
        """As click's, but a closed pipe is ours to judge: click would call it a failure."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise PipeClosedError from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order of VERBS."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of one verb; None if there is none."""
        del ctx
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"vaultfs.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with a hint for a verb that was mistyped or is known by another name."""
        import difflib  # noqa: PLC0415 - only here

        other = {"unmount": "umount", "fsck": "check", "create": "init", "info": "status", "history": "log"}
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            near = [other[args[0]]] if args[0] in other else difflib.get_close_matches(args[0], VERBS, 1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise click.UsageError(f"There is no verb '{args[0]}'.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.command(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExamples:\n  vaultfs mount ~/agent-vault\n  vaultfs status\n  vaultfs umount ~/agent-vault",
)
@click.version_option(vaultfs.__version__, "-V", "--version", message="vaultfs %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Your agents' state in one encrypted directory that only your wallet opens.

    Settings come from options, then VAULTFS_* in the environment, then config.toml (vaultfs config list).
    """
    ctx.obj = App()


def main() -> None:
    """Entry point of the `vaultfs` command. Always ends in `sys.exit`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name need not be text
    arguments = sys.argv[1:]
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    as_json = "--json" in options or os.environ.get("VAULTFS_JSON", "") in {"1", "true", "yes", "on"}
    try:
        code = run(arguments, as_json=as_json)
    except KeyboardInterrupt:  # a second one, before `run` had shut its ears to it
        code = _interrupted()
    sys.exit(code)


def run(arguments: list[str], *, as_json: bool) -> int:
    """Run one command line; returns the exit code."""
    try:
        result: Any = cli.main(arguments, prog_name="vaultfs", standalone_mode=False)
        sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        return _interrupted()
    except Exception as error:  # noqa: BLE001 - the last guard: nobody should meet a traceback
        if "_VAULTFS_COMPLETE" in os.environ:
            return 1  # the person pressed TAB: nothing to offer, and no place for an error
        return _failed(error, as_json=as_json)
    return result if isinstance(result, int) else 0


def _interrupted() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C while Python closes down
    click.echo("Interrupted.", err=True)
    return INTERRUPTED


def _failed(error: Exception, *, as_json: bool) -> int:
    if isinstance(error, click.UsageError):
        return _usage(error, as_json=as_json)
    if isinstance(error, click.ClickException):
        return _tell("UsageError", error.format_message(), error.exit_code, as_json=as_json)
    if isinstance(error, PipeClosedError | BrokenPipeError):
        # Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    if isinstance(error, VaultfsError):
        return _tell(type(error).__name__, error.message, error.exit_code, as_json=as_json)
    return _unexpected(error, as_json=as_json)


def _usage(error: click.UsageError, *, as_json: bool) -> int:
    if as_json:
        return _tell("UsageError", error.format_message(), error.exit_code, as_json=True)
    error.show()
    return error.exit_code


def _tell(kind: str, message: str, code: int, *, as_json: bool) -> int:
    if as_json:
        line = {"error": kind, "message": message, "exit_code": code}
        click.echo(msgspec.json.encode(line).decode(), err=True)
    else:
        click.echo(_wrapped(f"vaultfs: {message}"), err=True)
    return code


def _wrapped(text: str) -> str:
    """For a terminal: broken between words only, so that paths and options stay whole."""
    if not sys.stderr.isatty():
        return text
    import shutil  # noqa: PLC0415 - only here
    import textwrap  # noqa: PLC0415

    width = shutil.get_terminal_size().columns
    return textwrap.fill(text, width, break_on_hyphens=False, break_long_words=False)


def _unexpected(error: Exception, *, as_json: bool) -> int:
    import errno  # noqa: PLC0415 - only here, as all below

    where = _note(error)
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        full = StoreFullError(path=error.filename or "the home directory")
        return _tell("StoreFullError", full.message, full.exit_code, as_json=as_json)
    if isinstance(error, OSError) and error.strerror:
        detail = f"{error.strerror}: {os.fsdecode(error.filename)}" if error.filename else error.strerror
    else:
        detail = f"an unexpected {type(error).__name__}; this is a fault of the program"
    known = VaultfsError(detail=detail + (f". Details are in {where}" if where else ""))
    return _tell("VaultfsError", known.message, known.exit_code, as_json=as_json)


def _note(error: Exception) -> str:
    """Write the details to the log; its path, or nothing if even that failed."""
    from vaultfs.daemon import log  # noqa: PLC0415 - only here
    from vaultfs.daemon.paths import places  # noqa: PLC0415

    try:
        path = places().client_log
        log.start(path, level="info", size=1 << 20, adopt=False)
        logging.getLogger("vaultfs.cli").error("an unexpected error", exc_info=error)
        logging.shutdown()
    except Exception:  # noqa: BLE001 - a read-only home must not hide the first error
        return ""
    return str(path)
