"""Help, completion, and what a person mistypes."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from vaultfs.cli.main import VERBS, cli

if TYPE_CHECKING:
    from tests.cli.person import Person

BELOW = {
    "key": ("list", "add", "remove", "words"),
    "config": ("list", "get", "set"),
    "conflicts": ("list", "show", "keep", "drop"),
    "remote": ("show", "set", "test", "limit"),
    "devices": ("list", "rename"),
    "heads": ("accept",),
}
ALL = [[verb] for verb in VERBS] + [[verb, sub] for verb, subs in BELOW.items() for sub in subs]


@pytest.mark.parametrize("verb", ALL, ids=" ".join)
def test_every_verb_has_help_with_an_example_that_parses(verb: list[str]) -> None:
    command, context = cli, None
    for word in verb:
        found = command.get_command(context, word)  # type: ignore[arg-type]
        assert found is not None
        command = found  # type: ignore[assignment]
    assert command.help
    assert command.epilog
    examples = [line.strip() for line in command.epilog.splitlines() if line.strip().startswith("vaultfs ")]
    assert examples
    for example in examples:
        words = shlex.split(example.partition(" > ")[0])[1:]
        assert words[: len(verb)] == verb or len(verb) == 1
        with cli.make_context("vaultfs", words, resilient_parsing=False) as ctx:
            name, found, rest = cli.resolve_command(ctx, words)
            assert found is not None, example
            with found.make_context(name, rest, parent=ctx):
                pass


def test_help_is_shown_in_80_columns_and_names_every_verb(person: Person) -> None:
    for arguments in ([], ["--help"], ["-h"]):
        done = person.run(*arguments)
        text = done.stdout + done.stderr
        assert done.returncode in {0, 2}
        assert all(f"  {verb}" in text for verb in VERBS)
        assert max(map(len, text.splitlines())) <= 80
    assert "Examples:\n  vaultfs mount" in person.ok("mount", "--help").replace("    vaultfs", "  vaultfs").replace(
        "  Examples", "Examples"
    )


def test_what_is_mistyped_gets_a_hint(person: Person) -> None:
    assert "'status'" in person.fails(2, "staus")
    assert "'umount'" in person.fails(2, "unmount")
    assert "--read-only" in person.fails(2, "mount", "x", "--readonly")
    person.fails(2, "--nonsense")
    person.fails(2, "key", "nonsense")


def test_version_needs_no_home(person: Person) -> None:
    assert person.ok("--version") == person.ok("version").split(",")[0] + "\n"
    assert set(person.json("version")) == {"vaultfs", "python", "pyfuse3", "kernel"}


def bash_completes(person: Person, line: str) -> list[str]:
    """What a real bash offers for `line` after it has read the completion script."""
    words = line.split(" ")
    array = " ".join(map(shlex.quote, words))
    program = person.home / "bin/vaultfs"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {shlex.join(person.command())} "$@"\n')
    program.chmod(0o755)
    script = f"""
      PATH={program.parent}:$PATH
      eval "$(vaultfs completion bash)"
      COMP_WORDS=({array}); COMP_CWORD={len(words) - 1}
      _vaultfs_completion vaultfs
      printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=False, **person.how())
    assert not done.stderr, done.stderr
    return done.stdout.split()


def test_bash_completion(person: Person) -> None:
    person.ok("init", "--yes")
    person.ok("init", "work", "--yes")
    assert set(bash_completes(person, "vaultfs ")) == set(VERBS)
    assert bash_completes(person, "vaultfs sta") == ["status"]
    assert set(bash_completes(person, "vaultfs key ")) == set(BELOW["key"])
    assert bash_completes(person, "vaultfs mount --fore") == ["--foreground"]
    assert set(bash_completes(person, "vaultfs status --vault ")) == {"default", "work"}
    assert "ssh-agent" in bash_completes(person, "vaultfs mount x --wallet ")
    assert "wallet" in bash_completes(person, "vaultfs config get ")
    slots = [slot["id"][:8] for slot in person.json("key", "list", "--vault", "work")]
    assert bash_completes(person, "vaultfs key remove --vault work ") == slots
    assert bash_completes(person, "vaultfs key remove --vault none ") == [], "no error in the middle of a line"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(person: Person, shell: str) -> None:
    assert "_VAULTFS_COMPLETE" in person.ok("completion", shell)
