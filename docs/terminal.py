"""Makes docs/terminal.svg: a real run of the commands in the README, in a home of its own.

.venv/bin/python docs/terminal.py
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 92
PICTURE = Path(__file__).with_name("terminal.svg")
BIN = Path(sys.executable).parent

FIRST = """\
vaultfs mount --yes ~/agent-vault
"""
SCRIPT = """\
mkdir ~/agent-vault/hermes && export HERMES_HOME=~/agent-vault/hermes
git clone -q {project} ~/agent-vault/project && git -C ~/agent-vault/project status -sb
sqlite3 $HERMES_HOME/state.db 'pragma journal_mode=wal; create table t(a); insert into t values(1)'
vaultfs who ~/agent-vault/project/README.md $HERMES_HOME/state.db
vaultfs status
vaultfs umount ~/agent-vault
"""


def run(command: str, home: Path) -> str:
    """What `command` prints on a terminal."""
    env = {
        "HOME": str(home),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HERMES_HOME": str(home / "agent-vault/hermes"),
        "VAULTFS_DEVICE_LABEL": "laptop",
        "TERM": "xterm-256color",
        "FORCE_COLOR": "1",
        "COLUMNS": str(COLUMNS),
    }
    done = subprocess.run(  # noqa: S603 - the commands above
        ["/bin/bash", "-c", command],
        check=True,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.stdout


def main() -> None:
    """Run everything and draw it."""
    project = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory(prefix="vaultfs-picture-", dir="/var/tmp") as directory:
        home = Path(directory)
        # The words of a vault do not belong into a picture, not even those of one that is gone a second later.
        run(FIRST, home)
        run("vaultfs umount ~/agent-vault", home)
        console = Console(record=True, width=COLUMNS, file=Path(os.devnull).open("w"), force_terminal=True)  # noqa: SIM115
        try:
            for command in (FIRST + SCRIPT).format(project=project).splitlines():
                shown = command.replace(str(project), ".").replace(" --yes", "")
                console.print(Text.assemble(("$ ", "green"), (shown, "bold")))
                printed = re.sub(rf"{re.escape(str(home))}\b", "~", run(command, home))
                if printed.strip():
                    console.print(Text.from_ansi(printed.rstrip()))
        finally:
            subprocess.run([BIN / "vaultfs", "umount", home / "agent-vault"], check=False, capture_output=True)  # noqa: S603
    # A picture that fetches fonts from somebody's server tells them who looks at it.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="vaultfs"), flags=re.DOTALL)
    PICTURE.write_text(svg)


if __name__ == "__main__":
    main()
