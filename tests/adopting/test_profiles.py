"""What is known of agents, and the rules of `.vaultignore` that come of it. No mount is needed."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest

from vaultfs.agents import ignoring
from vaultfs.agents.finding import state_directory, value_for
from vaultfs.agents.profiles import check_name, profile, profiles, unknown, write_own
from vaultfs.daemon.paths import places
from vaultfs.errors import ConfigError, NoSuchAgentError, UsageError
from vaultfs.tree.scope import Rules, rules_of

if TYPE_CHECKING:
    from pathlib import Path

    from vaultfs.daemon.paths import Places


@pytest.fixture
def here(tmp_path: Path) -> Places:
    """A machine without profiles of its own."""
    return places({"HOME": str(tmp_path)})


def test_the_five_agents_have_profiles(here: Places) -> None:
    known = profiles(here)
    assert list(known) == ["claude", "codex", "eliza", "hermes", "openclaw"]
    for one in known.values():
        assert one.env
        assert one.command
        assert one.running.processes
        assert one.directory.startswith("~/.")
        for rule in (*one.local, *one.credentials):
            assert rule.why
            assert Rules([rule.pattern]).any, f"{rule.pattern} is a pattern"
        for link in one.links:
            assert link.vault.split("/")[0] in {"skills", "memory", "character"}
            assert not link.at.startswith("/")


STAYS = [
    ("hermes", "hermes/auth.json"), ("hermes", "hermes/profiles/work/auth.json"), ("hermes", "hermes/.env"),
    ("hermes", "hermes/logs/agent.log"), ("hermes", "hermes/gateway.pid"), ("hermes", "skills/x/.env"),
    ("hermes", "hermes/bin/tirith"), ("hermes", "hermes/.update_check"), ("hermes", "hermes/cron/.tick.lock"),
    ("codex", "codex/auth.json"), ("codex", "codex/tmp/arg0/x"), ("codex", "codex/skills/.system/x/SKILL.md"),
    ("codex", "skills/.system/x/SKILL.md"), ("codex", "codex/logs_2.sqlite-wal"), ("codex", "codex/installation_id"),
    ("openclaw", "openclaw/credentials/whatsapp/creds.json"), ("openclaw", "openclaw/plugin-skills/canvas"),
    ("openclaw", "openclaw/agents/main/agent/openclaw-agent.sqlite.generation-lock.sqlite"),
    ("claude", "claude/.credentials.json"), ("claude", "claude/sessions/1.json"), ("claude", "claude/.claude.json"),
    ("eliza", "eliza/.elizadb/postmaster.pid"), ("eliza", "eliza/.env"),
]  # fmt: skip
TRAVELS = [
    ("hermes", "hermes/state.db"), ("hermes", "hermes/state.db-wal"), ("hermes", "hermes/work/logs/x"),
    ("hermes", "logs/x"), ("hermes", "auth.json"), ("hermes", "other/gateway.pid"), ("hermes", "skills/x/SKILL.md"),
    ("hermes", "hermes/skills/logs/SKILL.md"), ("hermes", "skills/bin/SKILL.md"), ("hermes", "hermes/pairing/x.json"),
    ("codex", "codex/sessions/2026/11/20/rollout.jsonl"), ("codex", "codex/state_5.sqlite"), ("codex", "tmp/x"),
    ("codex", "codex/config.toml"), ("claude", "claude/projects/-work/x.jsonl"), ("claude", "codex/auth.json"),
    ("openclaw", "openclaw/state/openclaw.sqlite"), ("openclaw", "openclaw/workspace/SOUL.md"),
    ("eliza", "eliza/.elizadb/PG_VERSION"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "path", "stays"), [(*x, True) for x in STAYS] + [(*x, False) for x in TRAVELS])
def test_rules_are_anchored_to_the_agent(here: Places, name: str, path: str, *, stays: bool) -> None:
    rules = rules_of(ignoring.section(profile(name, here), share=False).encode())
    assert bool(rules.stays(tuple(path.encode().split(b"/")), folder=False)) is stays


def test_shared_credentials_travel_and_the_rest_stays(here: Places) -> None:
    rules = rules_of(ignoring.section(profile("hermes", here), share=True).encode())
    assert not rules.stays((b"hermes", b"auth.json"), folder=False)
    assert rules.stays((b"hermes", b"gateway.pid"), folder=False)


def test_every_pattern_has_its_reason_above(here: Places) -> None:
    lines = ignoring.section(profile("claude", here), share=False).splitlines()
    assert lines[0].startswith("# >>> vaultfs claude ")
    for before, line in itertools.pairwise(lines):
        if not line.startswith("#"):
            assert before.startswith("# ")


@pytest.mark.parametrize("own", ["", "*.tmp\n", "# mine\n*.tmp\n\n!keep.tmp", "# >>> vaultfs hermes (cut off\n/x\n"])
def test_a_persons_own_lines_stay_whatever_comes_and_goes(here: Places, tmp_path: Path, own: str) -> None:
    (tmp_path / ".vaultignore").write_text(own) if own else None
    hermes, codex = profile("hermes", here), profile("codex", here)
    for one in (hermes, codex, hermes):
        assert ignoring.ensure(str(tmp_path), one, share=None) is False
    text = ignoring.read(str(tmp_path))
    assert text.startswith(own)
    assert text.count("/codex/installation_id\n") == 1
    assert text.count("/hermes/logs/\n") == 1
    assert ignoring.ensure(str(tmp_path), hermes, share=True)
    assert ignoring.ensure(str(tmp_path), hermes, share=None), "what was decided holds for the next machine"
    text = ignoring.read(str(tmp_path))
    for name in ("hermes", "codex", ""):
        text = ignoring.with_section(text, name, "")
    assert text.rstrip("\n") == own.rstrip("\n")
    assert sorted(os.listdir(tmp_path)) == [".vaultignore"]


def test_a_users_own_profile_goes_first(here: Places) -> None:
    made = unknown("aider", "~/.aider", "AIDER_HOME")
    path = write_own(here, made)
    found = profile("aider", here)
    assert (found.env, found.command) == ("AIDER_HOME", ("aider",))
    assert [rule.pattern for rule in found.credentials] == [rule.pattern for rule in made.credentials]
    path.with_name("hermes.toml").write_text('title = "Mine"\nenv = "X"\ndirectory = "/x"\n')
    assert profile("hermes", here).title == "Mine"
    with pytest.raises(NoSuchAgentError, match="aider, claude, codex"):
        profile("hermas", here)


@pytest.mark.parametrize("text", ["title = 1", "[x", 'title = "T"\nenv = "E"\ndirectory = "d"\nlinkz = []', "\xff"])
def test_a_wrong_profile_is_named(here: Places, text: str) -> None:
    path = write_own(here, unknown("aider", "/x", "AIDER_HOME"))
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"aider\.toml"):
        profiles(here)


@pytest.mark.parametrize("name", ["", "A", "a b", "../x", "skills", "memory", "x" * 40])
def test_what_cannot_be_a_name(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name)


def test_where_an_agent_is(here: Places) -> None:
    hermes, eliza = profile("hermes", here), profile("eliza", here)
    assert state_directory(hermes, {"HOME": "/h"}) == ("/h/.hermes", "default")
    assert state_directory(hermes, {"HOME": "/h", "HERMES_HOME": "/d/x"}) == ("/d/x", "environment")
    assert state_directory(hermes, {"HOME": "/h", "HERMES_HOME": "/d"}, "/f/") == ("/f", "given")
    assert state_directory(eliza, {"PGLITE_DATA_DIR": "/p/.elizadb"}) == ("/p", "environment")
    assert value_for(eliza, "/p") == "/p/.elizadb"
    with pytest.raises(UsageError, match="--from"):
        state_directory(eliza, {"PGLITE_DATA_DIR": "/p/other"})
