"""One turn of one real program, offline, as a person would have it.

    python -m tests.agents.turn hermes first|resume "prompt" --state DIR [--kill]
    python -m tests.agents.turn openclaw says "skills list" --state DIR

HOME is the machine's; the project directory is HOME/work. Prints one line of JSON: `reply` (what the model said,
as the program showed it), `session`, `code`, `seconds` and `cpu` (of the program alone), `output` (its end).
`--kill` ends the program by SIGKILL as soon as it has shown the reply. `says`: any of its own commands; see `output`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.agents.eliza import PAUSE, Eliza
from tests.agents.offline import offline
from tests.agents.programs import PROGRAMS, Program, base_environment

SECONDS = 240.0


def find_reply(output: str) -> str:
    """The line of the model's that holds the marks."""
    found = re.search(r"FAKE users=.*", output)
    return found[0] if found else ""


def one_shot(
    program: Program, words: list[str], environment: dict[str, str], cwd: Path, *, kill: bool
) -> dict[str, Any]:
    """A program that says its reply and ends."""
    began = time.monotonic()
    process = subprocess.Popen(
        [program.path, *words], env=environment, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr or ()), daemon=True)
    reader.start()
    alarm = threading.Timer(SECONDS, os.killpg, (process.pid, signal.SIGKILL))
    alarm.start()
    out = ""
    for line in process.stdout or ():
        out += line
        if kill and "FAKE users=" in line:
            os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    seconds = time.monotonic() - began
    alarm.cancel()
    reader.join(5)  # a child that lives on may hold the pipe
    both = out + "".join(errors)
    found = re.search(program.session, both) if program.session else None
    session = found[1] if found else None
    return {"reply": find_reply(out), "session": session, "code": code, "seconds": seconds, "output": both}


def served(state: Path, environment: dict[str, str], cwd: Path, prompt: str, *, kill: bool) -> dict[str, Any]:
    """A turn with ElizaOS, its start and stop included."""
    began = time.monotonic()
    server = Eliza(state, environment, cwd)
    reply = ""
    try:
        reply = server.say(prompt, SECONDS)
    finally:
        code = server.kill() if kill else server.stop()
    seconds = time.monotonic() - began - (0 if kill else PAUSE)
    output = "".join(server.output)
    return {"reply": find_reply(reply), "session": None, "code": code, "seconds": seconds, "output": output}


def turn(program: Program, how: str, prompt: str, state: Path, *, kill: bool = False) -> dict[str, Any]:
    """One turn, or one command of the program; the caller sees to the network."""
    home = Path(os.environ["HOME"])
    cwd = home / "work"
    for directory in (cwd, home / "tmp"):
        directory.mkdir(exist_ok=True)
    program.settle(state)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = base_environment(home) | program.environment | {program.variable: str(state)}
    if program.name == "eliza":
        said = served(state, environment, cwd, prompt, kill=kill)
    else:
        words = shlex.split(prompt) if how == "says" else program.words(prompt, resume=how == "resume")
        said = one_shot(program, words, environment, cwd, kill=kill)
    if how != "says":
        said["output"] = said["output"][-3000:]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return said | {"cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def main() -> None:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("how", choices=("first", "resume", "says"))
    parser.add_argument("prompt")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--kill", action="store_true")
    given = parser.parse_args()
    with offline():
        said = turn(PROGRAMS[given.program], given.how, given.prompt, given.state, kill=given.kill)
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
