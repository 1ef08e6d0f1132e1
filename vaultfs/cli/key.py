"""`vaultfs key`: what opens a vault."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from vaultfs.cli.app import App
from vaultfs.cli.init import show_words
from vaultfs.cli.options import (
    complete_signer,
    json_option,
    pass_app,
    vault_option,
    verb,
    wallet_option,
    yes_option,
)
from vaultfs.cli.output import confirm, console, emit, say
from vaultfs.daemon.status import instant

if TYPE_CHECKING:
    from vaultfs.crypto.records import Header, Slot


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from vaultfs.daemon.vault import read_header  # noqa: PLC0415 - only when the shell asks

    del param
    slots = read_header(App().vault(ctx.params.get("vault"))).slots
    return [CompletionItem(slot.id.hex()[:8]) for slot in slots if slot.id.hex().startswith(incomplete)]


@click.group(
    "key",
    epilog="\b\nExamples:\n  vaultfs key list\n  vaultfs key add ssh-agent --label laptop\n  vaultfs key words",
)
def command() -> None:
    """List, add and remove what opens a vault: wallets and recovery words."""


@verb("list", examples=["key list", "key list --vault work --json"])
@vault_option
@json_option
@pass_app
def show_all(app: App, vault: str | None, as_json: bool) -> None:
    """List the keys of the vault. Needs no wallet: the list is public."""
    from vaultfs.daemon.vault import read_header  # noqa: PLC0415 - not for --help

    header = read_header(app.vault(vault))
    if as_json:
        emit([_fact(slot) for slot in header.slots])
    else:
        _show(header)


@verb("add", examples=["key add ssh-agent --label laptop", "key add new.json --wallet words"])
@click.argument("signer", metavar="SIGNER", shell_complete=complete_signer)
@click.option("--label", default="", help="A name for the key.")
@vault_option
@wallet_option
@pass_app
def add(app: App, signer: str, label: str, vault: str | None, wallet: str | None) -> None:
    """Let SIGNER open the vault, too. --wallet is one that opens it already, or 'words'."""
    from vaultfs.cli.changing_keys import changing  # noqa: PLC0415 - not for --help
    from vaultfs.crypto import slots  # noqa: PLC0415

    place = app.vault(vault)
    with changing(app, place, wallet) as change:
        changed = slots.add_wallet_slot(change.header, change.keys, app.open_signer(signer), label=label)
        change.write(changed)
    say(f"The vault '{place.name}' is now also opened by {slots.describe(changed.slots[-1])}.")


@verb("remove", examples=["key remove 3f2a91c0", "key remove laptop --yes"])
@click.argument("key", metavar="KEY", shell_complete=_complete)
@vault_option
@wallet_option
@yes_option
@pass_app
def remove(app: App, key: str, vault: str | None, wallet: str | None, yes: bool) -> None:
    """Remove KEY: the start of its id, its address or its label, as `key list` shows them.

    Whoever kept an older copy of the vault's header and still has that key can open what was written so far.
    """
    from vaultfs.cli.changing_keys import changing  # noqa: PLC0415 - not for --help
    from vaultfs.crypto import slots  # noqa: PLC0415
    from vaultfs.errors import LastSlotError  # noqa: PLC0415

    place = app.vault(vault)
    with changing(app, place, wallet) as change:
        slot = slots.find_slot(change.header, key)
        if len(change.header.slots) == 1:
            raise LastSlotError
        confirm(f"Remove {slots.describe(slot)} from the vault '{place.name}'?", yes=yes)
        change.write(slots.remove_slot(change.header, change.keys, slot.id))
    say(f"Removed {slots.describe(slot)}. Older copies of the header still open with it.")


@verb("words", examples=["key words", "key words --vault work --yes"])
@click.option("--label", default="", help="A name for this set of words.")
@vault_option
@wallet_option
@yes_option
@json_option
@pass_app
def words(app: App, *, label: str, vault: str | None, wallet: str | None, yes: bool, as_json: bool) -> None:
    """Make another set of recovery words and show them once. Older sets stay valid until removed."""
    from vaultfs.cli.changing_keys import changing  # noqa: PLC0415 - not for --help
    from vaultfs.crypto import slots  # noqa: PLC0415

    place = app.vault(vault)
    confirm("The words will be shown here, once. Can nobody else see this screen?", yes=yes)
    with changing(app, place, wallet) as change:
        changed, text = slots.add_words_slot(change.header, change.keys, label=label)
        change.write(changed)
    if as_json:
        emit({"vault": place.name, "id": changed.slots[-1].id.hex(), "recovery_words": text})
    else:
        show_words(text, pause=not yes)


def _fact(slot: Slot) -> dict[str, object]:
    from vaultfs.crypto.records import WordsSlot  # noqa: PLC0415 - not for --help
    from vaultfs.crypto.slots import slot_address  # noqa: PLC0415

    return {
        "id": slot.id.hex(),
        "kind": "words" if isinstance(slot, WordsSlot) else "wallet",
        "address": slot_address(slot),
        "label": slot.label,
        "created": instant(slot.created),
    }


def _show(header: Header) -> None:
    from rich.table import Table  # noqa: PLC0415 - only for people
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("ID", "KEY", "LABEL", "MADE"):
        table.add_column(heading, overflow="fold")
    for fact in map(_fact, header.slots):
        what = str(fact["address"] or "recovery words")
        table.add_row(str(fact["id"])[:8], what, Text(str(fact["label"])), str(fact["created"])[:10])
    console().print(table)


for _verb in (show_all, add, remove, words):
    command.add_command(_verb)
