"""`vaultfs completion`: the shell's completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from vaultfs.cli.options import verb
from vaultfs.cli.output import say


@verb(
    "completion",
    examples=[
        "completion bash > ~/.local/share/bash-completion/completions/vaultfs",
        "completion zsh > ~/.zfunc/_vaultfs",
        "completion fish > ~/.config/fish/completions/vaultfs.fish",
    ],
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL. `vaultfs install-helpers` puts it where the shell looks."""
    say(script(ctx.find_root().command, shell))


def script(root: click.Command, shell: str) -> str:
    """The text for bash, zsh or fish."""
    kind = get_completion_class(shell)
    if kind is None:  # pragma: no cover - click has all three
        raise click.UsageError(f"There is no completion for {shell}")
    # Not `.source()`: for bash that would also want to run and judge a bash on this machine.
    completion = kind(root, {}, "vaultfs", "_VAULTFS_COMPLETE")
    text = completion.source_template % completion.source_vars()
    # click asks whether the file is being loaded, which it is for the first TAB only; the second would offer nothing.
    return text.replace("$zsh_eval_context[-1] == loadautofunc", "$funcstack[1] == _vaultfs")
