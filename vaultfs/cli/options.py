"""The options that several verbs have, spelled once; and `verb`, which insists on an example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vaultfs.cli.app import App

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

SIGNERS = ("keyfile:", "command:", "paste", "ssh-agent")

# click would look by itself whether a path can be read, and answer in its own words; in a dead mount none can.
any_path = click.Path(path_type=str, readable=False)

Decorator = "Callable[[Callable[..., Any]], click.Command]"


def verb(name: str, *, examples: list[str]) -> Callable[[Callable[..., Any]], click.Command]:
    """A command whose help ends with `examples` (without the leading `vaultfs`)."""
    lines = "\n".join(f"  vaultfs {example}" for example in examples)
    return click.command(name, epilog=f"\b\nExamples:\n{lines}")


def complete_vault(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the vaults on this machine."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - only when the shell asks

    del ctx, param
    return [CompletionItem(name) for name in App().places.names() if name.startswith(incomplete)]


def complete_signer(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The kinds of signer."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - only when the shell asks

    del ctx, param
    return [CompletionItem(kind) for kind in SIGNERS if kind.startswith(incomplete)]


def complete_commit(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The machines, by whose newest commit each stands; of a mounted vault only, for TAB must not wait for a remote."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - only when the shell asks

    from vaultfs.daemon.client import call  # noqa: PLC0415
    from vaultfs.daemon.status import decode  # noqa: PLC0415

    del param
    try:
        found = decode(call(App().vault(ctx.params.get("vault")).socket, "GET", "/status", timeout=1.0)).sync
    except Exception:  # noqa: BLE001 - the person pressed TAB: nothing to offer, and no place for an error
        return []
    names = [(peer.label or peer.id[:8], peer.last) for peer in (found.devices if found is not None else [])]
    return [
        CompletionItem(name, help=f"commit {last.number}, {last.time}" if last else None)
        for name, last in names
        if name.startswith(incomplete) and " " not in name
    ]


vault_option = click.option(
    "--vault", metavar="NAME", help="The vault (default: 'default').", shell_complete=complete_vault
)
wallet_option = click.option(
    "--wallet",
    metavar="SIGNER",
    help="keyfile:PATH, command:CMD, paste, or ssh-agent[:FINGERPRINT].",
    shell_complete=complete_signer,
)
json_option = click.option("--json", "as_json", is_flag=True, envvar="VAULTFS_JSON", help="Print JSON.")
yes_option = click.option("--yes", "-y", is_flag=True, envvar="VAULTFS_YES", help="Ask nothing.")
pass_app = click.make_pass_decorator(App, ensure=True)
