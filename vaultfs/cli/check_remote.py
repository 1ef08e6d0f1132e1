"""`vaultfs check --remote`."""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING

from vaultfs.cli.output import emit, plural, printable, say
from vaultfs.cli.progress import Bar
from vaultfs.cli.remotely import Reader
from vaultfs.errors import ProblemsFoundError
from vaultfs.sync.auditing import Extent, audit

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.sync.archive import Archive
    from vaultfs.sync.auditing import Problem


def check(app: App, *, vault: str | None, wallet: str | None, share: float, as_json: bool) -> None:
    """Look whether the remote has all that the newest commits need; reads `share` of the blocks."""
    reader = Reader(app, vault=vault, wallet=wallet, remote=None)
    with Bar("Checking the remote", quiet=as_json) as bar:
        heads, problems = reader.archive(partial(_audit, share=share, bar=bar), strict=False)
    if as_json:
        facts = [
            {
                "kind": problem.kind,
                "object": problem.object,
                "path": printable(b"/".join(problem.path)),
                "detail": printable(problem.detail),
            }
            for problem in problems
        ]
        read = bool(share)
        emit({"vault": reader.place.name, "remote": True, "read_data": read, "ok": not problems, "problems": facts})
    for problem in problems if not as_json else []:
        where = f" {printable(b'/'.join(problem.path))}:" if problem.path else ""
        say(f"{problem.kind}:{where} {printable(problem.detail)} ({problem.object})")
    if problems:
        raise ProblemsFoundError(count=len(problems))
    if not as_json:
        depth = f"{share * 100:g} % of the blocks were read" if share else "use --read-data to read the blocks, too"
        machines = plural(heads, "machine", "machines")
        say(f"No problems found on {reader.spec}: everything that {machines} published last is there; {depth}.")


async def _audit(archive: Archive, *, share: float, bar: Bar) -> tuple[int, list[Problem]]:
    problems = await audit(archive, Extent(share, secrets.randbits(32)), bar.update)
    return len(archive.numbers), problems
