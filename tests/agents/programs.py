"""The real programs: where they are installed, how a person starts them, and what settings they are given once."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.agents.model import PORT

URL = f"http://127.0.0.1:{PORT}"
INSTALL = Path(__file__).with_name("install")


def shelf() -> Path:
    """Where the programs are installed, each in a directory of its own; as tests/agents/install has it."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("VAULTFS_AGENTS") or Path(cache) / "vaultfs-agents")


@dataclass(frozen=True)
class Program:
    """One agent. `file` below the shelf is what a person calls `name`; `variable` says where its state is."""

    name: str
    file: str
    variable: str
    settings: dict[str, str]  #: its own settings, file to content, written on the first use only
    first: tuple[str, ...]  #: the words that begin a conversation; the prompt follows
    resume: tuple[str, ...]  #: the words that go on with the newest one
    environment: dict[str, str]
    session: str = ""  #: an expression that finds the conversation's id in what it prints

    @property
    def path(self) -> Path:
        """The program."""
        return shelf() / self.file

    def installed(self) -> bool:
        """Whether it is there."""
        return self.path.exists() and (self.name == "hermes" or node().exists())

    def settle(self, state: Path) -> None:
        """Write the settings that a person would have written."""
        state.mkdir(parents=True, exist_ok=True)
        for name, text in self.settings.items():
            if not (state / name).exists():
                (state / name).write_text(text)

    def words(self, prompt: str, *, resume: bool) -> list[str]:
        """The command of a turn, without the program itself."""
        return [*(self.resume if resume else self.first), prompt]


def node() -> Path:
    """The Node of our own that the programs from npm run on."""
    return shelf() / "node/node_modules/node/bin/node"


def base_environment(home: Path) -> dict[str, str]:
    """A clean one, nothing of the caller's agents. TMPDIR is not /tmp: Codex takes state below that for temporary."""
    environment = {
        "HOME": str(home), "TMPDIR": str(home / "tmp"), "LANG": "C.UTF-8", "TERM": "dumb", "USER": "person",
        "NO_COLOR": "1", "PATH": f"{Path(sys.executable).parent}:{node().parent}:/usr/local/bin:/usr/bin:/bin",
    }  # fmt: skip
    keep = ("VAULTFS_TEST_RUN", "VAULTFS_CI_RUN", "XDG_RUNTIME_DIR", "PYTHONPATH")
    return environment | {name: os.environ[name] for name in keep if name in os.environ}


_HERMES = f"""model:
  provider: custom
  base_url: {URL}/v1
  api_key: fake
  default: fake-model
security:
  allow_lazy_installs: false
"""  # without the last line it tries `pip install` for eight seconds at each start
_CODEX = f"""model = "fake-model"
model_provider = "fake"
check_for_update_on_startup = false

[model_providers.fake]
name = "fake"
base_url = "{URL}/v1"
wire_api = "responses"
env_key = "FAKE_KEY"

[analytics]
enabled = false
"""  # without the last line it waits for its maker's server, five seconds at each end
_MODEL = {
    "id": "fake-model", "name": "Fake", "reasoning": False, "input": ["text"], "contextWindow": 200_000,
    "maxTokens": 8192, "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
}  # fmt: skip
_OPENCLAW = {
    "agents": {"defaults": {"model": {"primary": "fake/fake-model"}}},
    "models": {
        "mode": "merge",
        "providers": {
            "fake": {"baseUrl": f"{URL}/v1", "apiKey": "fake", "api": "openai-completions", "models": [_MODEL]}
        },
    },
}
_ELIZA = {
    "name": "Eliza", "bio": ["helper"], "system": "You are Eliza.",
    "plugins": ["@elizaos/plugin-sql", "@elizaos/plugin-openai", "@elizaos/plugin-bootstrap"],
}  # fmt: skip

_CODEX_EXEC = ("exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")
_CLAUDE = ("--allowedTools", "Bash,Write,Read,Edit", "-p")
_OPENCLAW_TURN = ("agent", "--local", "--agent", "main", "--message")

PROGRAMS = {
    program.name: program
    for program in (
        Program(
            "hermes", "hermes/venv/bin/hermes", "HERMES_HOME", {"config.yaml": _HERMES},
            ("chat", "-Q", "-q"), ("chat", "-Q", "--continue", "-q"), {}, r"session_id: (\S+)",
        ),
        Program(
            "codex", "codex/node_modules/.bin/codex", "CODEX_HOME", {"config.toml": _CODEX},
            _CODEX_EXEC, (*_CODEX_EXEC, "resume", "--last", "--all"), {"FAKE_KEY": "fake"}, r"session id: (\S+)",
        ),
        Program(
            "openclaw", "openclaw/node_modules/.bin/openclaw", "OPENCLAW_STATE_DIR",
            {"openclaw.json": json.dumps(_OPENCLAW)}, _OPENCLAW_TURN, _OPENCLAW_TURN, {},
        ),
        Program(
            "claude", "claude/node_modules/.bin/claude", "CLAUDE_CONFIG_DIR", {}, _CLAUDE, (*_CLAUDE, "--continue"),
            {
                "ANTHROPIC_BASE_URL": URL, "ANTHROPIC_API_KEY": "sk-fake", "DISABLE_AUTOUPDATER": "1",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            },
        ),
        Program(  # a server: tests/agents/eliza.py says the words
            "eliza", "eliza/node_modules/.bin/elizaos", "PGLITE_DATA_DIR", {"character.json": json.dumps(_ELIZA)},
            (), (), {"OPENAI_API_KEY": "fake", "OPENAI_BASE_URL": f"{URL}/v1"},
        ),
    )
}  # fmt: skip
